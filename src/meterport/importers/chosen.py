"""The rows of a file that are meant, as text without what surrounds it, a value a row.

Cells are stripped, words for "missing" and empty cells are null; rows of empty cells alone are
passed over, as blank lines are. Of a file with a day a row each interval becomes a row.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl
import polars.selectors as cs

from meterport.domain.errors import ImportRefused, shown
from meterport.domain.readings import VALUE_COLUMNS
from meterport.importers.base import FileReport
from meterport.importers.found import WIDE_TIME, WIDE_VALUE, Found, wide_columns
from meterport.importers.options import ImportOptions, RowFilter

WORDS_SHOWN = 10


@dataclass(frozen=True)
class Table:
    """Some rows of the file in its own columns, and beside each its line (or row) number."""

    values: pl.DataFrame
    lines: pl.Series

    def filter(self, rows: pl.Series) -> "Table":
        return Table(self.values.filter(rows), self.lines.filter(rows))


@dataclass(frozen=True)
class Chosen:
    """What is meant of a file, by its columns and the options."""

    found: Mapping[str, Found]
    options: ImportOptions
    _unmatched: dict[RowFilter, set[str]] = field(default_factory=dict)

    def of(self, tables: Iterable[Table], report: FileReport) -> Iterator[Table]:
        """Raises ImportRefused at the end, if no row was meant by one of the filters."""
        self._unmatched.update((each, set()) for each in self._filters)
        for table in tables:
            report.rows_read += len(table.lines)
            yield self._chosen(table, report)
        for only, words in self._unmatched.items():
            if report.rows_read:
                raise ImportRefused(f"{report.path.name}: no row has {only}; {_known(only, words)}")

    @property
    def _filters(self) -> list[RowFilter]:
        of_columns = [each.only for each in self.found.values() if each.only is not None]
        return [*self.options.where, *of_columns]

    def _chosen(self, table: Table, report: FileReport) -> Table:
        values = table.values.with_columns(cs.string().str.strip_chars(" \t").replace("", None))
        table = Table(values, table.lines).filter(~_is_null(values, values.columns))
        self._look_for_matches(table.values)
        for only in self.options.where:
            meant = matches(table.values, only)
            table = _passed_over(table, ~meant, f"rows without {only}", report)
        if self._selections is not None:
            meant = pl.Series([False]).new_from_index(0, len(table.lines))
            for only in self._selections:
                meant |= matches(table.values, only)
            table = _passed_over(table, ~meant, "rows of no --map", report)
        if self.options.wide is not None:
            table = _unpivoted(table)
        if self.options.missing:
            table = self._without_missing(table, report)
        return table

    def _look_for_matches(self, values: pl.DataFrame) -> None:
        for only, words in list(self._unmatched.items()):
            if matches(values, only).any():
                del self._unmatched[only]
            elif len(words) <= WORDS_SHOWN:
                words |= set(values[only.column].drop_nulls().unique().cast(pl.String).head(50))

    def _without_missing(self, table: Table, report: FileReport) -> Table:
        """A row that has words for "missing" and no value is none."""
        words = self.options.missing
        names = self._value_columns
        texts = [name for name in names if table.values.schema[name] == pl.String]
        said = table.values.select(
            pl.any_horizontal(pl.lit(value=False), *(pl.col(name).is_in(words) for name in texts))
        )
        values = table.values.with_columns(
            pl.when(~cs.string().is_in(words)).then(cs.string()).name.keep()
        )
        gone = said.to_series().fill_null(value=False) & _is_null(values, names)
        return _passed_over(Table(values, table.lines), gone, "rows without a value", report)

    @property
    def _selections(self) -> list[RowFilter] | None:
        """Of the values; None where a value may stand in every row."""
        of_values = [self.found[name].only for name in VALUE_COLUMNS if name in self.found]
        return None if None in of_values else [only for only in of_values if only is not None]

    @property
    def _value_columns(self) -> list[str]:
        of_values = [self.found[name] for name in VALUE_COLUMNS if name in self.found]
        return list(dict.fromkeys(column for each in of_values for column in each.columns))


def matches(values: pl.DataFrame, only: RowFilter) -> pl.Series:
    cells = values[only.column].cast(pl.String)
    return cells.is_in(only.words).fill_null(value=False)


def _is_null(values: pl.DataFrame, names: Sequence[str]) -> pl.Series:
    return values.select(pl.all_horizontal(pl.col(names).is_null()).alias("null")).to_series()


def _passed_over(table: Table, rows: pl.Series, what: str, report: FileReport) -> Table:
    report.pass_over(what, int(rows.sum()))
    return table.filter(~rows)


def _unpivoted(table: Table) -> Table:
    """A row for each of a day's columns, in their order, day by day."""
    times = wide_columns(table.values.columns)
    days = table.values.with_columns(table.lines.alias("(line)")).with_row_index("(day)")
    rows = days.unpivot(
        list(times),
        index=[name for name in days.columns if name not in times],
        variable_name=WIDE_TIME,
        value_name=WIDE_VALUE,
    )
    order = {name: place for place, name in enumerate(times)}
    place = pl.col(WIDE_TIME).replace_strict(order, return_dtype=pl.UInt32)
    rows = rows.sort("(day)", place).with_columns(pl.col(WIDE_TIME).replace(times))
    return Table(rows.drop("(day)", "(line)"), rows["(line)"])


def _known(only: RowFilter, words: Sequence[str] | set[str]) -> str:
    first = sorted(words)[:WORDS_SHOWN]
    told = ", ".join(shown(word) for word in first) or "nothing"
    return f"{shown(only.column)} has {told}" + (", …" if len(words) > len(first) else "")
