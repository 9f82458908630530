"""Turns some rows of a file into READING_SCHEMA, or names those that are no readings.

Text and typed columns are taken alike: CSV brings strings, Parquet brings types.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import polars as pl

from meterport.domain.errors import ImportRefused, shown
from meterport.domain.readings import READING_SCHEMA, SMART_METER_ID, VALUE_COLUMNS
from meterport.importers import units
from meterport.importers.base import BadRow
from meterport.importers.chosen import Table, matches
from meterport.importers.found import Found
from meterport.importers.manner import Manner, date_texts
from meterport.importers.options import ImportOptions, TimeLabel
from meterport.importers.timestamps import off_the_clock, utc_timestamps, wall_times

SERIES = "(series)"
"""Which of the selections a row belongs to, bit by bit; rows of one are in order of time."""

QUALITY_WORD = re.compile("[a-z][a-z0-9_-]{0,31}")
_LONGEST_INTERVAL_S = 31 * 86_400
_WANTED: Mapping[str, str] = {
    "timestamp": "a date-time in whole seconds, such as 2024-01-01T00:00:00Z",
    "interval_s": "a whole number of seconds up to 31 days",
    "smart_meter_id": "a meter id (1 to 64 letters, digits or . _ : -)",
    "quality": "a word such as estimated; --quality says what another word means",
    **dict.fromkeys(VALUE_COLUMNS, "a finite number"),
}
_MEAN_MISSING = ("-", "--", "?", "n/a", "N/A", "NA", "null", "NULL", "None", "NaN", "nan")


@dataclass(frozen=True)
class Columns:
    """How the columns of one file become ours."""

    found: Mapping[str, Found]
    options: ImportOptions
    manner: Manner

    @property
    def is_sparse(self) -> bool:
        """Whether the columns of a reading stand in rows of their own."""
        return any(each.only is not None for each in self.found.values())

    def readings(self, table: Table, turns: pl.Series | None) -> tuple[pl.DataFrame, list[BadRow]]:
        """In our columns and SERIES, without the bad rows, which are named.

        `turns`: of each row whether it is the "earliest" or the "latest" time that the clock
        showed that; see repeated_hours.py. A register column still holds its counts, in the
        file's unit; see registers.py.
        """
        rows = _Rows(self, table)
        for name in READING_SCHEMA:
            rows.ours[name] = rows.timestamp(turns) if name == "timestamp" else rows.column(name)
        if self.options.label is TimeLabel.END:
            length = pl.duration(seconds=pl.col("interval_s"))
            times = pl.DataFrame(rows.ours).select(pl.col("timestamp") - length)
            rows.ours["timestamp"] = times.to_series()
        frame = pl.DataFrame(rows.ours).with_columns(series_of(table, self.found))
        is_bad, nothing = rows.is_bad, self._is_nothing(frame, table)
        return frame.filter(~is_bad & ~nothing), list(rows.bad_rows(is_bad & ~nothing))

    def _is_nothing(self, frame: pl.DataFrame, table: Table) -> pl.Series:
        """A row without a value at a time that is no instant, as a day's table has in spring."""
        if self.options.timezone is None:
            return pl.Series([False]).new_from_index(0, frame.height)
        empty = frame.select(pl.all_horizontal(pl.col(VALUE_COLUMNS).is_null())).to_series()
        return empty & frame["timestamp"].is_null() & self.wall_times(table).is_not_null()

    def wall_times(self, table: Table) -> pl.Series:
        """What the clock showed, where a row's timestamp has no offset; else null."""
        source = self.found["timestamp"]
        return wall_times(date_texts(table.values, source), source.unit, self.manner.date_order)


@dataclass
class _Rows:
    """Some rows on their way to be ours."""

    columns: Columns
    table: Table
    ours: dict[str, pl.Series] = field(default_factory=dict)
    bad: list[tuple[str, pl.Series, pl.Series]] = field(default_factory=list)
    """Of each column in turn: its name, its cells, and which of them are bad."""

    def timestamp(self, turns: pl.Series | None) -> pl.Series:
        source, zone = self.columns.found["timestamp"], self.columns.options.timezone
        cells = date_texts(self.table.values, source)
        order = self.columns.manner.date_order
        times = utc_timestamps(cells, source.unit, zone, order=order, turns=turns)
        self.bad.append(("timestamp", cells, times.is_null()))
        return times.alias("timestamp")

    def column(self, name: str) -> pl.Series:
        found = self.columns.found.get(name)
        if found is None:
            fixed = self.columns.options.fixed.get(name)
            return pl.Series(name, [fixed], READING_SCHEMA[name]).new_from_index(
                0, len(self.table.lines)
            )
        if name in VALUE_COLUMNS:
            return self._value(name, found)
        cells = self._cells(name, found.columns[0], found)
        return self._good(name, cells, _converted(name, cells, self.columns.options))

    def _value(self, name: str, found: Found) -> pl.Series:
        parts = [self._number(name, column, found) for column in found.columns]
        total = parts[0].to_numpy()
        for part in parts[1:]:
            total = units.sums(total, part.to_numpy())
        if self.columns.options.factor is not None:
            factor = self._number(name, self.columns.options.factor, found)
            total = units.products(total, abs(factor.to_numpy()))
        value = pl.Series(name, total, dtype=pl.Float64, nan_to_null=True)
        return value if found.is_register else units.converted(value, found.divisor)

    def _number(self, name: str, column: str, found: Found) -> pl.Series:
        cells = self._cells(name, column, found)
        texts = cells
        if cells.dtype == pl.String and self.columns.manner.decimal == ",":
            comma = ~cells.str.contains(".", literal=True)
            texts = cells.zip_with(comma, pl.Series([None], dtype=pl.String))
            texts = texts.str.replace(",", ".", literal=True)
        number = texts.cast(pl.Float64, strict=False)
        number = number.zip_with(number.is_finite(), pl.Series([None], dtype=pl.Float64))
        return self._good(name, cells, number)

    def _cells(self, name: str, column: str, found: Found) -> pl.Series:
        cells = self.table.values[column]
        if not _may_be(name, cells.dtype):
            raise ImportRefused(
                f"column {shown(column)} holds {cells.dtype}, but {name} is {_WANTED[name]}"
            )
        if found.only is None:
            return cells
        meant = matches(self.table.values, found.only)
        return cells.zip_with(meant, pl.Series([None], dtype=cells.dtype))

    def _good(self, name: str, cells: pl.Series, ours: pl.Series) -> pl.Series:
        meant = cells.is_not_null() | (name == "smart_meter_id")
        if name == "quality":
            words = self.columns.options.quality
            meant &= ~cells.is_in([word for word, ours in words.items() if ours is None])
        self.bad.append((name, cells, ours.is_null() & meant))
        return ours.alias(name)

    @property
    def is_bad(self) -> pl.Series:
        each = [bad.alias(f"{n}") for n, (_, _, bad) in enumerate(self.bad)]
        return pl.DataFrame(each).select(pl.any_horizontal(pl.all()).alias("bad")).to_series()

    def bad_rows(self, is_bad: pl.Series) -> Iterator[BadRow]:
        """In the order of the rows; a row is named once, for its first bad column."""
        for row in is_bad.arg_true():
            name, cells = next((name, cells) for name, cells, bad in self.bad if bad[row])
            yield BadRow(self.table.lines[row], f"{name}: {self._reason(name, cells, row)}")

    def _reason(self, name: str, cells: pl.Series, row: int) -> str:
        value = shown(_cell(cells, row))
        if name == "timestamp" and (zone := self.columns.options.timezone) is not None:
            walls = self.columns.wall_times(self.table)
            if told := off_the_clock(walls.slice(row, 1), zone):
                return f"{value}: {told}"
        hint = _hint(cells.slice(row, 1)) if name in VALUE_COLUMNS else ""
        return f"{value} is not {_WANTED[name]}{hint}"


def series_of(table: Table, found: Mapping[str, Found]) -> pl.Series:
    selections = [each.only for each in found.values() if each.only is not None]
    series = pl.repeat(0, len(table.lines), dtype=pl.UInt32, eager=True)
    for bit, only in enumerate(selections):
        series += matches(table.values, only).cast(pl.UInt32) * (1 << bit)
    return series.alias(SERIES)


def _may_be(name: str, kind: pl.DataType) -> bool:
    if kind in (pl.String, pl.Null):
        return True
    if name in ("smart_meter_id", "interval_s"):
        return kind.is_integer() or (name == "smart_meter_id" and kind == pl.Categorical)
    return kind == pl.Categorical if name == "quality" else kind.is_numeric()


def _converted(name: str, cells: pl.Series, options: ImportOptions) -> pl.Series:
    """The good values; whatever else stands there becomes null."""
    if name == "interval_s":
        value = cells.cast(pl.Int32, strict=False)
        good = value.is_between(1, _LONGEST_INTERVAL_S)
    elif name == "quality":
        value = cells.cast(pl.String).replace(options.quality)
        good = value.str.contains(f"^{QUALITY_WORD.pattern}$")
    else:
        value = cells.cast(pl.String)
        good = value.str.contains(f"^{SMART_METER_ID.pattern}$")
    return value.zip_with(good, pl.Series([None], dtype=value.dtype))


def _hint(cell: pl.Series) -> str:
    text = cell[0] if cell.dtype == pl.String else None
    if text in _MEAN_MISSING:
        return f"; if it means that there is none, say --missing {text}"
    if text is not None and "," in text:
        return "; the decimal sign here is a point, unless you say --decimal ,"
    return ""


def _cell(values: pl.Series, row: int) -> object:
    # A time far outside of Python's own years can only be looked at as the number behind it.
    cell = values.slice(row, 1)
    return (cell.to_physical() if values.dtype.is_temporal() else cell).item()
