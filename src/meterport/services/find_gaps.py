"""Where readings are missing, found while they pass.

A meter exists from its first reading to the end of its last, as the catalogue knows them. Within
that and the period, every stretch that no reading covers is missing: in intervals as long as the
reading before it (at the beginning, the one after it, in step with it). The last interval before a
reading may be a shorter one. A stretch is four numbers, however long it is.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import polars as pl

from meterport.domain.period import Period
from meterport.domain.readings import MeterSummary
from meterport.domain.zones import to_seconds

FAR = 2**63 - 1
First = Callable[[int, int, int], int]
"""Where an interval begins, at or after the first, if one begins at the second; of that length."""


@dataclass(frozen=True)
class Stretch:
    """Not covered by any reading; its intervals may not reach beyond `limit`."""

    meter: str
    start: int
    stop: int
    step: int
    limit: int = FAR

    @property
    def intervals(self) -> int:
        return -((self.start - self.stop) // self.step)

    @property
    def end(self) -> int:
        """Of its last interval."""
        return min(self.start + self.intervals * self.step, self.limit)

    def within(self, low: int, high: int) -> "Stretch":
        """Of its intervals those that begin there."""
        if low <= self.start and self.stop <= high:
            return self
        start = self.start + self.begun_before(low) * self.step
        return replace(self, start=start, stop=min(self.stop, high))

    def begun_before(self, instant: int) -> int:
        """How many of its intervals."""
        return min(self.intervals, max(0, -((self.start - instant) // self.step)))


def in_step(start: int, known: int, step: int) -> int:
    return start + (known - start) % step


@dataclass
class _Reach:
    """How far the rows of the newest meter reach, and their length."""

    meter: str
    end: int
    step: int


class Stretches:
    """`meters`: every meter of the export, in order of the ids.

    `within`: the part of the period whose missing intervals are told; those that begin in it.
    """

    def __init__(
        self,
        meters: Sequence[MeterSummary],
        period: Period,
        first: First = in_step,
        *,
        within: Period | None = None,
    ) -> None:
        self._ahead = deque(meters)
        self._known = {m.smart_meter_id: m for m in meters}
        self._start, self._end = _ceiling(period.start), _ceiling(period.end)
        told = within or period
        self._low, self._high = _ceiling(told.start), _ceiling(told.end)
        self._first = first
        self._reach: _Reach | None = None

    def around(self, frame: pl.DataFrame) -> list[Stretch]:
        """What is missing before, between and within the meters of the next rows, in order."""
        if frame.is_empty():
            return []
        meter, start = "smart_meter_id", pl.col("timestamp").dt.epoch("s").alias("start")
        rows = frame.select(meter, start, step="interval_s", end=start + pl.col("interval_s"))
        if self._reach:
            reach = pl.when(pl.col(meter) == self._reach.meter).then(self._reach.end)
            rows = rows.with_columns(pl.max_horizontal("end", reach))
        rows = rows.with_columns(pl.col("end").cum_max().over(meter))
        gaps = _within(rows)
        ends = rows.group_by(meter, maintain_order=True).agg(
            pl.first("start"), pl.first("step").alias("first"), pl.last("end"), pl.last("step")
        )
        for row in ends.iter_rows(named=True):
            self._open(row[meter], row["start"], row["first"], gaps)
            self._reach = _Reach(row[meter], row["end"], row["step"])
        return self._told(gaps)

    def rest(self) -> list[Stretch]:
        """What is missing after all rows."""
        gaps: list[Stretch] = []
        self._close(None, gaps)
        return self._told(gaps)

    def _told(self, gaps: list[Stretch]) -> list[Stretch]:
        inside = (gap.within(self._low, self._high) for gap in gaps)
        there = (gap for gap in inside if gap.start < gap.stop)
        return sorted(there, key=lambda gap: (gap.meter, gap.start))

    def _open(self, meter: str, start: int, step: int, gaps: list[Stretch]) -> None:
        """The rows of the meter go on, or begin, at `start`."""
        if self._reach and self._reach.meter == meter:
            gaps.append(Stretch(meter, self._reach.end, start, self._reach.step, start))
            return
        self._close(meter, gaps)
        if meter in self._known:
            begin, _ = self._exists(self._known[meter])
            gaps.append(Stretch(meter, self._first(begin, start, step), start, step, start))

    def _close(self, before: str | None, gaps: list[Stretch]) -> None:
        """No more rows of the newest meter, nor of any other before that one."""
        if self._reach and self._reach.meter in self._known:
            _, stop = self._exists(self._known[self._reach.meter])
            gaps.append(Stretch(self._reach.meter, self._reach.end, stop, self._reach.step))
        self._reach = None
        while self._ahead and (before is None or self._ahead[0].smart_meter_id <= before):
            meter = self._ahead.popleft()
            if meter.smart_meter_id != before:
                begin, stop = self._exists(meter)
                begin = self._first(begin, to_seconds(meter.last), meter.interval_s)
                gaps.append(Stretch(meter.smart_meter_id, begin, stop, meter.interval_s))

    def _exists(self, meter: MeterSummary) -> tuple[int, int]:
        return (
            max(self._start, to_seconds(meter.first)),
            min(self._end, to_seconds(meter.last) + meter.interval_s),
        )


def _within(rows: pl.DataFrame) -> list[Stretch]:
    meter = "smart_meter_id"
    inner = rows.select(
        meter,
        start=pl.col("end").shift(1).over(meter),
        stop="start",
        step=pl.col("step").shift(1).over(meter),
        limit="start",
    ).filter(pl.col("start") < pl.col("stop"))
    return [Stretch(*row) for row in inner.iter_rows()]


def _ceiling(instant: datetime) -> int:
    return to_seconds(instant) + bool(instant.microsecond)
