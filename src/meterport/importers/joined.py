"""One row per reading, of a file that has each channel of a meter in rows of its own.

The file's rows wait in temporary files, parted by meter and time, so that the memory needed does
not grow with the file: rows of one reading are in one part, wherever they stood.

Repeated: of two values of one channel the later one counts.
Quality:  a reading has the word of its least sure channel.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import polars as pl
import pyarrow as pa

from meterport.domain.readings import KEY, READING_SCHEMA, VALUE_COLUMNS
from meterport.importers.base import FileReport
from meterport.importers.green_button_quality import WORDS

PARTS = 32
BATCH_ROWS = 100_000
_LEVELS: Mapping[str, int] = {word: level for level, word in enumerate(WORDS) if word is not None}
_UNKNOWN = _LEVELS["other"]


def joined(batches: Iterable[pl.DataFrame], report: FileReport) -> Iterator[pl.DataFrame]:
    """In READING_SCHEMA; in order of meters and times within each batch."""
    with tempfile.TemporaryDirectory(prefix="meterport-import-") as folder:
        files = [Path(folder) / f"{part}.arrow" for part in range(PARTS)]
        _spill(batches, files)
        for file in files:
            with file.open("rb") as spilled, pa.ipc.open_stream(spilled) as stream:
                rows = pl.DataFrame(stream.read_all())
            yield from _rows(rows, report).iter_slices(BATCH_ROWS)


def _spill(batches: Iterable[pl.DataFrame], files: list[Path]) -> None:
    schema = READING_SCHEMA.to_frame().to_arrow().schema
    with ExitStack() as stack:
        sinks = [stack.enter_context(file.open("wb")) for file in files]
        writers = [stack.enter_context(pa.ipc.new_stream(sink, schema)) for sink in sinks]
        for batch in batches:
            part = batch.select(pl.struct(KEY).hash(seed=0) % PARTS).to_series()
            for number, writer in enumerate(writers):
                rows = batch.filter(part == number).select(READING_SCHEMA.names())
                if rows.height:
                    writer.write_table(rows.to_arrow())


def _rows(rows: pl.DataFrame, report: FileReport) -> pl.DataFrame:
    level = pl.col("quality").replace_strict(_LEVELS, default=_UNKNOWN, return_dtype=pl.UInt8)
    values = pl.col(VALUE_COLUMNS)
    level = pl.when(pl.col("quality").is_not_null()).then(level).otherwise(0)
    least_sure = pl.col("quality").sort_by(level, maintain_order=True).last()
    found = (
        rows.group_by(KEY, maintain_order=True)
        .agg(
            values.drop_nulls().last(),
            pl.col("interval_s").drop_nulls().last(),
            least_sure,
            pl.sum_horizontal((values.count().cast(pl.Int64) - 1).clip(0)).alias("repeated"),
        )
        .sort(KEY)
    )
    report.pass_over("values that a later row repeats", int(found["repeated"].sum()))
    return found.select(READING_SCHEMA.names())
