"""Parquet with our column names, or mapped ones; any types that hold what is meant."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from meterport.domain.errors import ImportRefused
from meterport.importers.base import FileReport, ImportFormat
from meterport.importers.chosen import Table
from meterport.importers.options import OF_TABLES, ImportOptions
from meterport.importers.tables import to_batches

BATCH_ROWS = 250_000


def read(path: Path, options: ImportOptions, report: FileReport) -> Iterator[pl.DataFrame]:
    with path.open("rb"):
        pass  # a missing file, or a folder, is said in the system's words
    try:
        rows = pl.scan_parquet(path, glob=False, hive_partitioning=False)
        header = rows.collect_schema().names()
        yield from to_batches(path, header, lambda _: _tables(rows), options, report, place="row")
    except pl.exceptions.PolarsError as error:
        raise ImportRefused(f"{path.name}: this is not a readable Parquet file") from error


def _tables(rows: pl.LazyFrame) -> Iterator[Table]:
    first = 1
    for values in rows.collect_batches(chunk_size=BATCH_ROWS):
        yield Table(values, pl.int_range(first, first + values.height, eager=True))
        first += values.height


FORMAT = ImportFormat(
    "parquet",
    (".parquet", ".pq"),
    read,
    understands=OF_TABLES,
    knows="Parquet has no delimiter and no header line",
    media_types=("application/vnd.apache.parquet",),
)
