"""Read what is asked for, in the words of `/api/exports` and of `meterport export`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from meterport.domain.access import ALL_METERS, Meters
from meterport.domain.errors import StartNotInPast
from meterport.domain.exports import ExportRequest, check_label, check_smart_meter_id
from meterport.domain.options import Compression, ExportOptions, compression_of
from meterport.domain.period import Period, iso_utc
from meterport.domain.wall_times import instant_of
from meterport.ports import MeterCatalog, ReadingSource
from meterport.services.choose_meters import choose_meters
from meterport.services.submit_export import check_options, known_format


@dataclass(frozen=True)
class Asked:
    """A request as it was said: nothing of it is checked yet.

    `meters`: a list of ids, or ALL. `words`: of ExportOptions.requested. `bounds`: what start and
    end are called where they were said.
    """

    meters: object
    start: object
    end: object
    format: object = "csv"
    compression: object = Compression.NONE
    words: Mapping[str, object] = field(default_factory=dict)
    label: object = None
    bounds: tuple[str, str] = ("start", "end")


def read_export(
    asked: Asked,
    *,
    source: ReadingSource,
    catalog: MeterCatalog,
    now: datetime,
    within: Meters = ALL_METERS,
) -> ExportRequest:
    """Times without an offset are those of the request's zone. Raises InvalidRequest."""
    options = ExportOptions.requested(asked.words)
    period = _period(asked, options.shape.zone, now)
    format = known_format(asked.format)  # noqa: A001 - the contract's word
    compression = compression_of(asked.compression)
    if isinstance(asked.meters, list) and len(asked.meters) == 1:
        meter = check_smart_meter_id(asked.meters[0])
        request = ExportRequest(meter, period, format, compression=compression, options=options)
    else:
        request = choose_meters(
            asked.meters,
            period,
            source=source,
            catalog=catalog,
            format=format,
            compression=compression,
            options=options,
            within=within,
        )
    check_options(request)
    return request if asked.label is None else replace(request, label=check_label(asked.label))


def _period(asked: Asked, zone: str, now: datetime) -> Period:
    from_, to = asked.bounds
    start = instant_of(from_, asked.start, zone)
    if start >= now:
        raise StartNotInPast(f"{from_} {iso_utc(start)} is not in the past; choose an earlier one")
    return Period(start, instant_of(to, asked.end, zone))
