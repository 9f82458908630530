"""CSV: a header line, UTF-8 (a BOM is passed over), LF or CRLF; the rest as in dialect.py.

A line with more or fewer fields than the header is a bad row: it may be a file that was cut.
Polars reads what has no quotes; from the first quote on Python's csv module does, which keeps
count of the lines inside quoted fields.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from meterport.importers.base import BadRow, FileReport, ImportFormat, refused
from meterport.importers.chosen import Table
from meterport.importers.dialect import Dialect, decoded, dialect_of
from meterport.importers.options import FLAGS, ImportOptions
from meterport.importers.tables import to_batches

BLOCK_BYTES = 8 << 20
BATCH_ROWS = 100_000
_SHOWN = {"\t": "tab"}


def read(path: Path, options: ImportOptions, report: FileReport) -> Iterator[pl.DataFrame]:
    dialect = dialect_of(path, options)
    if options.delimiter is None and dialect.delimiter != ",":
        report.read_as["delimiter"] = _SHOWN.get(dialect.delimiter, dialect.delimiter)
    if options.header_line is None and dialect.header_line != 1:
        report.read_as["header line"] = f"{dialect.header_line}"

    def tables(told: FileReport) -> Iterator[Table]:
        return _Lines(path, dialect, told, skip=options.skip_bad_rows).tables()

    yield from to_batches(path, dialect.header, tables, options, report)


@dataclass(frozen=True)
class _Lines:
    path: Path
    dialect: Dialect
    report: FileReport
    skip: bool

    def tables(self) -> Iterator[Table]:
        with self.path.open("rb") as file:
            for _ in range(self.dialect.header_line):
                file.readline()
            yield from self._below_header(file)

    def _below_header(self, file: BinaryIO) -> Iterator[Table]:
        line = self.dialect.header_line + 1
        for block in _blocks(file):
            if b'"' in block:
                rest = chain([block], iter(lambda: file.read(BLOCK_BYTES), b""))
                yield from self._quoted(rest, line)
                return
            text = decoded(self.path, block, line).replace("\r\n", "\n").removesuffix("\n")
            lines = text.split("\n")
            if any(lines):
                yield self._unquoted(lines, line)
            line += len(lines)

    def _unquoted(self, lines: list[str], first_line: int) -> Table:
        rows = pl.DataFrame({"text": lines}).with_row_index("line", offset=first_line)
        rows = rows.filter(pl.col("text") != "")
        counts = rows["text"].str.count_matches(self.dialect.delimiter, literal=True) + 1
        rows = rows.filter(self._whole(rows["line"], counts))
        if rows.is_empty():
            return Table(pl.DataFrame(schema=self._schema()), rows["line"])
        values = pl.read_csv(
            io.BytesIO(("\n".join(rows["text"]) + "\n").encode()),
            has_header=False,
            separator=self.dialect.delimiter,
            new_columns=list(self.dialect.header),
            infer_schema=False,
            quote_char=None,
        )
        return Table(values, rows["line"])

    def _schema(self) -> dict[str, type[pl.String]]:
        return dict.fromkeys(self.dialect.header, pl.String)

    def _whole(self, lines: pl.Series, counts: pl.Series) -> pl.Series:
        """Which rows have as many fields as the header; the others are refused."""
        wanted = len(self.dialect.header)
        whole = counts == wanted
        bad = [
            BadRow(lines[at], f"{counts[at]} fields, but the header has {wanted}")
            for at in (~whole).arg_true()
        ]
        self.report.rows_read += len(bad)
        self.report.refuse(bad, skip=self.skip)
        return whole

    def _quoted(self, blocks: Iterator[bytes], first_line: int) -> Iterator[Table]:
        rows = self._numbered(blocks, first_line)
        while batch := list(islice(rows, BATCH_ROWS)):
            numbers, fields = zip(*batch, strict=True)
            lines = pl.Series(numbers, dtype=pl.UInt32)
            whole = self._whole(lines, pl.Series([len(row) for row in fields]))
            kept = [row for row, good in zip(fields, whole, strict=True) if good]
            values = pl.DataFrame(kept, schema=self._schema(), orient="row")
            # Spreadsheets are kept from rounding an id by writing it as the formula ="123".
            values = values.with_columns(pl.all().str.replace(r'^="(.*)"$', "$1"))
            yield Table(values, lines.filter(whole))

    def _numbered(
        self, blocks: Iterator[bytes], first_line: int
    ) -> Iterator[tuple[int, list[str]]]:
        """Each row with the line on which it begins; blank lines are passed over."""
        lines = self._texts(blocks, first_line)
        reader: Any = csv.reader(lines, delimiter=self.dialect.delimiter, strict=True)
        begin = first_line
        try:
            for row in reader:
                if row:
                    yield begin, row
                begin = first_line + reader.line_num
        except csv.Error as error:
            raise refused(self.path, [BadRow(begin, str(error))]) from error

    def _texts(self, blocks: Iterator[bytes], line: int) -> Iterator[str]:
        rest = b""
        for block in blocks:
            *whole, rest = (rest + block).split(b"\n")
            for raw in whole:
                yield decoded(self.path, raw, line) + "\n"
                line += 1
        if rest:
            yield decoded(self.path, rest, line)


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """The rest of the file in pieces of whole lines."""
    while block := file.read(BLOCK_BYTES):
        yield block + file.readline()


FORMAT = ImportFormat(
    "csv",
    (".csv",),
    read,
    understands=frozenset(FLAGS.values()),
    media_types=("text/csv",),
)
