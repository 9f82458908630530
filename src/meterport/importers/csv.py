"""CSV with a header line, comma-separated, UTF-8 (a BOM is passed over), LF or CRLF.

A line with more or fewer fields than the header is a bad row: it may be a file that was cut.
Polars reads what has no quotes; from the first quote on Python's csv module does, which keeps
count of the lines inside quoted fields.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from meterport.domain.errors import ImportRefused, shown
from meterport.importers.base import BadRow, FileReport, ImportFormat, ImportOptions, refused
from meterport.importers.tables import Table, to_batches

BLOCK_BYTES = 8 << 20
BATCH_ROWS = 100_000


def read(path: Path, options: ImportOptions, report: FileReport) -> Iterator[pl.DataFrame]:
    with path.open("rb") as file:
        header = _header(path, file.readline())
    yield from to_batches(path, header, lambda: _tables(path, header), options, report)


def _header(path: Path, line: bytes) -> list[str]:
    text = _decoded(path, line, 1).removeprefix("\ufeff").rstrip("\r\n")
    try:
        names = [name.strip() for name in next(csv.reader([text]), [])]
    except csv.Error as error:
        raise refused(path, [BadRow(1, str(error))]) from error
    if not any(names):
        raise ImportRefused(f"{path.name}: the first line is empty; it must name the columns")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        named = ", ".join(map(shown, twice))
        raise ImportRefused(f"{path.name}: the header names {named} twice")
    return names


def _tables(path: Path, header: Sequence[str]) -> Iterator[Table]:
    with path.open("rb") as file:
        file.readline()
        yield from _tables_below_header(path, file, header)


def _tables_below_header(path: Path, file: BinaryIO, header: Sequence[str]) -> Iterator[Table]:
    line = 2
    for block in _blocks(file):
        if b'"' in block:
            rest = chain([block], iter(lambda: file.read(BLOCK_BYTES), b""))
            yield from _quoted(path, rest, header, line)
            return
        text = _decoded(path, block, line).replace("\r\n", "\n").removesuffix("\n")
        lines = text.split("\n")
        if any(lines):
            yield _unquoted(path, lines, header, line)
        line += len(lines)


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """The rest of the file in pieces of whole lines."""
    while block := file.read(BLOCK_BYTES):
        yield block + file.readline()


def _unquoted(path: Path, lines: list[str], header: Sequence[str], first_line: int) -> Table:
    rows = pl.DataFrame({"text": lines}).with_row_index("line", offset=first_line)
    rows = rows.filter(pl.col("text") != "")
    fields = rows["text"].str.count_matches(",", literal=True) + 1
    _check_fields(path, rows["line"].to_list(), fields, header)
    values = pl.read_csv(
        io.BytesIO(("\n".join(rows["text"]) + "\n").encode()),
        has_header=False,
        new_columns=list(header),
        infer_schema=False,
        quote_char=None,
    )
    return Table(values, rows["line"])


def _check_fields(
    path: Path, lines: Sequence[int], fields: pl.Series, header: Sequence[str]
) -> None:
    wrong = (fields != len(header)).arg_true()
    if len(wrong):
        bad = [
            BadRow(lines[at], f"{fields[at]} fields, but the header has {len(header)}")
            for at in wrong
        ]
        raise refused(path, bad)


def _quoted(
    path: Path, blocks: Iterator[bytes], header: Sequence[str], first_line: int
) -> Iterator[Table]:
    rows = _numbered(path, csv.reader(_lines(path, blocks, first_line), strict=True), first_line)
    while batch := list(islice(rows, BATCH_ROWS)):
        numbers, fields = zip(*batch, strict=True)
        _check_fields(path, numbers, pl.Series([len(row) for row in fields]), header)
        yield Table(
            pl.DataFrame(fields, schema=dict.fromkeys(header, pl.String), orient="row"),
            pl.Series(numbers, dtype=pl.UInt32),
        )


def _numbered(path: Path, reader: Any, first_line: int) -> Iterator[tuple[int, list[str]]]:
    """Each row with the line on which it begins; blank lines are passed over."""
    begin = first_line
    try:
        for row in reader:
            if row:
                yield begin, row
            begin = first_line + reader.line_num
    except csv.Error as error:
        raise refused(path, [BadRow(begin, str(error))]) from error


def _lines(path: Path, blocks: Iterator[bytes], line: int) -> Iterator[str]:
    rest = b""
    for block in blocks:
        *whole, rest = (rest + block).split(b"\n")
        for raw in whole:
            yield _decoded(path, raw, line) + "\n"
            line += 1
    if rest:
        yield _decoded(path, rest, line)


def _decoded(path: Path, raw: bytes, first_line: int) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = first_line + raw.count(b"\n", 0, error.start)
        raise refused(path, [BadRow(line, "not UTF-8; convert the file first")]) from error


FORMAT = ImportFormat("csv", (".csv",), read)
