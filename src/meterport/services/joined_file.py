"""A file in parts, read as one: parts are opened when they are come to, one at a time."""

import io
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, BinaryIO

from meterport.domain.exports import ExportFile

BUFFER_BYTES = 1 << 20
OpenPiece = Callable[[ExportFile], BinaryIO]


def joined(pieces: Sequence[ExportFile], open_piece: OpenPiece) -> BinaryIO:
    """What `open_piece` raises is raised while the file is read."""
    return io.BufferedReader(_Joined(pieces, open_piece), BUFFER_BYTES)


class _Joined(io.RawIOBase):
    def __init__(self, pieces: Sequence[ExportFile], open_piece: OpenPiece) -> None:
        self._pieces = [piece for piece in pieces if piece.size_bytes]
        self._starts = list(accumulate((p.size_bytes for p in self._pieces), initial=0))
        self._open_piece = open_piece
        self._at = 0
        self._opened: tuple[int, BinaryIO] | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._starts[-1]}[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        if self._at >= self._starts[-1]:
            return 0
        number = bisect_right(self._starts, self._at) - 1
        offset = self._at - self._starts[number]
        piece = self._piece(number)
        if piece.tell() != offset:
            piece.seek(offset)
        data = piece.read(min(len(buffer), self._starts[number + 1] - self._at))
        if not data:
            raise OSError("a part of the file became shorter while it was read")
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._close_piece()
        super().close()

    def _piece(self, number: int) -> BinaryIO:
        if self._opened is None or self._opened[0] != number:
            self._close_piece()
            self._opened = number, self._open_piece(self._pieces[number])
        return self._opened[1]

    def _close_piece(self) -> None:
        if self._opened is not None:
            self._opened[1].close()
            self._opened = None
