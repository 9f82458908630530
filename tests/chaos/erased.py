"""Readings that can be searched for as bytes, and the search through all that a home has on disk.

Values: five digits, a point and four digits, a few for each meter in turn; drawn, so that no other
        number on the disk looks like one of them. Sums of whole days are searched for too, and
        the label of the exports.
Forms:  decimal text; the digits alone (Green Button); IEEE 754, as Parquet and as SQLite have it.
Search: files as they are, and unpacked: gzip, zstd and zip, also within each other, cut off, and in
        the pages of a database; the columns of Parquet files.
"""

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path

import polars as pl
import zstandard

from tests import make

DAYS, INTERVAL_S = 3, 300
A_DAY = 86_400 // INTERVAL_S
ROWS = DAYS * A_DAY
VALUES = 8
"""A divisor of A_DAY, so that all days have one sum."""
STEP = 64
GZIP = b"\x1f\x8b\x08"


@dataclass(frozen=True)
class Readings:
    """Three days of a meter."""

    meter: str
    values: tuple[Decimal, ...]

    @classmethod
    def drawn(cls, meter: str, chance: random.Random) -> "Readings":
        first, *others = chance.sample(range(100_000_001, 999_999_999, 2), VALUES)
        sign = chance.choice((1, -1))  # NEM12 holds none below zero, and says so in an error
        return cls(meter, tuple(Decimal(n).scaleb(-4) for n in (sign * first, *others)))

    @property
    def label(self) -> str:
        return f"tenant {self.digits[0].decode()} of {self.meter}"

    @cached_property
    def frame(self) -> pl.DataFrame:
        kwh = [float(value) for value in self.values] * (ROWS // VALUES)
        return make.readings(*kwh, meter=self.meter, interval_s=INTERVAL_S)

    @cached_property
    def texts(self) -> tuple[bytes, ...]:
        day = sum(self.values, Decimal(0)) * (A_DAY // VALUES)
        sums = [(day * days).normalize() for days in range(1, DAYS + 1)]
        told = [f"{abs(value):f}" for value in (*self.values, *sums)]
        return tuple(text.encode() for text in (*told, self.label))

    @cached_property
    def doubles(self) -> tuple[bytes, ...]:
        floats = [float(value) for value in self.values]
        return tuple(struct.pack(f"{order}d", value) for value in floats for order in "<>")

    @cached_property
    def digits(self) -> tuple[bytes, ...]:
        return tuple(str(abs(value)).replace(".", "").encode() for value in self.values)

    def is_in(self, data: bytes) -> bool:
        digits = self.digits if b"<" in data else ()
        return any(each in data for each in (*self.texts, *self.doubles, *digits))


PERIOD = make.period(minutes=DAYS * 1440)


def places_of(readings: Iterable[Readings], folder: Path) -> list[str]:
    """The files below the folder that hold a value of them."""
    wanted = list(readings)
    found = []
    for path in sorted(folder.rglob("*")):
        data = _bytes(path)
        if any(each.is_in(form) for form in forms(data) for each in wanted):
            found.append(path.relative_to(folder).as_posix())
    return found


def forms(data: bytes) -> Iterator[bytes]:
    """The bytes as they are, and all that is packed in them."""
    yield data
    if data.startswith(b"PAR1"):
        yield from _columns(data)
    elif data.startswith(b"PK\x03\x04"):
        yield from _members(data)
    elif data.startswith(GZIP):
        yield from forms(_inflated(data))
    elif data.startswith(zstandard.FRAME_HEADER):
        yield from forms(_decompressed(data))
    elif data.startswith(b"SQLite format 3\0"):
        yield from _packed_in_pages(data)


def _bytes(path: Path) -> bytes:
    """Empty for what has gone meanwhile, and for folders and sockets."""
    with suppress(OSError):
        if path.is_file():
            return path.read_bytes()
    return b""


def _columns(data: bytes) -> Iterator[bytes]:
    try:
        frame = pl.read_parquet(io.BytesIO(data))
    except (pl.exceptions.PolarsError, OSError):
        return
    for column in frame:
        if column.dtype == pl.Float64:
            yield column.drop_nulls().to_numpy().tobytes()
    yield frame.write_ndjson().encode()


def _members(data: bytes) -> Iterator[bytes]:
    with suppress(zipfile.BadZipFile), zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in archive.namelist():
            yield from forms(archive.read(name))


def _inflated(data: bytes) -> bytes:
    """As far as it goes; also several members one after the other."""
    found = b""
    while data.startswith(GZIP):
        unpack = zlib.decompressobj(zlib.MAX_WBITS | 16)
        with suppress(zlib.error):
            for at in range(0, len(data), STEP):
                found += unpack.decompress(data[at : at + STEP])
        if not unpack.eof:
            break
        data = unpack.unused_data
    return found


def _decompressed(data: bytes) -> bytes:
    found = b""
    unpack = zstandard.ZstdDecompressor().decompressobj()
    with suppress(zstandard.ZstdError):
        for at in range(0, len(data), STEP):
            found += unpack.decompress(data[at : at + STEP])
    return found


def _packed_in_pages(data: bytes) -> Iterator[bytes]:
    at = data.find(GZIP)
    while at >= 0:
        yield _inflated(data[at : at + 8192])
        at = data.find(GZIP, at + 1)
