"""Cumulative registers become interval energy: what row i used is register[i+1] - register[i].

A difference has no digit which the register did not show. A meter's last row has no successor
and stays missing. So does a step that is not the meter's commonest in the file (a gap's energy
belongs to no single interval), and one that runs backwards.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import polars as pl

from meterport.importers import units
from meterport.importers.base import FileReport

_METER, _TIME = pl.col("smart_meter_id"), pl.col("timestamp")
_STEP_S = (_TIME.shift(-1) - _TIME).dt.total_seconds().over("smart_meter_id")


def commonest_steps(batches: Iterable[pl.DataFrame]) -> dict[str, int]:
    """Each meter's commonest step in seconds, over the whole file."""
    counts: dict[str, Counter[int]] = {}
    for rows in _overlapping(batches):
        steps = rows.select(_METER, _STEP_S.alias("step_s")).filter(pl.col("step_s") > 0)
        for meter, step_s, count in steps.group_by("smart_meter_id", "step_s").len().iter_rows():
            counts.setdefault(meter, Counter())[step_s] += count
    return {meter: _commonest(steps) for meter, steps in counts.items()}


def differences(
    batches: Iterable[pl.DataFrame],
    registers: Mapping[str, float],
    steps_s: Mapping[str, int],
    report: FileReport,
) -> Iterator[pl.DataFrame]:
    """`batches` hold counts in the columns `registers` (name → how many make a kWh).

    Each meter's rows come in order of time.
    """
    held = None
    for rows in _overlapping(batches):
        done = _differed(rows, registers, steps_s).filter(~_is_last())
        held = rows.filter(_is_last())
        report.unknown_register_steps += sum(done[name].null_count() for name in registers)
        yield done
    if held is not None:
        yield held.with_columns(pl.lit(None, pl.Float64).alias(name) for name in registers)


def _overlapping(batches: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Each batch after the rows, one per meter, whose successor was not yet known."""
    held: pl.DataFrame | None = None
    for batch in batches:
        rows = batch if held is None else pl.concat([held, batch])
        held = rows.filter(_is_last())
        yield rows


def _differed(
    rows: pl.DataFrame, registers: Mapping[str, float], steps_s: Mapping[str, int]
) -> pl.DataFrame:
    usual = _METER.replace_strict(steps_s, default=None, return_dtype=pl.Int64) == _STEP_S
    following = rows.select(pl.col(list(registers)).shift(-1).over("smart_meter_id"))
    used = [
        units.differences(rows[name], following[name], units_in_kwh)
        for name, units_in_kwh in registers.items()
    ]
    return rows.with_columns(used).with_columns(
        pl.when(usual & (pl.col(name) >= 0)).then(pl.col(name)) for name in registers
    )


def _is_last() -> pl.Expr:
    return pl.int_range(pl.len()).over("smart_meter_id") == pl.len().over("smart_meter_id") - 1


def _commonest(steps_s: Counter[int]) -> int:
    return min(steps_s, key=lambda step_s: (-steps_s[step_s], step_s))
