"""A file compressed as a whole: `.gz` (RFC 1952) or `.zst` (RFC 8878).

Several such files, one after the other, are one again: each is a member, or frame, of its own.
Bytes: no clock and no name inside, and blocks of one size however the text is cut, so that the
       same rows make the same bytes.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import zstandard
from isal import isal_zlib

from meterport.domain.errors import UnsupportedCompression
from meterport.domain.options import AUTO_BYTES, Compression, Layout
from meterport.encoders.base import ExportFormat, Sink

GZIP_WBITS = 31  # a gzip header and trailer around the deflated bytes
GZIP_LEVEL = 2
ZSTD_LEVEL = 1
BLOCK_BYTES = 1 << 20
"""What is compressed at once; with other blocks gzip's bytes are others, of the same text."""


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


@dataclass(frozen=True)
class Wrapping:
    """What becomes of a format's own file: its name gets `ending`."""

    ending: str
    media_type: str


WRAPPINGS: Mapping[Compression, Wrapping] = {
    Compression.GZIP: Wrapping(".gz", "application/gzip"),
    Compression.ZSTD: Wrapping(".zst", "application/zstd"),
}


@contextmanager
def compressed(sink: Sink, compression: Compression) -> Iterator[Sink]:
    """A sink that passes on what it is given, compressed; whole when the context ends."""
    if compression is Compression.NONE:
        yield sink
        return
    compressing = _Compressing(sink, _compressor(compression))
    yield compressing
    compressing.finish()


def chosen(compression: Compression, format: ExportFormat, rows: int) -> Compression:  # noqa: A002
    """What AUTO comes to with so many rows; anything else is as it was asked for."""
    if compression is not Compression.AUTO:
        return compression
    return Compression.GZIP if rows * format.row_bytes > AUTO_BYTES else Compression.NONE


def check_layout(compression: Compression, layout: Layout) -> None:
    if layout is Layout.FILE_PER_METER and compression in WRAPPINGS:
        raise UnsupportedCompression(
            f"compression {compression} with layout file_per_meter: the zip compresses its files "
            "already; ask for none"
        )


class _Compressing:
    def __init__(self, sink: Sink, compressor: _Compressor) -> None:
        self._sink = sink
        self._compressor = compressor
        self._waiting = bytearray()

    def write(self, data: bytes, /) -> None:
        self._waiting += data
        whole = len(self._waiting) // BLOCK_BYTES * BLOCK_BYTES
        for start in range(0, whole, BLOCK_BYTES):
            self._compress(self._waiting[start : start + BLOCK_BYTES])
        del self._waiting[:whole]

    def finish(self) -> None:
        self._compress(self._waiting)
        self._sink.write(self._compressor.flush())

    def _compress(self, block: bytearray) -> None:
        if out := self._compressor.compress(bytes(block)):
            self._sink.write(out)


def _compressor(compression: Compression) -> _Compressor:
    if compression is Compression.GZIP:
        return isal_zlib.compressobj(GZIP_LEVEL, wbits=GZIP_WBITS)
    return zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True).compressobj()
