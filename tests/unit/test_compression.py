"""What is compressed does not tell in which pieces it came."""

import io
import random
from collections.abc import Iterator

import pytest

from meterport.domain.options import Compression
from meterport.encoders.compression import BLOCK_BYTES, compressed
from tests import readers

ROW = 40


def text() -> bytes:
    """Two blocks and some, of digits that do not repeat themselves."""
    digits = random.Random(20).randbytes(BLOCK_BYTES + BLOCK_BYTES // 4).hex()  # noqa: S311
    return digits.encode()


def packed(pieces: Iterator[bytes], compression: Compression) -> bytes:
    sink = io.BytesIO()
    with compressed(sink, compression) as unpacked:
        for piece in pieces:
            unpacked.write(piece)
    return sink.getvalue()


def cut(data: bytes, length: int) -> Iterator[bytes]:
    return (data[at : at + length] for at in range(0, len(data), length))


@pytest.mark.parametrize("length", [ROW, 1000, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1])
@pytest.mark.parametrize("compression", [Compression.GZIP, Compression.ZSTD])
def test_the_bytes_do_not_depend_on_how_the_text_comes(
    compression: Compression, length: int
) -> None:
    data = text()

    whole = packed(iter([data]), compression)

    assert packed(cut(data, length), compression) == whole
    assert readers.unpacked(whole, compression) == data


@pytest.mark.parametrize("compression", [Compression.GZIP, Compression.ZSTD])
def test_a_sink_gets_what_is_packed_before_all_text_has_come(compression: Compression) -> None:
    sink = io.BytesIO()

    with compressed(sink, compression) as unpacked:
        for piece in cut(text(), ROW):
            unpacked.write(piece)

        assert len(sink.getvalue()) > BLOCK_BYTES // 2
