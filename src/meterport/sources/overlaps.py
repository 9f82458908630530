"""Of the rows of one import, which stand for a reading: one a key, and nothing counted twice."""

import polars as pl

from meterport.domain.readings import KEY

_LENGTH, _START = pl.col("interval_s"), pl.col("timestamp")


def resolved(rows: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """In order, and how many were left out because shorter ones overlap them.

    Of several rows with one key the shortest counts, of those of one length the last. Only rows
    that say their length overlap others: one that is told from the steps is not known before all
    rows are there.
    """
    if rows["interval_s"].drop_nulls().n_unique() < 2:
        return _latest(rows), 0
    shortest = rows.filter((_LENGTH.min().over(KEY) >= _LENGTH).fill_null(value=True))
    latest = _latest(shortest)
    is_shorter = _LENGTH.shift(-1) < _LENGTH
    reaches = _START + pl.duration(seconds=_LENGTH) > _START.shift(-1)
    overlapped = (is_shorter & reaches).over("smart_meter_id").fill_null(value=False)
    left = latest.filter(~overlapped)
    return left, rows.height - shortest.height + latest.height - left.height


def _latest(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.unique(KEY, keep="last", maintain_order=True).sort(KEY)
