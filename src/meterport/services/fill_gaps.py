"""Rows for the intervals that are missing.

A meter exists from its first reading to the end of its last, as the catalogue knows them. Within
that and the period, every stretch that no reading covers is filled: by intervals as long as the
reading before it (at the beginning, the one after it, in step with it), or, where the readings
were resampled, by buckets. The last interval before a reading may be a shorter one.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np
import polars as pl

from meterport.domain.buckets import Buckets
from meterport.domain.period import Period
from meterport.domain.readings import FRAME_ROWS, KEY, READING_SCHEMA, MeterSummary
from meterport.domain.zones import Seconds, from_seconds, to_seconds

MISSING = "missing"
MARKS: dict[str, pl.DataType] = {"readings": pl.Int32(), "gap": pl.String()}
FAR = int(np.iinfo(np.int64).max)


@dataclass(frozen=True)
class Stretch:
    """Not covered by any reading; its pieces may not reach beyond `limit`."""

    meter: str
    start: int
    stop: int
    step: int
    limit: int = FAR


class Grid(Protocol):
    def first(self, start: int, known: int, step: int) -> int:
        """Where an interval begins, at or after `start`, if one begins at `known`."""

    def usual_s(self, gap: Stretch) -> int:
        """The length of most of its pieces."""

    def pieces(self, gaps: Sequence[Stretch]) -> tuple[Seconds, Seconds, Seconds]:
        """The index of the stretch, start and length of every interval in it."""


class Steps:
    """Intervals as long as their neighbour."""

    def first(self, start: int, known: int, step: int) -> int:
        return start + (known - start) % step

    def usual_s(self, gap: Stretch) -> int:
        return gap.step

    def pieces(self, gaps: Sequence[Stretch]) -> tuple[Seconds, Seconds, Seconds]:
        rows = [(gap.start, gap.stop, gap.step, gap.limit) for gap in gaps]
        start, stop, step, limit = np.array(rows, np.int64).T
        counts = -((start - stop) // step)
        index, nth = _counted(counts)
        starts = start[index] + nth * step[index]
        return index, starts, np.minimum(step[index], limit[index] - starts)


@dataclass(frozen=True)
class BucketSteps:
    buckets: Buckets

    def first(self, start: int, known: int, step: int) -> int:
        return start

    def usual_s(self, gap: Stretch) -> int:
        return self.buckets.step_s

    def pieces(self, gaps: Sequence[Stretch]) -> tuple[Seconds, Seconds, Seconds]:
        start, stop = np.array([(gap.start, gap.stop) for gap in gaps], np.int64).T
        edges = self.buckets.starts(int(start.min()), int(stop.max()))
        low = np.searchsorted(edges, start, side="right") - 1
        high = np.searchsorted(edges, stop, side="left")
        index, nth = _counted(high - low)
        starts = edges[low[index] + nth]
        return index, starts, self.buckets.around(starts)[1] - starts


def _counted(counts: Seconds) -> tuple[Seconds, Seconds]:
    """0 0 0 1 1 … and 0 1 2 0 1 …"""
    index = np.repeat(np.arange(len(counts)), counts)
    before = np.cumsum(counts) - counts
    return index, np.arange(len(index)) - before[index]


@dataclass
class _Reach:
    """How far the rows of the newest meter reach, and their length."""

    meter: str
    end: int
    step: int


class GapFiller:
    """`meters`: every meter of the export, in order of the ids; `columns`: those of the frames."""

    def __init__(
        self,
        meters: Sequence[MeterSummary],
        period: Period,
        grid: Grid,
        columns: Sequence[str] = tuple(READING_SCHEMA),
    ) -> None:
        self._ahead = deque(meters)
        self._known = {m.smart_meter_id: m for m in meters}
        self._start, self._end = _ceiling(period.start), _ceiling(period.end)
        self._grid = grid
        self._schema = {c: READING_SCHEMA[c] for c in columns} | MARKS
        self._reach: _Reach | None = None

    def filled(self, frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """The frames, which have `readings` and `gap`, with rows for what is missing."""
        for frame in frames:
            yield from self.more(frame)
        yield from self.rest()

    def more(self, frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
        if frame.height:
            yield from self._with(frame, self._around(frame))

    def rest(self) -> Iterator[pl.DataFrame]:
        """What is missing after the last frame."""
        gaps: list[Stretch] = []
        self._close(None, gaps)
        yield from self._with(pl.DataFrame(schema=self._schema), gaps)

    def _around(self, frame: pl.DataFrame) -> list[Stretch]:
        """What is missing before, between and within the meters of the frame."""
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
        return gaps

    def _open(self, meter: str, start: int, step: int, gaps: list[Stretch]) -> None:
        """The rows of the meter go on, or begin, at `start`."""
        if self._reach and self._reach.meter == meter:
            gaps.append(Stretch(meter, self._reach.end, start, self._reach.step, start))
            return
        self._close(meter, gaps)
        if meter in self._known:
            begin, _ = self._exists(self._known[meter])
            gaps.append(Stretch(meter, self._grid.first(begin, start, step), start, step, start))

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
                begin = self._grid.first(begin, to_seconds(meter.last), meter.interval_s)
                gaps.append(Stretch(meter.smart_meter_id, begin, stop, meter.interval_s))

    def _exists(self, meter: MeterSummary) -> tuple[int, int]:
        return (
            max(self._start, to_seconds(meter.first)),
            min(self._end, to_seconds(meter.last) + meter.interval_s),
        )

    def _with(self, frame: pl.DataFrame, gaps: list[Stretch]) -> Iterator[pl.DataFrame]:
        """The rows and the pieces in order; long gaps, and many, in frames of their own."""
        for missing in self._missing([gap for gap in gaps if gap.start < gap.stop]):
            last = missing.row(-1, named=True)
            meter, time = (pl.col(column) for column in KEY)
            same = meter == last["smart_meter_id"]
            before = (meter < last["smart_meter_id"]) | (same & (time < last["timestamp"]))
            count = frame.select(before.sum()).item()
            yield pl.concat([frame.head(count), missing], how="diagonal").sort(KEY)
            frame = frame.slice(count)
        if frame.height:
            yield frame

    def _missing(self, gaps: list[Stretch]) -> Iterator[pl.DataFrame]:
        for some in self._portions(sorted(gaps, key=lambda gap: (gap.meter, gap.start))):
            index, starts, lengths = self._grid.pieces(some)
            meters = pl.Series([gap.meter for gap in some], dtype=pl.String)
            for low in range(0, len(starts), FRAME_ROWS):
                part = slice(low, low + FRAME_ROWS)
                yield pl.DataFrame(
                    {
                        "timestamp": from_seconds(starts[part]),
                        "interval_s": pl.Series(lengths[part], dtype=pl.Int32),
                        "smart_meter_id": meters.gather(index[part]),
                    }
                ).pipe(self._marked)

    def _portions(self, gaps: list[Stretch]) -> Iterator[list[Stretch]]:
        """Of about FRAME_ROWS pieces each, or of one stretch."""
        some: list[Stretch] = []
        pieces = 0
        for gap in gaps:
            some.append(gap)
            pieces += (gap.stop - gap.start) // self._grid.usual_s(gap) + 1
            if pieces >= FRAME_ROWS:
                yield some
                some, pieces = [], 0
        if some:
            yield some

    def _marked(self, missing: pl.DataFrame) -> pl.DataFrame:
        marks = (pl.lit(0, pl.Int32).alias("readings"), pl.lit(MISSING).alias("gap"))
        absent = (
            pl.lit(None, kind).alias(column)
            for column, kind in self._schema.items()
            if column not in missing.columns and column not in MARKS
        )
        return missing.with_columns(*absent, *marks).select(list(self._schema))


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
