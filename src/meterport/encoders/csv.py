"""CSV as the contract has it.

Text:    UTF-8 without BOM, LF, RFC 4180, the header always.
Time:    timestamp is the interval's start in UTC, to the second, with Z.
Numbers: the shortest text that reads back to the same float64; missing is empty.
"""

from collections.abc import Iterable

import polars as pl

from meterport.domain.readings import DEFAULT_COLUMNS
from meterport.encoders.base import ExportFormat, Sink


def encode(frames: Iterable[pl.DataFrame], sink: Sink) -> None:
    sink.write((",".join(DEFAULT_COLUMNS) + "\n").encode())
    append(frames, sink)


def append(frames: Iterable[pl.DataFrame], sink: Sink) -> None:
    for frame in frames:
        sink.write(rows(frame))


def rows(frame: pl.DataFrame) -> bytes:
    text = frame.select(DEFAULT_COLUMNS).write_csv(
        include_header=False, datetime_format="%Y-%m-%dT%H:%M:%SZ", line_terminator="\n"
    )
    return text.encode()


FORMAT = ExportFormat("csv", "text/csv; charset=utf-8", "csv", encode, append)
