"""Which meters a fleet has, and whether that is not too much to ask for."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from meterport.domain.access import ALL_METERS, Meters
from meterport.domain.errors import ExportLimitExceeded, InvalidRequest, shown
from meterport.domain.exports import ExportRequest
from meterport.domain.options import Compression, ExportOptions
from meterport.domain.period import Period
from meterport.domain.readings import MeterSummary
from meterport.domain.shapes import Gaps, Shape
from meterport.ports import MeterCatalog, ReadingSource
from meterport.services.refresh_meters import refresh_meters

ALL = "all"


@dataclass(frozen=True)
class Limits:
    """What one export may have at most; rows as the catalogue lets expect them.

    Where there are rows for what is missing, they are also counted while they are written: the
    catalogue knows the newest length of a meter's intervals, which may have been shorter before.
    """

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
    within: Meters = ALL_METERS,
) -> ExportRequest:
    """The request for a list of meters, or for ALL of those `within` that are known now.

    A meter of the list that is not known is found by the job, which fails with its name.
    """
    wants_all = asked == ALL
    if wants_all:
        refresh_meters(source=source, catalog=catalog)
        ids = (meter.smart_meter_id for meter in catalog.all())
        known = [meter for meter in ids if meter in within]
        if not known:
            of_key = "" if within.are_all else " that this key is for"
            raise InvalidRequest(f"there is no meter{of_key} yet; import readings first")
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


def expected_rows(meters: Iterable[MeterSummary], period: Period, shape: Shape) -> int:
    """Of the readings, or of null rows in intervals of the resolution, whichever are more."""
    fills = shape.gaps is not Gaps.OMIT and shape.step_s > 0
    return sum(
        max(meter.expected_rows(period), _in_steps(meter, shape).expected_rows(period))
        if fills
        else meter.expected_rows(period)
        for meter in meters
    )


def _in_steps(meter: MeterSummary, shape: Shape) -> MeterSummary:
    last = meter.end - timedelta(seconds=shape.step_s)
    return replace(meter, last=last, interval_s=shape.step_s)


def check_written(rows: int, shape: Shape, limits: Limits) -> None:
    """No estimate tells how many null rows there will be."""
    if shape.gaps is not Gaps.OMIT and rows > limits.rows:
        raise ExportLimitExceeded(
            f"with those for missing intervals there are more than the {limits.rows:,} rows of "
            "one export",
            "Ask for gaps omit, a coarser resolution, a shorter period or fewer meters, or raise "
            "METERPORT_MAX_ROWS",
        )


def check_rows(expected: int, limits: Limits) -> None:
    if expected > limits.rows:
        raise ExportLimitExceeded(
            f"about {expected:,} rows are more than the {limits.rows:,} of one export",
            "Ask for a shorter period or fewer meters, or raise METERPORT_MAX_ROWS",
        )
