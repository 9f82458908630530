"""Newline-delimited JSON: one object a line, UTF-8 (a BOM is passed over), LF or CRLF.

Columns: all keys of the file; where a line lacks one, or has null, the value is missing.
Values:  numbers and strings, taken alike and digit for digit; "" is null. What is neither is
         refused, and so are a key that comes twice in one object, NaN and Infinity.
Reading: twice, first for the keys; in flat memory.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import polars as pl

from meterport.domain.errors import ImportRefused, shown
from meterport.importers.base import BadRow, FileReport, ImportFormat, refused
from meterport.importers.chosen import Table
from meterport.importers.options import OF_TABLES, ImportOptions
from meterport.importers.tables import to_batches

BATCH_ROWS = 50_000
LONGEST_LINE = 1 << 20
MOST_KEYS = 1000
_BOM = b"\xef\xbb\xbf"

Object = dict[str, str | None]


def read(path: Path, options: ImportOptions, report: FileReport) -> Iterator[pl.DataFrame]:
    header = _keys(path)
    if not header:
        raise ImportRefused(f"{path.name}: no line with an object that has keys")
    yield from to_batches(path, header, lambda _: _tables(path, header), options, report)


def _keys(path: Path) -> list[str]:
    """In the order in which they first appear."""
    keys: dict[str, None] = {}
    for line, object_ in _objects(path):
        keys |= dict.fromkeys(object_)
        if len(keys) > MOST_KEYS:
            raise refused(path, [BadRow(line, f"more than {MOST_KEYS:,} different keys so far")])
    return list(keys)


def _tables(path: Path, header: Sequence[str]) -> Iterator[Table]:
    objects = _objects(path)
    while batch := list(islice(objects, BATCH_ROWS)):
        values = {key: [object_.get(key) for _, object_ in batch] for key in header}
        yield Table(
            pl.DataFrame(values, schema=dict.fromkeys(header, pl.String)),
            pl.Series([line for line, _ in batch], dtype=pl.UInt32),
        )


def _objects(path: Path) -> Iterator[tuple[int, Object]]:
    """Each line's object with the line's number; blank lines are passed over."""
    with path.open("rb") as file:
        for line, raw in enumerate(iter(lambda: file.readline(LONGEST_LINE), b""), start=1):
            try:
                object_ = _object(raw.removeprefix(_BOM) if line == 1 else raw)
            except ValueError as error:
                raise refused(path, [BadRow(line, str(error))]) from error
            if object_ is not None:
                yield line, object_


def _object(raw: bytes) -> Object | None:
    """None for a blank line. Raises ValueError, saying why it is no object of ours."""
    if len(raw) == LONGEST_LINE and not raw.endswith(b"\n"):
        raise ValueError(f"longer than {LONGEST_LINE:,} bytes")
    if not raw.strip():
        return None
    parsed = _parsed(raw)
    if not isinstance(parsed, _Pairs):
        reason = f'{_kind(parsed)}, not an object such as {{"energy_kwh": 0.5}}'
        raise ValueError(reason)  # noqa: TRY004  # a wrong line of a file, not a wrong call
    object_: Object = {}
    for key, value in parsed:
        if key in object_:
            raise ValueError(f"the key {shown(key)} comes twice")
        if not (value is None or isinstance(value, str)):
            raise ValueError(f"{shown(key)} is {_kind(value)}, not a number, a string or null")
        object_[key] = value
    if b"\\u" in raw:
        _check_text(object_)
    return object_


class _Pairs(list[tuple[str, object]]):
    """A JSON object's members, as they stand there."""


def _parsed(raw: bytes) -> object:
    try:
        return _DECODER.decode(raw.decode())
    except UnicodeDecodeError as error:
        raise ValueError("not UTF-8; convert the file first") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg} at character {error.colno})") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON; a missing value is null")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_Pairs, parse_int=str, parse_float=str, parse_constant=_refuse_constant
)
"""Numbers keep their digits."""


def _kind(value: object) -> str:
    if isinstance(value, _Pairs):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return shown(value) if value is None or isinstance(value, bool) else "a single value"


def _check_text(object_: Object) -> None:
    for key, value in object_.items():
        try:
            f"{key}{value}".encode()
        except UnicodeEncodeError as error:
            raise ValueError("an escape of half a character (a lone surrogate)") from error


FORMAT = ImportFormat(
    "ndjson",
    (".ndjson", ".jsonl"),
    read,
    understands=OF_TABLES,
    knows="NDJSON has no delimiter and no header",
    media_types=("application/x-ndjson", "application/jsonl"),
)
