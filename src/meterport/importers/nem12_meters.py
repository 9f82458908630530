"""Where in a NEM12 file each meter's records are, and whether they come in an order that can be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from meterport.domain.errors import shown
from meterport.importers.base import BadRow, refused

_BOM = b"\xef\xbb\xbf"
_FOLLOWS = {b"200", b"300", b"400", b"500", b"900"}


@dataclass(frozen=True)
class Stretch:
    """Some lines of the file that are of one meter, beginning with a 200 record."""

    begin: int
    end: int
    first_line: int


def stretches(path: Path) -> dict[str, list[Stretch]]:
    """By NMI, in the order of first appearance. Raises ImportRefused for records out of order."""
    found: dict[str, list[Stretch]] = {}
    order = _Order(path)
    at = 0
    open_nmi, begin, first_line, line = None, 0, 0, 0
    with path.open("rb") as file:
        for line, raw in enumerate(file, start=1):
            kind, _, rest = raw.partition(b",")
            kind = order.checked(kind, rest, line)
            nmi = _nmi(path, rest, line) if kind == b"200" else open_nmi
            if nmi != open_nmi or kind == b"900":
                if open_nmi is not None:
                    found.setdefault(open_nmi, []).append(Stretch(begin, at, first_line))
                open_nmi, begin, first_line = (None if kind == b"900" else nmi), at, line
            at += len(raw)
    order.check_end(line)
    if open_nmi is not None:
        found.setdefault(open_nmi, []).append(Stretch(begin, at, first_line))
    return found


class _Order:
    """Which record may follow which."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last = b""
        self._has_header = False

    def checked(self, kind: bytes, rest: bytes, line: int) -> bytes:
        """The record's kind; empty for a blank line."""
        kind = kind.removeprefix(_BOM).strip()
        if not kind and not rest:
            return kind
        reason = self._reason_against(kind, rest)
        if reason:
            raise refused(self._path, [BadRow(line, reason)])
        self._has_header = kind == b"100" or (self._has_header and kind != b"900")
        self._last = kind
        return kind

    def check_end(self, line: int) -> None:
        if self._has_header:
            reason = "the file has a 100 record but ends without a 900 record; it may be cut"
            raise refused(self._path, [BadRow(max(line, 1), reason)])

    def _reason_against(self, kind: bytes, rest: bytes) -> str | None:
        if kind == b"100":
            if not rest.startswith(b"NEM12"):
                return "the 100 record is not of NEM12; only interval files can be imported"
            return None if self._last in (b"", b"900") else "a 100 record inside the file"
        if kind not in _FOLLOWS:
            known = "100, 200, 300, 400, 500, 900"
            return f"{shown(kind.decode('latin-1'))} is no record of NEM12; known: {known}"
        if kind in (b"300", b"400", b"500") and self._last in (b"", b"100", b"900"):
            return f"a {kind.decode()} record before any 200 record"
        if kind == b"400" and self._last not in (b"300", b"400"):
            return "a 400 record that follows no 300 record"
        return None


def _nmi(path: Path, rest: bytes, line: int) -> str:
    return text_of(path, rest, line).split(",", 1)[0].strip()


def text_of(path: Path, raw: bytes, line: int) -> str:
    try:
        return raw.decode().removeprefix("\ufeff").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise refused(path, [BadRow(line, "not UTF-8; convert the file first")]) from error


def lines_of(file: BinaryIO, stretches: Sequence[Stretch]) -> Iterator[tuple[int, bytes]]:
    """The stretches' lines that are not blank, numbered."""
    for stretch in stretches:
        file.seek(stretch.begin)
        line, at = stretch.first_line, stretch.begin
        while at < stretch.end:
            raw = file.readline()
            if raw.strip():
                yield line, raw
            line, at = line + 1, at + len(raw)
