"""From a file's own tables to batches of READING_SCHEMA; what CSV and Parquet have in common."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from meterport.domain.errors import ImportRefused
from meterport.domain.readings import READING_SCHEMA
from meterport.importers.base import UNITS, ColumnSource, FileReport, ImportOptions, refused
from meterport.importers.columns import readings
from meterport.importers.registers import differences


@dataclass(frozen=True)
class Table:
    """Some rows of the file in its own columns, and beside each its line (or row) number."""

    values: pl.DataFrame
    lines: pl.Series


def to_batches(
    path: Path,
    header: Sequence[str],
    tables: Iterable[Table],
    options: ImportOptions,
    report: FileReport,
    *,
    place: str = "line",
) -> Iterator[pl.DataFrame]:
    """Raises ImportRefused, naming the file and the place, at the first table with bad rows."""
    columns = _columns(path, header, options)
    used = {source.name for source in columns.values()}
    report.ignored_columns = [name for name in header if name not in used]
    report.missing_columns = [name for name in READING_SCHEMA if name not in columns]
    registers = {
        name: UNITS[name][source.unit] for name, source in columns.items() if source.is_register
    }
    batches = _batches(path, tables, columns, options, report, place)
    yield from differences(batches, registers, report) if registers else batches


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
    report: FileReport,
    place: str,
) -> Iterator[pl.DataFrame]:
    for table in tables:
        batch, bad = readings(table.values, columns, options, table.lines)
        if bad:
            raise refused(path, bad, unit=place)
        report.rows += batch.height
        yield batch
