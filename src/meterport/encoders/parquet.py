"""Apache Parquet, typed, with what the export is of in the file's metadata.

Shape:    one row group per ROW_GROUP_ROWS rows however the frames are cut, zstd, with
          statistics, a page index and a CRC-32 of each page; keys are never null.
Units:    in each field's metadata (`unit`), and with the rest under the file's key `meterport`.
Time:     timestamp is the interval's start, in microseconds of UTC; the sheet's zone is named
          in the metadata only.
Exact:    every finite float64, -0.0 and subnormals too; every text; every instant.
Bytes:    the same rows make the same bytes with one version of Arrow, which names itself inside.
"""

import json
from collections.abc import Iterable, Iterator

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from meterport.domain.readings import KEY
from meterport.domain.sheets import Sheet
from meterport.encoders.about import UNITS, about
from meterport.encoders.base import ExportFormat, Sink
from meterport.encoders.pieces import pieces
from meterport.encoders.sinks import SinkFile

ROW_GROUP_ROWS = 131_072
TYPES = {
    "timestamp": pa.timestamp("us", "UTC"),
    "interval_s": pa.int32(),
    "smart_meter_id": pa.string(),
    "energy_kwh": pa.float64(),
    "power_kw": pa.float64(),
    "voltage_v": pa.float64(),
    "current_a": pa.float64(),
    "energy_export_kwh": pa.float64(),
    "quality": pa.string(),
    "interval_end": pa.timestamp("us", "UTC"),
    "readings": pa.int32(),
    "gap": pa.string(),
}


def body(frames: Iterable[pl.DataFrame], sink: Sink, sheet: Sheet) -> None:
    schema = arrow_schema(sheet)
    with pq.ParquetWriter(
        pa.PythonFile(SinkFile(sink), mode="w"),
        schema,
        compression="zstd",
        write_statistics=True,
        write_page_index=True,
        write_page_checksum=True,
    ) as writer:
        for group in row_groups(pieces(frames, sheet)):
            writer.write_table(group.to_arrow().cast(schema), row_group_size=ROW_GROUP_ROWS)


def arrow_schema(sheet: Sheet) -> pa.Schema:
    fields = [
        pa.field(
            name,
            TYPES[name],
            nullable=name not in KEY,
            metadata={"unit": UNITS[name]} if name in UNITS else None,
        )
        for name in sheet.columns
    ]
    return pa.schema(fields, metadata={"meterport": json.dumps(about(sheet), ensure_ascii=False)})


def row_groups(parts: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """All but the last of ROW_GROUP_ROWS rows, each in one chunk: pages end where chunks do."""
    waiting: list[pl.DataFrame] = []
    rows = 0
    for part in parts:
        waiting.append(part)
        rows += part.height
        if rows >= ROW_GROUP_ROWS:
            joined = pl.concat(waiting)
            yield joined[:ROW_GROUP_ROWS].rechunk()
            waiting = [joined[ROW_GROUP_ROWS:]]
            rows -= ROW_GROUP_ROWS
    if rows:
        yield pl.concat(waiting).rechunk()


FORMAT = ExportFormat("parquet", "application/vnd.apache.parquet", "parquet", body)
