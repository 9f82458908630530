"""How complete a meter's readings are, counted from the readings as an export's manifest is.

Bounds: LONGEST, so that days and the readings that are passed through have a bound too.
"""

from collections import deque
from datetime import UTC, datetime, timedelta

from meterport.domain.completeness import Manifest
from meterport.domain.errors import DateRangeTooLarge
from meterport.domain.period import Period
from meterport.domain.readings import MeterSummary
from meterport.ports import ReadingSource
from meterport.services.find_gaps import Stretches
from meterport.services.manifest import NEEDS, Counting, counted

LONGEST = timedelta(days=366)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def coverage_period(meter: MeterSummary, start: datetime | None, end: datetime | None) -> Period:
    """What is not said is the other bound's year; without any, the newest year of the meter.

    Raises InvalidDateRange or DateRangeTooLarge.
    """
    if end is None:
        end = meter.end if start is None else start + min(LONGEST, _LAST - start)
    if start is None:
        start = end - min(LONGEST, end - _FIRST)
    period = Period(start, end)
    if period.end - period.start > LONGEST:
        raise DateRangeTooLarge(
            f"the period is longer than {LONGEST.days} days; ask for one year after the other"
        )
    return period


def coverage(meter: MeterSummary, period: Period, zone: str, *, source: ReadingSource) -> Manifest:
    """Raises SourceUnavailable or SourceDataInvalid."""
    counting = Counting(zone, period)
    frames = source.scan([meter.smart_meter_id], period, columns=NEEDS)
    passed = counted(frames, counting, Stretches([meter], period))
    deque(passed, maxlen=0)
    return counting.result()
