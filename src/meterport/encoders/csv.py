"""CSV: as the contract has it, unless another dialect is asked for.

Text:    UTF-8 without BOM, LF, comma, RFC 4180, the header always.
Time:    timestamp is the interval's start in UTC, to the second, with Z; in another zone with the
         offset.
Numbers: the shortest text that reads back to the same float64; missing is empty.
Exact:   every finite float64, -0.0 and subnormals too; every text but the empty one, which reads
         like a missing one; every instant in whole seconds.
Dialect: delimiter, decimal comma, BOM, no header, CRLF; no cell is ever prefixed or rounded.
"""

import codecs
from collections.abc import Iterable

import polars as pl

from meterport.domain.sheets import Sheet
from meterport.encoders.base import Cut, ExportFormat, Sink
from meterport.encoders.pieces import times_as_text


def head(sheet: Sheet) -> bytes:
    dialect = sheet.csv
    names = dialect.delimiter.join(sheet.columns) + dialect.line_end
    mark = codecs.BOM_UTF8 if dialect.bom else b""
    return mark + (names.encode() if dialect.header else b"")


def body(frames: Iterable[pl.DataFrame], sink: Sink, sheet: Sheet) -> None:
    for frame in frames:
        sink.write(rows(frame, sheet))


def rows(frame: pl.DataFrame, sheet: Sheet) -> bytes:
    columns = frame.select(sheet.columns)
    if sheet.zone != "UTC":
        columns = times_as_text(columns, sheet.zone)
    text = columns.write_csv(
        include_header=False,
        datetime_format="%Y-%m-%dT%H:%M:%SZ",
        separator=sheet.csv.delimiter,
        decimal_comma=sheet.csv.decimal == ",",
        line_terminator=sheet.csv.line_end,
    )
    return text.encode()


FORMAT = ExportFormat(
    "csv", "text/csv; charset=utf-8", "csv", body, head=head, cut=Cut.ROWS, row_bytes=57
)
