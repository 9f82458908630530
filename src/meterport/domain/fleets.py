"""A fleet's export is cut into parts, which any worker may take; together they are one file.

Order: a part holds meters that are neighbours in the order of their ids, or days of one meter
       unless meters must be whole; so the parts, one after the other, are the file that one worker
       alone would write.
Size:  about PART_ROWS rows, as the catalogue lets expect them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from meterport.domain.period import Period
from meterport.domain.readings import MeterSummary

PART_ROWS = 1_000_000


@dataclass(frozen=True)
class Part:
    """The meters at positions first_meter <= i < end_meter, and what they have in `period`.

    `number` counts from 1, in the order of the file. `rows_expected` are those of the file.
    """

    number: int
    first_meter: int
    end_meter: int
    period: Period
    rows_expected: int
    is_last: bool = False


def parts(
    meters: Sequence[MeterSummary],
    period: Period,
    *,
    part_rows: int = PART_ROWS,
    whole_meters: bool = False,
    step_s: int = 0,
) -> list[Part]:
    """`meters` in order. At least one part; none mixes a meter's days with another meter.

    `part_rows` are of readings; `step_s`: of the intervals to which they are merged.
    """
    pieces = list(_pieces(meters, period, part_rows, whole_meters))
    return [
        Part(
            number,
            first,
            end,
            within,
            sum(meter.expected_rows(within, step_s=step_s) for meter in meters[first:end]),
            number == len(pieces),
        )
        for number, (first, end, within) in enumerate(pieces, start=1)
    ]


def _pieces(
    meters: Sequence[MeterSummary], period: Period, part_rows: int, whole_meters: bool
) -> Iterator[tuple[int, int, Period]]:
    first = rows = 0
    for position, meter in enumerate(meters):
        expected = meter.expected_rows(period)
        if position > first and rows + expected > part_rows:
            yield first, position, period
            first, rows = position, 0
        if expected > part_rows and not whole_meters:
            for days in _days(meter, period, part_rows):
                yield position, position + 1, days
            first, rows = position + 1, 0
        else:
            rows += expected
    if first < len(meters):
        yield first, len(meters), period


def _days(meter: MeterSummary, period: Period, part_rows: int) -> Iterator[Period]:
    """The period in pieces that begin with a UTC day and have about `part_rows` rows."""
    per_day = 86_400 / meter.interval_s
    step = timedelta(days=max(1, int(part_rows // per_day)))
    first = max(period.start, meter.first)
    midnight = first.replace(hour=0, minute=0, second=0, microsecond=0)
    last = min(period.end, meter.end)
    start, until = period.start, midnight + step
    while until < last:
        yield Period(start, until)
        start, until = until, until + step
    yield Period(start, period.end)
