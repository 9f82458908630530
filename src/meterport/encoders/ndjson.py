"""Newline-delimited JSON: a reading a line, nothing else; files can be joined end to end.

Shape:   one object a line, UTF-8, LF; keys are the sheet's columns, in their order.
Time:    timestamp is the interval's start, ISO 8601 to the second: Z for UTC, else the offset.
Numbers: the shortest text that reads back to the same float64; missing is null, never zero.
Exact:   every finite float64, -0.0 and subnormals too; every text; every instant in whole seconds.
"""

import io
from collections.abc import Iterable, Iterator

import polars as pl

from meterport.domain.sheets import Sheet
from meterport.encoders.base import Cut, ExportFormat, Sink
from meterport.encoders.pieces import pieces, times_as_text


def body(frames: Iterable[pl.DataFrame], sink: Sink, sheet: Sheet) -> None:
    for text in lines(frames, sheet):
        sink.write(text)


def lines(frames: Iterable[pl.DataFrame], sheet: Sheet) -> Iterator[bytes]:
    """Some whole lines at a time."""
    for piece in pieces(frames, sheet):
        text = io.BytesIO()
        times_as_text(piece, sheet.zone).write_ndjson(text)
        yield text.getvalue()


FORMAT = ExportFormat("ndjson", "application/x-ndjson", "ndjson", body, cut=Cut.ROWS, row_bytes=140)
