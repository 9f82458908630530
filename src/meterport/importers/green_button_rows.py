"""The readings of one meter, which a feed may bring channel by channel, as one row per timestamp.

Repeated:  of two readings of one channel and start the later one in the feed counts.
Overlaps:  a reading that shorter ones of its channel overlap (a day's total beside its hours) is
           passed over, so that nothing counts twice.
Registers: differences, as in registers.py; the count is that at `start`. Passed over where the
           feed has the energy of intervals too.
Parts:     readings of one phase or tariff are passed over where the feed has the whole, and where
           it has several parts, as no single one of them is the meter's.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from meterport.domain.readings import READING_SCHEMA, VALUE_COLUMNS
from meterport.importers.base import BadRow, FileReport, refused
from meterport.importers.green_button_feed import Records
from meterport.importers.green_button_kinds import ReadingKind
from meterport.importers.green_button_quality import WORDS
from meterport.importers.registers import commonest_steps, differences

LONGEST_INTERVAL_S = 31 * 86_400
_NO_LENGTH = 0
_ROW_COLUMNS = ("interval_s", "level", "line")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Readings:
    """`load` gives the records and the place of each in the feed."""

    kind: ReadingKind
    count: int
    load: Callable[[], tuple[Records, npt.NDArray[np.int64]]]


def rows(path: Path, meter: str, readings: Sequence[Readings], report: FileReport) -> pl.DataFrame:
    """In READING_SCHEMA, in order of time. Raises ImportRefused where rows cannot be made."""
    channels = {}
    for column in VALUE_COLUMNS:
        chosen = _chosen([each for each in readings if each.kind.column == column], report)
        if chosen:
            channels[column] = _channel(path, meter, column, chosen, report)
    if not channels:
        return READING_SCHEMA.to_frame()
    first, *others = channels
    merged = channels[first]
    for column in others:
        merged = _joined(path, merged, channels[column])
    words = pl.Series(WORDS, dtype=pl.String)
    return merged.sort("start").select(
        pl.from_epoch("start")
        .cast(pl.Datetime("us"))
        .dt.replace_time_zone("UTC")
        .alias("timestamp"),
        pl.col("interval_s").cast(pl.Int32),
        pl.lit(meter).alias("smart_meter_id"),
        *(
            pl.col(name) if name in channels else pl.lit(None, pl.Float64).alias(name)
            for name in VALUE_COLUMNS
        ),
        pl.lit(words).gather(pl.col("level")).alias("quality"),
    )


def _chosen(readings: Sequence[Readings], report: FileReport) -> Sequence[Readings]:
    """Those that are the meter's own values of this quantity."""
    parts = {each.kind.part for each in readings}
    left = [each for each in readings if len(parts) == 1 or not each.kind.part]
    _count(readings, left, "of single phases or tariffs", report)
    intervals = [each for each in left if not each.kind.is_register]
    if intervals:
        _count(left, intervals, "of a register beside the energy of intervals", report)
    return intervals or left


def _count(
    before: Iterable[Readings], after: Sequence[Readings], what: str, report: FileReport
) -> None:
    for each in before:
        if each not in after:
            report.pass_over(f"{each.kind.label} {what}", each.count)


def _channel(
    path: Path, meter: str, column: str, readings: Sequence[Readings], report: FileReport
) -> pl.DataFrame:
    """The columns start, `column` and _ROW_COLUMNS, one row per start."""
    all_ = pl.concat([_values(column, each) for each in readings]).sort("place")
    is_register = readings[0].kind.is_register
    known = all_.unique("start", keep="last") if is_register else _latest(all_)
    report.pass_over("readings that a later one repeats", all_.height - known.height)
    if is_register:
        return _differences(meter, column, known.sort("start"), report)
    _check_lengths(path, known)
    known = _counted(
        known, pl.col("interval_s") <= LONGEST_INTERVAL_S, "longer than 31 days", report
    )
    known = _counted(known, ~_overlapped(known), "that shorter ones overlap", report)
    return known.select("start", column, *_ROW_COLUMNS)


def _latest(all_: pl.DataFrame) -> pl.DataFrame:
    return all_.unique(["start", "interval_s"], keep="last")


def _counted(
    readings: pl.DataFrame, good: pl.Expr | pl.Series, what: str, report: FileReport
) -> pl.DataFrame:
    left = readings.filter(good)
    report.pass_over(f"readings {what}", readings.height - left.height)
    return left


def _values(column: str, readings: Readings) -> pl.DataFrame:
    records, places = readings.load()
    kind = readings.kind
    duration = np.where(records["duration"] > 0, records["duration"], kind.interval_s or _NO_LENGTH)
    level = np.where(records["level"] > 0, records["level"], kind.level)
    return pl.DataFrame(
        {
            "start": records["start"],
            column: _scaled(records["value"], kind.exponent),
            "interval_s": duration.astype(np.int64),
            "level": level.astype(np.uint8),
            "line": records["line"],
            "place": places,
        }
    )


def _scaled(values: npt.NDArray[np.int64], exponent: int) -> Floats:
    """As 15 digits and these powers of ten are floats without rounding, one operation is exact."""
    power = float(10 ** abs(exponent))
    floats = values.astype(np.float64)
    return floats / power if exponent < 0 else floats * power


def _check_lengths(path: Path, readings: pl.DataFrame) -> None:
    without = readings.filter(pl.col("interval_s") == _NO_LENGTH)["line"]
    if len(without):
        reason = "an IntervalReading without duration, and its ReadingType has no intervalLength"
        raise refused(path, [BadRow(line, reason) for line in without.sort()])


def _overlapped(readings: pl.DataFrame) -> pl.Series:
    """Whether a reading shares an instant with a shorter one that is not itself overlapped."""
    start, length = readings["start"].to_numpy(), readings["interval_s"].to_numpy()
    found = np.zeros(len(start), dtype=np.bool_)
    kept = np.empty(0, dtype=np.int64)
    kept_end = kept
    for each in np.unique(length):
        mine = length == each
        begin, end = start[mine], start[mine] + each
        # Of those kept, so many begin before this one ends, less so many that have ended by then.
        hit = np.searchsorted(kept, end, "left") > np.searchsorted(kept_end, begin, "right")
        found[mine] = hit
        kept = np.sort(np.concatenate([kept, begin[~hit]]))
        kept_end = np.sort(np.concatenate([kept_end, end[~hit]]))
    return pl.Series(found)


def _differences(meter: str, column: str, counts: pl.DataFrame, report: FileReport) -> pl.DataFrame:
    named = counts.with_columns(
        pl.lit(meter).alias("smart_meter_id"),
        pl.from_epoch("start").alias("timestamp"),
    )
    steps = commonest_steps([named])
    used = pl.concat(differences([named], {column: 1.0}, steps, report))
    return (
        used.drop_nulls(column)
        .with_columns(pl.lit(steps.get(meter, _NO_LENGTH), pl.Int64).alias("interval_s"))
        .select("start", column, *_ROW_COLUMNS)
    )


def _joined(path: Path, rows: pl.DataFrame, channel: pl.DataFrame) -> pl.DataFrame:
    both = rows.join(channel, on="start", how="full", coalesce=True, suffix="_more")
    wrong = both.filter(pl.col("interval_s") != pl.col("interval_s_more")).sort("start")
    if wrong.height:
        raise refused(path, [_two_lengths(row) for row in wrong.iter_rows(named=True)])
    return both.with_columns(
        pl.coalesce("interval_s", "interval_s_more"),
        pl.max_horizontal("level", "level_more"),
        pl.coalesce("line", "line_more"),
    ).drop("interval_s_more", "level_more", "line_more")


def _two_lengths(row: dict[str, int]) -> BadRow:
    return BadRow(
        row["line_more"],
        f"{row['interval_s_more']} seconds, but line {row['line']} has {row['interval_s']} for "
        "another quantity of the same meter and start; a row has one length",
    )
