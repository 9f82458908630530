"""ESPI's LocalTimeParameters: how the readings' UTC becomes local time.

Rule:    32 bits as hex: month, operator, day, weekday (1 = Monday), hour, second in that hour,
         on the wall clock just before the change. FFFFFFFF means that there is no such change.
Limit:   one pair of rules for a feed. They are those of the period's first year; a zone that has
         since changed its mind is told by the exact date of that year.
"""

from calendar import monthrange
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

NO_RULE = "FFFFFFFF"
_ON_DATE, _ON_OR_AFTER, _FIRST, _LAST = 0, 1, 2, 7
_YEARS = 12
"""In so many years each date of the calendar falls on every weekday."""


@dataclass(frozen=True)
class LocalTime:
    dst_end_rule: str
    dst_offset_s: int
    dst_start_rule: str
    tz_offset_s: int


class _Change(NamedTuple):
    """`wall` is what the clock shows when it is changed, and `by` how far."""

    wall: datetime
    by: timedelta
    offset_before: timedelta


def local_time(zone: str, at: datetime) -> LocalTime:
    """Standard time is the smaller offset, also where the law calls the summer's the standard."""
    where = ZoneInfo(zone)
    year = at.astimezone(where).year
    starts, ends = [], []
    for each in range(year, year + _YEARS):
        changes = sorted(_changes(where, each), key=lambda change: change.by)
        if len(changes) != 2 or changes[0].by + changes[1].by:
            break
        ends.append(changes[0])
        starts.append(changes[1])
    if not starts:
        return LocalTime(NO_RULE, 0, NO_RULE, _seconds(_offset(where, at)))
    return LocalTime(
        dst_end_rule=_rule([change.wall for change in ends]),
        dst_offset_s=_seconds(starts[0].by),
        dst_start_rule=_rule([change.wall for change in starts]),
        tz_offset_s=_seconds(starts[0].offset_before),
    )


def _changes(zone: ZoneInfo, year: int) -> Iterator[_Change]:
    day = datetime(year, 1, 1, tzinfo=UTC)
    while day.year == year:
        next_day = day + timedelta(days=1)
        if _offset(zone, day) != _offset(zone, next_day):
            yield _change(zone, day, next_day)
        day = next_day


def _change(zone: ZoneInfo, before: datetime, after: datetime) -> _Change:
    old, new = _offset(zone, before), _offset(zone, after)
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=_seconds(after - before) // 2)
        if _offset(zone, middle) == old:
            before = middle
        else:
            after = middle
    return _Change((after + old).replace(tzinfo=None), new - old, old)


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


def _offset(zone: ZoneInfo, at: datetime) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta(0)


def _seconds(span: timedelta) -> int:
    return int(span.total_seconds())
