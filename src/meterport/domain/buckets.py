"""The intervals of a resolution, aligned to a zone's own clock.

Up to 1h a bucket is a step of the local clock, and a change of the clock ends it: a repeated hour
is two buckets, and where the clock moves by half an hour (Lord Howe) that hour is a short one.
1d and 1mo are local days and months, of 23 or 25 hours where the zone has such.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from meterport.domain.period import Period
from meterport.domain.shapes import STEP_S, Resolution
from meterport.domain.zones import Offsets, Seconds


@dataclass(frozen=True)
class Buckets:
    """`edges`: where days or months begin; None: steps of `step_s` of the clock."""

    offsets: Offsets
    step_s: int
    edges: Seconds | None

    @classmethod
    def of(cls, resolution: Resolution, zone: str, period: Period) -> Self:
        offsets = Offsets.of(zone, period)
        edges = None
        if resolution in (Resolution.DAY, Resolution.MONTH):
            begins, dates = offsets.days()
            months = [(day.year, day.month) for day in dates]
            wanted = [
                begin
                for n, begin in enumerate(begins)
                if resolution is Resolution.DAY or (n and months[n] != months[n - 1])
            ]
            edges = np.array(wanted, np.int64)
        return cls(offsets, STEP_S[resolution], edges)

    def around(self, seconds: Seconds) -> tuple[Seconds, Seconds]:
        """Start and end of the bucket in which each instant lies."""
        if self.edges is not None:
            index = np.searchsorted(self.edges, seconds, side="right")
            return self.edges[index - 1], self.edges[index]
        stretch = self.offsets.index(seconds)
        offset = self.offsets.offsets[stretch]
        start = (seconds + offset) // self.step_s * self.step_s - offset
        ends = np.append(self.offsets.starts[1:], np.iinfo(np.int64).max)
        return (
            np.maximum(start, self.offsets.starts[stretch]),
            np.minimum(start + self.step_s, ends[stretch]),
        )

    def starts(self, first: int, end: int) -> Seconds:
        """Of every bucket that has an instant t with first <= t < end, in order."""
        if end <= first:
            return np.array([], np.int64)
        if self.edges is not None:
            low, high = np.searchsorted(self.edges, [first, end - 1], side="right")
            return self.edges[low - 1 : high]
        pieces = [
            self._steps(max(first, start), min(end, stop), start, offset)
            for start, stop, offset in self.offsets.stretches()
            if max(first, start) < min(end, stop)
        ]
        return np.concatenate(pieces)

    def _steps(self, first: int, end: int, stretch: int, offset: int) -> Seconds:
        begin = (first + offset) // self.step_s * self.step_s - offset
        steps = np.arange(begin, end, self.step_s, dtype=np.int64)
        return np.maximum(steps, stretch)
