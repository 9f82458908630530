"""Readings to the intervals of a coarser resolution.

Energy is summed; power, voltage and current are averaged by duration. A value is null where its
readings do not fill the bucket without overlap: the bucket lacks one, one of them is null, one
reaches over the bucket's end (it cannot be divided), or the export's period cuts the bucket.
A bucket without any reading has no row.

Sums are of whole billionths, so that neither order nor the borders of frames can change them;
a sum is exact to 9 decimals, a mean to 6; a value from LARGE on is refused.
Quality: that of the readings where they agree, else "mixed". Of a format that knows but certain
words, the least sure of them, or the first that it does not know and will refuse.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import polars as pl

from meterport.domain.buckets import Buckets
from meterport.domain.errors import FormatCannotHold, ResolutionTooFine
from meterport.domain.period import Period, iso_utc
from meterport.domain.readings import VALUE_COLUMNS
from meterport.domain.shapes import STEP_S, Resolution
from meterport.domain.zones import from_seconds

SUMMED = ("energy_kwh", "energy_export_kwh")
BILLION, MILLION = 1_000_000_000, 1_000_000
LARGE = 2.0**53
"""From there on values have no fraction; their billionths might not fit into 128 bits."""

_BUCKET = ("smart_meter_id", "_start")


def resampled(
    frames: Iterable[pl.DataFrame],
    resolution: Resolution,
    zone: str,
    period: Period,
    *,
    qualities: Sequence[str | None] = (),
) -> Iterator[pl.DataFrame]:
    """A row for every bucket that has readings, with `readings` and `whole` besides.

    What lies in the last bucket of a frame waits for the next one. `qualities`: the only ones of
    the format, the surest first. Raises ResolutionTooFine, and FormatCannotHold for what is too
    large.
    """
    quality = _least_sure(qualities) if qualities else _agreed()
    buckets = Buckets.of(resolution, zone, period)
    waiting: pl.DataFrame | None = None
    for frame in frames:
        if frame.is_empty():
            continue
        placed = _placed(frame, buckets)
        _check(placed, resolution)
        known = placed if waiting is None else pl.concat([waiting, placed], rechunk=True)
        last = known.row(-1, named=True)
        is_last = (pl.col("smart_meter_id") == last["smart_meter_id"]) & (
            pl.col("_start") == last["_start"]
        )
        waiting = known.filter(is_last)
        if waiting.height < known.height:
            yield _merged(known.head(known.height - waiting.height), quality)
    if waiting is not None:
        yield _merged(waiting, quality)


def _placed(frame: pl.DataFrame, buckets: Buckets) -> pl.DataFrame:
    start, end = buckets.around(frame["timestamp"].dt.epoch("s").to_numpy())
    return frame.with_columns(pl.Series("_start", start), pl.Series("_length", end - start))


def _check(placed: pl.DataFrame, resolution: Resolution) -> None:
    """A reading that is longer than its bucket could only ever make nulls of it; for the rest see
    LARGE."""
    longest = pl.max_horizontal("_length", pl.lit(STEP_S[resolution]))
    coarse = placed.filter(pl.col("interval_s") > longest).head(1)
    for row in coarse.iter_rows(named=True):
        raise ResolutionTooFine(row["smart_meter_id"], row["interval_s"], str(resolution))
    for column in (c for c in VALUE_COLUMNS if c in placed.columns):
        large = placed.filter(pl.col(column).abs() >= LARGE).head(1)
        for row in large.iter_rows(named=True):
            raise FormatCannotHold(
                f"{column} of {row['smart_meter_id']} at {iso_utc(row['timestamp'])} is "
                f"{row[column]}, too large for a sum or mean that is exact",
                "Ask for resolution raw, or mend the reading",
            )


def _merged(placed: pl.DataFrame, quality: pl.Expr) -> pl.DataFrame:
    start = pl.col("timestamp").dt.epoch("s")
    end = start + pl.col("interval_s")
    same = pl.struct(_BUCKET) == pl.struct(_BUCKET).shift(1)
    marked = placed.with_columns(
        (same & (start < end.shift(1))).fill_null(value=False).alias("_overlaps"),
        pl.when(end <= pl.col("_start") + pl.col("_length"))
        .then(pl.col("interval_s").cast(pl.Int64))
        .otherwise(0)
        .alias("_inside_s"),
    )
    values = [c for c in VALUE_COLUMNS if c in placed.columns]
    grouped = marked.group_by(_BUCKET, maintain_order=True).agg(
        pl.col("_length").first(),
        pl.col("_overlaps").any(),
        pl.col("_inside_s").sum(),
        pl.len().cast(pl.Int32).alias("readings"),
        *(_total(column).alias(column) for column in values),
        *(_covered(column).alias(f"_{column}_s") for column in values),
        *([quality.alias("quality")] if "quality" in placed.columns else []),
    )
    whole = ~pl.col("_overlaps") & (pl.col("_inside_s") == pl.col("_length"))
    return grouped.with_columns(_value(grouped, column) for column in values).select(
        from_seconds(grouped["_start"].to_numpy()).alias("timestamp"),
        pl.col("_length").cast(pl.Int32).alias("interval_s"),
        *(
            _where_full(c) if c in values else pl.col(c)
            for c in placed.columns
            if c not in ("timestamp", "interval_s", "_start", "_length")
        ),
        "readings",
        whole.alias("whole"),
    )


def _total(column: str) -> pl.Expr:
    billionths = (pl.col(column) * BILLION).round().cast(pl.Int128)
    return (billionths if column in SUMMED else billionths * pl.col("_inside_s")).sum()


def _covered(column: str) -> pl.Expr:
    return pl.col("_inside_s").filter(pl.col(column).is_not_null()).sum()


def _value(grouped: pl.DataFrame, column: str) -> pl.Series:
    # In NumPy: Polars multiplies by the reciprocal of a number, which is off by the last digit.
    total = grouped[column].cast(pl.Float64).to_numpy()
    if column in SUMMED:
        return pl.Series(column, total / BILLION)
    length = grouped["_length"].to_numpy()
    return pl.Series(column, np.rint(total / (length * (BILLION // MILLION))) / MILLION)


def _where_full(column: str) -> pl.Expr:
    full = ~pl.col("_overlaps") & (pl.col(f"_{column}_s") == pl.col("_length"))
    return pl.when(full).then(pl.col(column)).alias(column)


def _agreed() -> pl.Expr:
    quality = pl.col("quality")
    return pl.when(quality.n_unique() == 1).then(quality.first()).otherwise(pl.lit("mixed"))


def _least_sure(qualities: Sequence[str | None]) -> pl.Expr:
    quality = pl.col("quality")
    ranks = {word: rank for rank, word in enumerate(qualities)}
    unknown = len(ranks)
    rank = quality.replace_strict(ranks, default=unknown, return_dtype=pl.Int8)
    return quality.get(rank.arg_max())  # the first of several
