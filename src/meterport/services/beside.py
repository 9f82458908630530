"""The readings beside a part that is cut between the days of a meter.

A gap over a border has intervals as long as the reading before it, the last of them ends where the
next reading begins, and before all readings it is in step with the first. None of these need be in
the part; they are looked for from the border on, in the nearest day, then in more and more days.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from meterport.domain.period import Period
from meterport.domain.readings import MeterSummary

DAY = timedelta(days=1)
Scan = Callable[[Period], Iterable[pl.DataFrame]]
"""The readings of the part's meters in that period, in order."""


@dataclass(frozen=True)
class Beside:
    """`before`: those of the nearest day or days that have any; `after`: the next one."""

    before: Iterable[pl.DataFrame] = ()
    after: Iterable[pl.DataFrame] = ()


def beside(scan: Scan, part: Period, whole: Period, meters: Sequence[MeterSummary]) -> Beside:
    """Nothing is read before it is taken, and nothing at all where the part is the whole."""
    first = max(whole.start, min((meter.first for meter in meters), default=whole.start))
    end = min(whole.end, max((meter.end for meter in meters), default=whole.end))
    return Beside(_before(scan, first, part.start), _after(scan, part.end, end))


def _before(scan: Scan, start: datetime, border: datetime) -> Iterator[pl.DataFrame]:
    width = DAY
    found = False
    while start < border and not found:
        earlier = border - min(width, border - start)
        for frame in scan(Period(earlier, border)):
            found = found or not frame.is_empty()
            yield frame
        border, width = earlier, 2 * width


def _after(scan: Scan, border: datetime, end: datetime) -> Iterator[pl.DataFrame]:
    width = DAY
    while border < end:
        later = border + min(width, end - border)
        for frame in scan(Period(border, later)):
            if not frame.is_empty():
                yield frame.head(1)
                return
        border, width = later, 2 * width
