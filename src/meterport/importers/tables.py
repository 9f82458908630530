"""From a file's own tables to batches of READING_SCHEMA; what CSV and Parquet have in common."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from meterport.domain.errors import ImportRefused
from meterport.domain.readings import READING_SCHEMA
from meterport.importers.base import UNITS, ColumnSource, FileReport, ImportOptions, refused
from meterport.importers.columns import readings
from meterport.importers.registers import commonest_steps, differences


@dataclass(frozen=True)
class Table:
    """Some rows of the file in its own columns, and beside each its line (or row) number."""

    values: pl.DataFrame
    lines: pl.Series


def to_batches(
    path: Path,
    header: Sequence[str],
    tables: Callable[[], Iterable[Table]],
    options: ImportOptions,
    report: FileReport,
    *,
    place: str = "line",
) -> Iterator[pl.DataFrame]:
    """`tables` reads the file from its beginning; registers need that twice.

    Raises ImportRefused, naming the file and the place, at the first table with bad rows.
    """
    columns = _columns(path, header, options)
    used = {source.name for source in columns.values()}
    report.ignored_columns = [name for name in header if name not in used]
    report.missing_columns = [
        name for name in READING_SCHEMA if name not in columns and name not in options.fixed
    ]
    registers = {
        name: UNITS[name][source.unit] for name, source in columns.items() if source.is_register
    }

    def batches() -> Iterator[pl.DataFrame]:
        return _batches(path, tables(), columns, options, place)

    read = batches()
    if registers:
        read = differences(read, registers, commonest_steps(batches()), report)
    for batch in read:
        report.rows += batch.height
        yield batch


def _columns(
    path: Path, header: Sequence[str], options: ImportOptions
) -> Mapping[str, ColumnSource]:
    try:
        return options.columns(list(header))
    except ImportRefused as error:
        raise ImportRefused(f"{path.name}: {error.message}") from error


def _batches(
    path: Path,
    tables: Iterable[Table],
    columns: Mapping[str, ColumnSource],
    options: ImportOptions,
    place: str,
) -> Iterator[pl.DataFrame]:
    for table in tables:
        try:
            batch, bad = readings(table.values, columns, options, table.lines)
        except ImportRefused as error:
            raise ImportRefused(f"{path.name}: {error.message}") from error
        if bad:
            raise refused(path, bad, unit=place)
        yield batch
