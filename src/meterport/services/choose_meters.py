"""Which meters a fleet has, and whether that is not too much to ask for."""

from collections.abc import Sequence
from dataclasses import dataclass

from meterport.domain.errors import ExportLimitExceeded, InvalidRequest, shown
from meterport.domain.exports import ExportRequest
from meterport.domain.options import Compression, ExportOptions
from meterport.domain.period import Period
from meterport.ports import MeterCatalog, ReadingSource
from meterport.services.refresh_meters import refresh_meters

ALL = "all"


@dataclass(frozen=True)
class Limits:
    """What one export may have at most; rows as the catalogue lets expect them."""

    meters: int = 10_000
    rows: int = 1_000_000_000


def choose_meters(
    asked: object,
    period: Period,
    *,
    source: ReadingSource,
    catalog: MeterCatalog,
    format: str = "csv",  # noqa: A002 - the contract's word
    compression: Compression = Compression.NONE,
    options: ExportOptions = ExportOptions(),  # noqa: B008 - it is frozen
) -> ExportRequest:
    """The request for a list of meters, or for ALL that are known now.

    A meter of the list that is not known is found by the job, which fails with its name.
    """
    wants_all = asked == ALL
    if wants_all:
        refresh_meters(source=source, catalog=catalog)
        known = [meter.smart_meter_id for meter in catalog.all()]
        if not known:
            raise InvalidRequest("there is no meter yet; import readings first")
        asked = known
    if not isinstance(asked, list | tuple):
        raise InvalidRequest(f"smart_meter_ids must be a list or 'all', not {shown(asked)}")
    return ExportRequest.of_fleet(
        asked, period, format, wants_all=wants_all, compression=compression, options=options
    )


def check_meters(meters: Sequence[str], limits: Limits) -> None:
    if len(meters) > limits.meters:
        raise ExportLimitExceeded(
            f"{len(meters):,} meters are more than the {limits.meters:,} of one export",
            "Ask for fewer meters, or raise METERPORT_MAX_METERS",
        )


def check_rows(expected: int, limits: Limits) -> None:
    if expected > limits.rows:
        raise ExportLimitExceeded(
            f"about {expected:,} rows are more than the {limits.rows:,} of one export",
            "Ask for a shorter period or fewer meters, or raise METERPORT_MAX_ROWS",
        )
