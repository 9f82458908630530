"""ESPI's LocalTimeParameters: how the readings' UTC becomes local time.

Rule:    32 bits as hex: month, operator, day, weekday (1 = Monday), hour, second in that hour,
         on the wall clock just before the change. FFFFFFFF means that there is no such change.
Limit:   one pair of rules for a meter. They are those of the year of its first reading; a zone that
         changed its mind within the eleven years after it is told by the exact dates of that year.
Source:  `zones`, for when clocks change and how far.
"""

from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from meterport.domain.period import Period
from meterport.domain.zones import Offsets, to_seconds

NO_RULE = "FFFFFFFF"
_ON_DATE, _ON_OR_AFTER, _FIRST, _LAST = 0, 1, 2, 7
_YEARS = 12
"""In so many years each date of the calendar falls on every weekday."""
_LATEST = 9999 - _YEARS


@dataclass(frozen=True)
class LocalTime:
    dst_end_rule: str
    dst_offset_s: int
    dst_start_rule: str
    tz_offset_s: int


class _Change(NamedTuple):
    """`wall` is what the clock shows when it is changed, and `by` how far, in seconds."""

    wall: datetime
    by: int
    offset_before: int


@lru_cache(maxsize=1_000)
def local_time(zone: str, day: date) -> LocalTime:
    """Standard time is the smaller offset, also where the law calls the summer's the standard."""
    first = min(day.year, _LATEST)
    begin, end = (datetime(year, 1, 1, tzinfo=UTC) for year in (first, first + _YEARS))
    known = Offsets.of(zone, Period(begin, end))
    starts, ends = [], []
    for year in range(first, first + _YEARS):
        changes = [change for change in _changes(known) if change.wall.year == year]
        changes.sort(key=lambda change: change.by)
        if len(changes) != 2 or changes[0].by + changes[1].by:
            break
        ends.append(changes[0])
        starts.append(changes[1])
    if not starts:
        midnight = to_seconds(datetime(day.year, day.month, day.day, tzinfo=UTC))
        return LocalTime(NO_RULE, 0, NO_RULE, int(known.at(np.array([midnight]))[0]))
    return LocalTime(
        dst_end_rule=_rule([change.wall for change in ends]),
        dst_offset_s=starts[0].by,
        dst_start_rule=_rule([change.wall for change in starts]),
        tz_offset_s=starts[0].offset_before,
    )


def _changes(known: Offsets) -> list[_Change]:
    return [
        _Change(datetime(1970, 1, 1) + timedelta(seconds=start + before), after - before, before)  # noqa: DTZ001 - on the wall
        for (_, _, before), (start, _, after) in pairwise(known.stretches())
    ]


def _rule(walls: Sequence[datetime]) -> str:
    """The rule that fits all these years, else the date of the first."""
    first = walls[0]
    earliest = min(wall.day for wall in walls)
    alike = {(wall.month, wall.weekday(), wall.time()) for wall in walls}
    if len(walls) < _YEARS or len(alike) > 1:
        return _bits(first, _ON_DATE, day=first.day)
    if all(wall.day + 7 > monthrange(wall.year, wall.month)[1] for wall in walls):
        return _bits(first, _LAST, weekday=first.isoweekday())
    if len({(wall.day - 1) // 7 for wall in walls}) == 1:
        return _bits(first, _FIRST + (first.day - 1) // 7, weekday=first.isoweekday())
    if all(wall.day - earliest < 7 for wall in walls):
        return _bits(first, _ON_OR_AFTER, day=earliest, weekday=first.isoweekday())
    return _bits(first, _ON_DATE, day=first.day)


def _bits(wall: datetime, operator: int, *, day: int = 0, weekday: int = 0) -> str:
    second_in_hour = wall.minute * 60 + wall.second
    date = wall.month << 28 | operator << 25 | day << 20 | weekday << 17
    return f"{date | wall.hour << 12 | second_in_hour:08X}"
