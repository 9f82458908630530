"""A meter's column in few points, for a chart: the least, the mean and the largest value of each.

Buckets: equally long, in step with the beginning of the period and never shorter than the meter's
         interval, so that a chart of few readings has no holes; a reading is in the bucket in
         which it begins. Means are rounded to six decimals.
Memory:  four numbers a bucket, however many readings there are.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from meterport.domain.errors import DateRangeTooLarge
from meterport.domain.period import Period
from meterport.domain.readings import MeterSummary
from meterport.domain.zones import instant_at, to_seconds
from meterport.ports import ReadingSource

MOST_READINGS = 50_000_000
"""About a century of minutes: a request may take seconds, and not hours."""
DECIMALS = 6


@dataclass(frozen=True)
class Bucket:
    """The values are None where there is none; `readings` counts those that have one."""

    start: datetime
    low: float | None
    mean: float | None
    high: float | None
    readings: int


@dataclass(frozen=True)
class Preview:
    step_s: int
    buckets: Sequence[Bucket]


def preview(
    meter: MeterSummary, period: Period, column: str, points: int, *, source: ReadingSource
) -> Preview:
    """Raises DateRangeTooLarge, SourceUnavailable or SourceDataInvalid."""
    if meter.expected_rows(period) > MOST_READINGS:
        raise DateRangeTooLarge(
            f"the period has about {meter.expected_rows(period):,} readings, more than the "
            f"{MOST_READINGS:,} of one preview; ask for a shorter one"
        )
    start = to_seconds(period.start)
    length = to_seconds(period.end) - start
    step_s = max(1, meter.interval_s, math.ceil(length / points))
    sums = _Sums(start, step_s, max(1, math.ceil(length / step_s)))
    for frame in source.scan([meter.smart_meter_id], period, columns=("timestamp", column)):
        sums.add(frame["timestamp"].dt.epoch("s"), frame[column])
    return Preview(step_s, list(sums.buckets()))


class _Sums:
    def __init__(self, start: int, step_s: int, count: int) -> None:
        self._start = start
        self._step_s = step_s
        self._counts = np.zeros(count, np.int64)
        self._totals = np.zeros(count)
        self._lows = np.full(count, np.inf)
        self._highs = np.full(count, -np.inf)

    def add(self, seconds: pl.Series, values: pl.Series) -> None:
        """What is no number, as other people's tables may have it, is no value here either."""
        bucket, value = pl.col("bucket"), pl.col("value")
        found = (
            pl.DataFrame({"bucket": (seconds - self._start) // self._step_s, "value": values})
            .filter(value.is_finite())
            .group_by(bucket)
            .agg(value.len().alias("count"), total=value.sum(), low=value.min(), high=value.max())
        )
        at = found["bucket"].to_numpy()
        self._counts[at] += found["count"].to_numpy()
        self._totals[at] += found["total"].to_numpy()
        self._lows[at] = np.minimum(self._lows[at], found["low"].to_numpy())
        self._highs[at] = np.maximum(self._highs[at], found["high"].to_numpy())

    def buckets(self) -> Iterator[Bucket]:
        for n, count in enumerate(self._counts.tolist()):
            start = instant_at(self._start + n * self._step_s)
            if not count:
                yield Bucket(start, None, None, None, 0)
                continue
            mean = float(self._totals[n]) / count
            yield Bucket(
                start,
                float(self._lows[n]),
                round(mean, DECIMALS) if math.isfinite(mean) else None,
                float(self._highs[n]),
                count,
            )
