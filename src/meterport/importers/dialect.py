"""How a CSV file is laid out: its delimiter, and in which line its header stands.

The header is the first line, of the first 50, in which the columns stand that are needed and
named in the options; so neither a preamble nor a blank line before it matters.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from meterport.domain.errors import ImportRefused
from meterport.importers.base import BadRow, refused
from meterport.importers.found import find_columns, numbered
from meterport.importers.options import ImportOptions

HEADER_WITHIN = 50
LONGEST_LINE = 1 << 20
_DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True)
class Dialect:
    """`header_line` 0: there is none."""

    delimiter: str
    header_line: int
    header: Sequence[str]


def dialect_of(path: Path, options: ImportOptions) -> Dialect:
    """Raises ImportRefused where no line is such a header."""
    with path.open("rb") as file:
        lines = list(_first_lines(path, file, max(HEADER_WITHIN, options.header_line or 0)))
    if options.header_line == 0:
        return _without_header(path, lines, options)
    candidates = list(_candidates(lines, options))
    for candidate in candidates:
        if _is_header(candidate, options):
            return _with_last_column(candidate, lines)
    if not candidates:
        raise ImportRefused(f"{path.name}: the first line is empty; it must name the columns")
    likeliest = max(candidates, key=_names)
    try:
        find_columns(options, likeliest.header)
    except ImportRefused as error:
        raise ImportRefused(f"{path.name}: {error.message}") from error
    return likeliest


def decoded(path: Path, raw: bytes, first_line: int) -> str:
    """Raises ImportRefused, naming the line."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = first_line + raw.count(b"\n", 0, error.start)
        raise refused(path, [BadRow(line, "not UTF-8; convert the file first")]) from error
    return text.removeprefix("\ufeff") if first_line == 1 else text


def _first_lines(path: Path, file: BinaryIO, count: int) -> Iterator[str]:
    """With one line more, which may be a first row."""
    raws = islice(iter(lambda: file.readline(LONGEST_LINE), b""), count + 1)
    for line, raw in enumerate(raws, start=1):
        yield decoded(path, raw, line).rstrip("\r\n")


def _candidates(lines: Sequence[str], options: ImportOptions) -> Iterator[Dialect]:
    for number, line in enumerate(lines, start=1):
        if number == options.header_line or (
            options.header_line is None and number <= HEADER_WITHIN
        ):
            for delimiter in _delimiters(options):
                names = [name.strip() for name in _fields(line, delimiter)]
                if any(names):
                    yield Dialect(delimiter, number, numbered(names))


def _delimiters(options: ImportOptions) -> tuple[str, ...]:
    return _DELIMITERS if options.delimiter is None else (options.delimiter,)


def _fields(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def _is_header(candidate: Dialect, options: ImportOptions) -> bool:
    try:
        find_columns(options, candidate.header)
    except ImportRefused:
        return False
    return True


def _names(candidate: Dialect) -> int:
    return sum(any(sign.isalpha() for sign in name) for name in candidate.header)


def _with_last_column(found: Dialect, lines: Sequence[str]) -> Dialect:
    """Where rows end in a delimiter, and the header does not, a column without a name follows."""
    below = [_fields(line, found.delimiter) for line in lines[found.header_line :] if line.strip()]
    count = len(found.header)
    if below and len(below[0]) == count + 1 and below[0][-1] == "":
        return replace(found, header=[*found.header, f"#{count + 1}"])
    return found


def _without_header(path: Path, lines: Sequence[str], options: ImportOptions) -> Dialect:
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        raise ImportRefused(f"{path.name}: the file is empty")
    delimiter = max(_delimiters(options), key=lambda each: len(_fields(first, each)))
    header = numbered([""] * len(_fields(first, delimiter)))
    return Dialect(delimiter, 0, header)
