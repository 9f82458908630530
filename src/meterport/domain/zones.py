"""Which offset from UTC a zone's clocks have, and when it changes; local days and their text.

Time:   instants as whole seconds since 1970 in UTC, in NumPy arrays; offsets in seconds, east of
        Greenwich positive.
Source: the IANA rules as `zoneinfo` has them, for all that meterport says of local time; the names
        are those of the package `tzdata`.
"""

from calendar import isleap
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from functools import cache, lru_cache
from importlib.resources import files
from typing import Self, TypeGuard
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl

from meterport.domain.errors import InvalidTimezone, shown
from meterport.domain.period import Period

Seconds = npt.NDArray[np.int64]

DAY_S = 86_400
_FIRST, _LAST = -62_135_400_000, 253_402_100_000
"""Between these, early in the year 1 and late in 9999, every instant has a local time."""
MARGIN = timedelta(days=62)
"""What is known beyond a period's bounds, so that the months it cuts are known whole."""


@dataclass(frozen=True)
class Offsets:
    """`offsets[i]` holds from `starts[i]` to `starts[i + 1]`; the first and last hold for ever."""

    starts: Seconds
    offsets: Seconds
    end: int

    @classmethod
    def of(cls, zone: str, period: Period) -> Self:
        start, end = _widened(period)
        known = [(start, _offset(ZoneInfo(zone), start))]
        for year in range(instant_at(start).year, instant_at(end).year + 1):
            known += [change for change in _changes(zone, year) if start < change[0] < end]
        starts, offsets = np.array(known, np.int64).T
        return cls(starts, offsets, end)

    def index(self, seconds: Seconds) -> npt.NDArray[np.intp]:
        found = np.searchsorted(self.starts, seconds, side="right") - 1
        return np.maximum(found, 0)

    def at(self, seconds: Seconds) -> Seconds:
        return self.offsets[self.index(seconds)]

    def stretches(self) -> list[tuple[int, int, int]]:
        """(start, end, offset) of each, in order, without gaps."""
        ends = [*self.starts[1:].tolist(), self.end]
        return list(zip(self.starts.tolist(), ends, self.offsets.tolist(), strict=True))

    def days(self) -> tuple[list[int], list[date]]:
        """When each local day begins, and its date.

        A day begins after the last instant that has an earlier date, so that days follow one
        another also where the clock is put back over midnight. A day that the zone skipped is
        not there.
        """
        begin: dict[int, int] = {}
        stretches = self.stretches()
        for n, (start, end, offset) in enumerate(stretches):
            reach = end + max(offset, stretches[n + 1][2] if n + 1 < len(stretches) else offset)
            for day in range((start + offset) // DAY_S + 1, reach // DAY_S + 1):
                begin[day] = min(end, day * DAY_S - offset)
        unique = {begin[day]: day for day in sorted(begin)}
        epoch = date(1970, 1, 1)
        return list(unique), [epoch + timedelta(days=day) for day in unique.values()]


@cache
def zones() -> frozenset[str]:
    """Those of the package `tzdata`, which is the same on all machines, and no machine's own."""
    listed = files("tzdata").joinpath("zones").read_text("utf-8").split()
    return frozenset(listed) - {"Factory"}


def is_zone(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value in zones()


def check_zone(value: object) -> str:
    if is_zone(value):
        return value
    by_lower = {name.lower(): name for name in zones()}
    wanted = value[:64].lower() if isinstance(value, str) else ""
    near = get_close_matches(wanted, by_lower, n=1)
    hint = f"did you mean {by_lower[near[0]]}?" if near else "use an IANA name: Europe/Berlin"
    raise InvalidTimezone(f"timezone {shown(value)} is not known; {hint}")


def local_text(times: pl.Series, zone: str) -> pl.Series:
    """The instants as ISO 8601 with the zone's offset; in UTC with Z.

    The offset tells the two passes through a repeated hour apart. `times` are whole seconds.
    """
    if zone == "UTC" or times.len() == times.null_count():
        return times.dt.to_string("%Y-%m-%dT%H:%M:%SZ")
    seconds = times.dt.epoch("s").fill_null(strategy="min").to_numpy()
    known = Offsets.of(zone, Period(instant_at(seconds.min()), instant_at(seconds.max() + 1)))
    index = known.index(seconds)
    suffixes = pl.Series([_suffix(offset) for offset in known.offsets.tolist()], dtype=pl.String)
    local = from_seconds(seconds + known.offsets[index]).dt.to_string("%Y-%m-%dT%H:%M:%S")
    text = local + suffixes.gather(pl.Series(index))
    return text.zip_with(times.is_not_null(), pl.Series([None], dtype=pl.String)).alias(times.name)


def local_days(times: pl.Series, zone: str) -> pl.Series:
    """The zone's day in which each instant lies; days follow one another, see Offsets.days."""
    if times.is_empty():
        return pl.Series(dtype=pl.Date)
    seconds = times.dt.epoch("s").to_numpy()
    known = Offsets.of(zone, Period(instant_at(seconds.min()), instant_at(seconds.max() + 1)))
    begins, dates = known.days()
    index = np.searchsorted(np.array(begins, np.int64), seconds, side="right") - 1
    return pl.Series(dates, dtype=pl.Date).gather(index)


def from_seconds(seconds: Seconds) -> pl.Series:
    whole = pl.Series(seconds, dtype=pl.Int64) * 1_000_000
    return whole.cast(pl.Datetime("us", "UTC"))


def to_seconds(instant: datetime) -> int:
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)


@lru_cache(maxsize=10_000)
def _changes(zone: str, year: int) -> tuple[tuple[int, int], ...]:
    """When in that year of UTC another offset begins, and which; looked for day by day."""
    rules = ZoneInfo(zone)
    begin = to_seconds(datetime(year, 1, 1, tzinfo=UTC))
    known = [(begin, _offset(rules, max(begin, _FIRST)))]
    days = 366 if isleap(year) else 365
    for at in range(begin + DAY_S, begin + days * DAY_S + 1, DAY_S):
        offset = _offset(rules, at) if at <= _LAST else known[-1][1]
        if offset != known[-1][1]:
            known.append((_change(rules, at - DAY_S, at), offset))
    return tuple(known[1:])


def _widened(period: Period) -> tuple[int, int]:
    first, last = datetime(1, 1, 3, tzinfo=UTC), datetime(9999, 12, 29, tzinfo=UTC)
    start = period.start - MARGIN if period.start - first > MARGIN else first
    end = period.end + MARGIN if last - period.end > MARGIN else last
    return to_seconds(start), to_seconds(end)


def _offset(rules: ZoneInfo, seconds: int) -> int:
    offset = instant_at(seconds).astimezone(rules).utcoffset()
    return (offset or timedelta()) // timedelta(seconds=1)


def instant_at(seconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(seconds))


def _change(rules: ZoneInfo, before: int, after: int) -> int:
    """The first second of the offset that holds at `after`."""
    offset = _offset(rules, after)
    while after - before > 1:
        middle = (before + after) // 2
        if _offset(rules, middle) == offset:
            after = middle
        else:
            before = middle
    return after


def _suffix(offset: int) -> str:
    minutes, seconds = divmod(abs(offset), 60)
    text = f"{'-' if offset < 0 else '+'}{minutes // 60:02}:{minutes % 60:02}"
    return f"{text}:{seconds:02}" if seconds else text
