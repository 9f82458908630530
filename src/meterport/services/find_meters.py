"""What is known of an export's meters."""

from collections.abc import Collection, Sequence

from meterport.domain.errors import SmartMeterNotFound
from meterport.domain.readings import MeterSummary
from meterport.ports import MeterCatalog, ReadingSource
from meterport.services.refresh_meters import refresh_meters


def find_meters(
    meters: Sequence[str], *, source: ReadingSource, catalog: MeterCatalog
) -> list[MeterSummary]:
    """Their summaries, in that order. A known meter may still have no rows.

    Raises SmartMeterNotFound with the first that is unknown: a file never leaves one out silently.
    """
    found = catalog.some(meters)
    if len(found) < len(meters) and refresh_meters(source=source, catalog=catalog):
        found = catalog.some(meters)
    for meter in meters:
        if meter not in found:
            raise SmartMeterNotFound(meter)
    return [found[meter] for meter in meters]


def meters_at(
    version: int | None,
    meters: Collection[str],
    *,
    source: ReadingSource,
    catalog: MeterCatalog,
) -> list[MeterSummary]:
    """Their summaries as that version has them, in order of their ids; it may lack some.

    So the same version makes the same file, whatever was imported since. The catalogue describes
    the newest version; any other has to be counted.
    """
    if catalog.version() == version:
        found = catalog.some(meters)
        if catalog.version() == version:
            return [found[meter] for meter in sorted(found)]
    return list(source.summaries(version, meters=meters))
