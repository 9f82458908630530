"""From readings to the shape that was asked for: resolution, gaps, label, columns.

Shape: frames come and go in order of (smart_meter_id, timestamp), each of about FRAME_ROWS rows;
       those that go have the columns `Shape.written`, and may be none.
Time:  timestamps stay instants in UTC; `zones.local_text` writes them in the shape's zone.
`gap`: null, or "missing" (no reading) or "incomplete" (a bucket that its readings do not fill).
How frames are cut makes no difference to the rows.
"""

from collections.abc import Iterable, Iterator, Sequence

import polars as pl

from meterport.domain.buckets import Buckets
from meterport.domain.period import Period
from meterport.domain.readings import MeterSummary
from meterport.domain.shapes import Gaps, Label, Resolution, Shape
from meterport.services.fill_gaps import BucketSteps, GapFiller, Grid, Steps
from meterport.services.resample import resampled

INCOMPLETE = "incomplete"


def shaped(
    frames: Iterable[pl.DataFrame],
    shape: Shape,
    period: Period,
    meters: Sequence[MeterSummary],
    *,
    qualities: Sequence[str | None] = (),
) -> Iterator[pl.DataFrame]:
    """`frames` have at least the columns `shape.needs`; `meters` are in order of their ids.

    `qualities`: see resampled. Raises ResolutionTooFine.
    """
    known = (frame.select(shape.needs) for frame in frames)
    grid: Grid = Steps()
    if shape.resolution is Resolution.RAW:
        marked: Iterator[pl.DataFrame] = map(_as_read, known)
    else:
        merged = resampled(known, shape.resolution, shape.zone, period, qualities=qualities)
        marked = map(_as_merged, merged)
        grid = BucketSteps(Buckets.of(shape.resolution, shape.zone, period))
    if shape.gaps is not Gaps.OMIT:
        marked = GapFiller(meters, period, grid, shape.needs).filled(marked)
    for frame in marked:
        if frame.height:
            yield _labelled(frame, shape.label).select(shape.written)


def _as_read(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(
        pl.lit(1, pl.Int32).alias("readings"), pl.lit(None, pl.String).alias("gap")
    )


def _as_merged(frame: pl.DataFrame) -> pl.DataFrame:
    gap = pl.when(~pl.col("whole")).then(pl.lit(INCOMPLETE))
    return frame.with_columns(gap.alias("gap")).drop("whole")


def _labelled(frame: pl.DataFrame, label: Label) -> pl.DataFrame:
    if label is Label.START:
        return frame
    end = pl.col("timestamp") + pl.duration(seconds="interval_s", time_unit="us")
    return frame.with_columns(end.alias("timestamp" if label is Label.END else "interval_end"))
