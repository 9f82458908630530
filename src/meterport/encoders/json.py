"""One JSON document: what the export is of, then the readings, one a line.

Shape:   {"export": {meters, period, timezone, interval_label, resolution, columns, source},
         "readings": […]}, UTF-8, LF; a reading's keys are the sheet's columns, in their order.
Units:   in export.columns, null for a column without.
Time:    timestamp is the interval's start, ISO 8601 to the second: Z for UTC, else the offset.
Numbers: the shortest text that reads back to the same float64; missing is null, never zero.
Exact:   every finite float64, -0.0 and subnormals too; every text; every instant in whole seconds.
"""

import json
from collections.abc import Iterable

import polars as pl

from meterport.domain.sheets import Sheet
from meterport.encoders import ndjson
from meterport.encoders.about import about
from meterport.encoders.base import ExportFormat, Sink


def body(frames: Iterable[pl.DataFrame], sink: Sink, sheet: Sheet) -> None:
    head = json.dumps(about(sheet), ensure_ascii=False)
    sink.write(f'{{"export": {head},\n"readings": ['.encode())
    before = b"\n"
    for lines in ndjson.lines(frames, sheet):
        # A line end inside a text is escaped, so that each one here ends an object.
        sink.write(before + lines.removesuffix(b"\n").replace(b"\n", b",\n"))
        before = b",\n"
    sink.write(b"\n]}\n")


FORMAT = ExportFormat("json", "application/json", "json", body, row_bytes=140)
