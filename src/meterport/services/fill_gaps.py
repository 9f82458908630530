"""Rows for the intervals that are missing (see find_gaps), or, where the readings were resampled,
for the buckets.

Memory: a stretch may have a thousand million intervals; of any number of them about SLICE_ROWS are
held at a time.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import polars as pl

from meterport.domain.buckets import Buckets
from meterport.domain.period import Period
from meterport.domain.readings import FRAME_ROWS, KEY, READING_SCHEMA, SLICE_ROWS, MeterSummary
from meterport.domain.zones import Seconds, from_seconds
from meterport.services.find_gaps import Stretch, Stretches, in_step

MISSING = "missing"
MARKS: dict[str, pl.DataType] = {"readings": pl.Int32(), "gap": pl.String()}


class Grid(Protocol):
    def first(self, start: int, known: int, step: int, /) -> int:
        """See find_gaps.First."""

    def usual_s(self, gap: Stretch) -> int:
        """The length of most of its pieces."""

    def border(self, gap: Stretch, pieces: int) -> int:
        """Where a piece begins, about that many after the stretch does."""

    def are_far_apart(self, start: int, stop: int) -> bool:
        """Stretches between those had better not be asked for together."""

    def pieces(self, gaps: Sequence[Stretch]) -> tuple[Seconds, Seconds, Seconds]:
        """The index of the stretch, start and length of every interval in it."""


class Steps:
    """Intervals as long as their neighbour."""

    def first(self, start: int, known: int, step: int, /) -> int:
        return in_step(start, known, step)

    def usual_s(self, gap: Stretch) -> int:
        return gap.step

    def border(self, gap: Stretch, pieces: int) -> int:
        return gap.start + pieces * gap.step

    def are_far_apart(self, start: int, stop: int) -> bool:
        return False

    def pieces(self, gaps: Sequence[Stretch]) -> tuple[Seconds, Seconds, Seconds]:
        rows = [(gap.start, gap.stop, gap.step, gap.limit) for gap in gaps]
        start, stop, step, limit = np.array(rows, np.int64).T
        index, nth = _counted(-((start - stop) // step))
        starts = start[index] + nth * step[index]
        return index, starts, np.minimum(step[index], limit[index] - starts)


@dataclass(frozen=True)
class BucketSteps:
    buckets: Buckets

    def first(self, start: int, known: int, step: int, /) -> int:
        return start

    def usual_s(self, gap: Stretch) -> int:
        return self.buckets.step_s

    def border(self, gap: Stretch, pieces: int) -> int:
        start, _ = self.buckets.around(np.array([gap.start + pieces * self.buckets.step_s]))
        return int(start[0])

    def are_far_apart(self, start: int, stop: int) -> bool:
        """All buckets between them are looked through."""
        return (stop - start) // self.buckets.step_s > FRAME_ROWS

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


class GapFiller:
    """`meters`: every meter of the export, in order of the ids; `columns`: those of the frames."""

    def __init__(
        self,
        meters: Sequence[MeterSummary],
        period: Period,
        grid: Grid,
        columns: Sequence[str] = tuple(READING_SCHEMA),
    ) -> None:
        self._stretches = Stretches(meters, period, grid.first)
        self._grid = grid
        self._schema = {c: READING_SCHEMA[c] for c in columns} | MARKS

    def filled(self, frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """The frames, which have `readings` and `gap`, with rows for what is missing."""
        for frame in frames:
            yield from self._with(frame, self._stretches.around(frame))
        yield from self._with(pl.DataFrame(schema=self._schema), self._stretches.rest())

    def _with(self, frame: pl.DataFrame, gaps: list[Stretch]) -> Iterator[pl.DataFrame]:
        """The rows and the pieces in order; long gaps, and many, in frames of their own."""
        for missing in self._missing(gaps):
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
        for some in self._portions(gaps):
            index, starts, lengths = self._grid.pieces(some)
            meters = pl.Series([gap.meter for gap in some], dtype=pl.String)
            yield pl.DataFrame(
                {
                    "timestamp": from_seconds(starts),
                    "interval_s": pl.Series(lengths, dtype=pl.Int32),
                    "smart_meter_id": meters.gather(index),
                }
            ).pipe(self._marked)

    def _portions(self, gaps: list[Stretch]) -> Iterator[list[Stretch]]:
        """Of about SLICE_ROWS pieces each."""
        some: list[Stretch] = []
        pieces = low = high = 0
        for part in (part for gap in gaps for part in self._cut(gap)):
            low = min(low, part.start) if some else part.start
            high = max(high, part.stop) if some else part.stop
            if pieces >= SLICE_ROWS or (some and self._grid.are_far_apart(low, high)):
                yield some
                some, pieces, low, high = [], 0, part.start, part.stop
            some.append(part)
            pieces += (part.stop - part.start) // self._grid.usual_s(part) + 1
        if some:
            yield some

    def _cut(self, gap: Stretch) -> Iterator[Stretch]:
        """The stretch in parts of no more than about SLICE_ROWS pieces."""
        while (gap.stop - gap.start) // self._grid.usual_s(gap) > SLICE_ROWS:
            border = self._grid.border(gap, SLICE_ROWS)
            yield replace(gap, stop=border)
            gap = replace(gap, start=border)
        yield gap

    def _marked(self, missing: pl.DataFrame) -> pl.DataFrame:
        marks = (pl.lit(0, pl.Int32).alias("readings"), pl.lit(MISSING).alias("gap"))
        absent = (
            pl.lit(None, kind).alias(column)
            for column, kind in self._schema.items()
            if column not in missing.columns and column not in MARKS
        )
        return missing.with_columns(*absent, *marks).select(list(self._schema))
