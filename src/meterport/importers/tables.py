"""From the rows of a file to batches of READING_SCHEMA; what CSV, NDJSON and Parquet share."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from meterport.domain.errors import ImportRefused
from meterport.domain.readings import READING_SCHEMA
from meterport.importers.base import FileReport
from meterport.importers.chosen import Chosen, Table
from meterport.importers.columns import SERIES, Columns
from meterport.importers.found import Found, find_columns, wide_columns
from meterport.importers.joined import joined
from meterport.importers.manner import manner_of
from meterport.importers.options import ImportOptions
from meterport.importers.registers import commonest_steps, differences
from meterport.importers.repeated_hours import turns_of

Tables = Callable[[FileReport], Iterable[Table]]
"""Reads the file from its beginning; what it refuses and counts goes to the report."""

_BY = ("smart_meter_id", SERIES)


def to_batches(
    path: Path,
    header: Sequence[str],
    tables: Tables,
    options: ImportOptions,
    report: FileReport,
    *,
    place: str = "line",
) -> Iterator[pl.DataFrame]:
    """The file is read once, and once more for registers and for hours that the clock repeats.

    Raises ImportRefused, naming the file and the place, at the first table with bad rows.
    """
    try:
        found = find_columns(options, header)
        _tell_columns(found, header, options, report)
        yield from _File(path, tables, found, options, place).batches(report)
    except ImportRefused as error:
        if path.name in error.message:
            raise
        raise ImportRefused(f"{path.name}: {error.message}") from error


@dataclass(frozen=True)
class _File:
    path: Path
    tables: Tables
    found: Mapping[str, Found]
    options: ImportOptions
    place: str

    def batches(self, report: FileReport) -> Iterator[pl.DataFrame]:
        rows = (table for table in self._chosen(FileReport(self.path)) if len(table.lines))
        first = next(rows, None)
        manner = manner_of(first, self.found, self.options, report)
        columns = Columns(self.found, self.options, manner)
        turns = turns_of(columns, self._chosen(FileReport(self.path)))

        def read(told: FileReport) -> Iterator[pl.DataFrame]:
            row = 0
            for table in self._chosen(told):
                own = None if turns is None else turns.of(row, len(table.lines))
                row += len(table.lines)
                frame, bad = columns.readings(table, own)
                told.refuse(bad, skip=self.options.skip_bad_rows, unit=self.place)
                yield frame

        batches = read(report)
        registers = {name: each.divisor for name, each in self.found.items() if each.is_register}
        if registers:
            steps_s = commonest_steps(read(FileReport(self.path)), _BY)
            batches = differences(batches, registers, steps_s, report, _BY)
        if columns.is_sparse:
            batches = joined(batches, report)
        for batch in batches:
            report.rows += batch.height
            yield batch.select(READING_SCHEMA.names())

    def _chosen(self, told: FileReport) -> Iterator[Table]:
        return Chosen(self.found, self.options).of(self.tables(told), told)


def _tell_columns(
    found: Mapping[str, Found], header: Sequence[str], options: ImportOptions, report: FileReport
) -> None:
    filters = [*options.where, *(each.only for each in found.values() if each.only is not None)]
    used = {name for each in found.values() for name in each.columns}
    used |= {each.column for each in filters} | {str(options.factor)}
    if options.wide is not None:
        used |= wide_columns(header).keys()
    report.ignored_columns = [
        name for name in header if name not in used and not name.startswith("#")
    ]
    report.missing_columns = [
        name for name in READING_SCHEMA if name not in found and name not in options.fixed
    ]
