"""Cumulative registers become interval energy: what row i used is register[i+1] - register[i].

The difference is taken in the file's unit and rounded to 9 decimals there, which removes the
noise of binary fractions and no digit that a register shows; then it is divided into kWh.
A meter's last row has no successor and stays missing. So does a step that is not the
commonest one (a gap's energy belongs to no single interval) and one that runs backwards.
"""

from collections.abc import Iterable, Iterator, Mapping

import polars as pl

from meterport.importers.base import FileReport

_TIME = pl.col("timestamp")


def differences(
    batches: Iterable[pl.DataFrame], registers: Mapping[str, float], report: FileReport
) -> Iterator[pl.DataFrame]:
    """`batches` hold counts in the columns `registers` (name → units in a kWh).

    Each meter's rows come in order of time.
    """
    held: pl.DataFrame | None = None
    for batch in batches:
        rows = batch if held is None else pl.concat([held, batch])
        done, held = _without_each_last(_differed(rows, registers)), _each_last(rows)
        report.unknown_register_steps += _unknown(done, registers)
        yield done
    if held is not None:
        yield held.with_columns(pl.lit(None, pl.Float64).alias(name) for name in registers)


def _differed(rows: pl.DataFrame, registers: Mapping[str, float]) -> pl.DataFrame:
    step = (_TIME.shift(-1) - _TIME).over("smart_meter_id")
    usual = step == step.filter(step > pl.duration()).mode().min().over("smart_meter_id")
    return rows.with_columns(
        pl.when(usual & (_used(name) >= 0)).then(_used(name) / units).alias(name)
        for name, units in registers.items()
    )


def _used(register: str) -> pl.Expr:
    count = pl.col(register)
    return (count.shift(-1) - count).over("smart_meter_id").round(9)


def _each_last(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(_is_last())


def _without_each_last(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(~_is_last())


def _is_last() -> pl.Expr:
    return pl.int_range(pl.len()).over("smart_meter_id") == pl.len().over("smart_meter_id") - 1


def _unknown(rows: pl.DataFrame, registers: Mapping[str, float]) -> int:
    return sum(rows[name].null_count() for name in registers)
