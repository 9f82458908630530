"""Cumulative registers become interval energy: what row i used is register[i+1] - register[i].

A difference has no digit which the register did not show. A meter's last row has no successor
and stays missing. So does a step that is not the meter's commonest in the file (a gap's energy
belongs to no single interval), one that runs backwards (a reset), and both steps at a false
count: a zero from which the register comes back to what it had, and a single count that lies
outside of its two neighbours.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from meterport.importers import units
from meterport.importers.base import FileReport

METER = ("smart_meter_id",)
_DONE = "(done)"


def commonest_steps(batches: Iterable[pl.DataFrame], by: Sequence[str] = METER) -> dict[str, int]:
    """Each meter's commonest step in seconds, over the whole file."""
    counts: dict[str, Counter[int]] = {}
    held: pl.DataFrame | None = None
    for batch in batches:
        times = batch.select("timestamp", *by)
        rows = times if held is None else pl.concat([held, times])
        held = rows.filter(_place(by) == pl.len().over(by) - 1)
        steps = rows.select("smart_meter_id", _step_s(by).alias("s")).filter(pl.col("s") > 0)
        for meter, step_s, count in steps.group_by("smart_meter_id", "s").len().iter_rows():
            counts.setdefault(meter, Counter())[step_s] += count
    return {meter: _commonest(steps) for meter, steps in counts.items()}


def differences(
    batches: Iterable[pl.DataFrame],
    registers: Mapping[str, float],
    steps_s: Mapping[str, int],
    report: FileReport,
    by: Sequence[str] = METER,
) -> Iterator[pl.DataFrame]:
    """`batches` hold counts in the columns `registers` (name → how many make a kWh).

    The rows of a meter, or of whatever `by` says, come in order of time. Of each the last few
    rows wait for the next batch: a count is known to be false from those that follow.
    """
    return _Differences(registers, steps_s, report, tuple(by)).of(batches)


@dataclass(frozen=True)
class _Differences:
    registers: Mapping[str, float]
    steps_s: Mapping[str, int]
    report: FileReport
    by: tuple[str, ...]

    def of(self, batches: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        waiting = None
        for batch in batches:
            rows = batch.with_columns(pl.lit(value=False).alias(_DONE))
            rows = rows if waiting is None else pl.concat([waiting, rows])
            known = rows.select(self._is_known()).to_series()
            yield self._used(rows, known & ~rows[_DONE])
            rows = rows.with_columns(known.alias(_DONE))
            waiting = rows.filter(_place(self.by) >= self._first_needed())
        if waiting is not None:
            is_last = waiting.select(_place(self.by) == pl.len().over(self.by) - 1).to_series()
            left = ~waiting[_DONE]
            yield self._used(waiting, left & ~is_last)
            nothing = (pl.lit(None, pl.Float64).alias(name) for name in self.registers)
            yield waiting.filter(left & is_last).with_columns(nothing).drop(_DONE)

    def _used(self, rows: pl.DataFrame, wanted: pl.Series) -> pl.DataFrame:
        """The wanted rows, with differences for counts."""
        shown = rows
        counts = rows.select(
            pl.when(~_is_false(name, self.by)).then(pl.col(name)) for name in self.registers
        )
        rows = rows.with_columns(counts)
        following = rows.select(pl.col(list(self.registers)).shift(-1).over(self.by))
        rows = rows.with_columns(
            units.differences(counts[name], following[name], units_in_kwh)
            for name, units_in_kwh in self.registers.items()
        )
        meter = pl.col("smart_meter_id")
        usual = meter.replace_strict(self.steps_s, default=None, return_dtype=pl.Int64)
        is_usual = usual == _step_s(self.by)
        done = rows.with_columns(
            pl.when(is_usual & (pl.col(name) >= 0)).then(pl.col(name)) for name in self.registers
        )
        self._count(shown, done, wanted)
        return done.filter(wanted).drop(_DONE)

    def _count(self, shown: pl.DataFrame, done: pl.DataFrame, wanted: pl.Series) -> None:
        for name in self.registers:
            count = pl.col(name)
            is_step = shown.select(
                count.is_not_null() | count.shift(-1).over(self.by).is_not_null()
            )
            empty = done[name].is_null() & is_step.to_series() & wanted
            self.report.unknown_register_steps += int(empty.sum())

    def _is_known(self) -> pl.Expr:
        """Whether the rows so far tell if this row's count and the next one are false."""
        settled = [
            (_place(self.by) < _last_shown(name, self.by)).fill_null(value=True)
            for name in self.registers
        ]
        followed = _place(self.by) <= pl.len().over(self.by).cast(pl.Int64) - 3
        return pl.all_horizontal(followed, *settled)

    def _first_needed(self) -> pl.Expr:
        """The place of the first row that those which are not known yet look back to."""
        done = pl.col(_DONE)
        before = [_last_shown(name, self.by, among=done) for name in self.registers]
        return pl.min_horizontal(done.cast(pl.Int64).sum().over(self.by) - 1, *before)


def _is_false(name: str, by: Sequence[str]) -> pl.Expr:
    count = pl.col(name)
    before, after = count.shift().over(by), count.shift(-1).over(by)
    outside = (before <= after) & ((count < before) | (count > after))
    shown = pl.when(count != 0).then(count)
    had, has_again = shown.forward_fill().over(by), shown.backward_fill().over(by)
    return (outside | ((count == 0) & (had > 0) & (has_again >= had))).fill_null(value=False)


def _last_shown(name: str, by: Sequence[str], *, among: pl.Expr | None = None) -> pl.Expr:
    """The last place with a count other than zero; null if there is none."""
    is_shown = pl.col(name) != 0
    shown = is_shown if among is None else is_shown & among
    return pl.when(shown).then(pl.int_range(pl.len())).max().over(by)


def _place(by: Sequence[str]) -> pl.Expr:
    return pl.int_range(pl.len()).over(by)


def _step_s(by: Sequence[str]) -> pl.Expr:
    time = pl.col("timestamp")
    return (time.shift(-1) - time).over(by).dt.total_seconds()


def _commonest(steps_s: Counter[int]) -> int:
    return min(steps_s, key=lambda step_s: (-steps_s[step_s], step_s))
