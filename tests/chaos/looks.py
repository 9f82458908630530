"""Every format and compression for the load of the chaos tests, and the bytes that each has to be.

The bytes are made once, undisturbed, on a copy of the readings, and read by others' readers; since
the same version makes the same bytes, whatever is made under fire has to be those.
"""

import gzip
import io
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import nemreader
import openpyxl
import polars as pl
import zstandard

from meterport.domain.exports import ExportRequest
from meterport.domain.options import Compression, ExportOptions
from meterport.domain.readings import DEFAULT_COLUMNS
from meterport.domain.shapes import Shape
from meterport.services.work_job import work_job
from tests import green_button, make
from tests.e2e.service import csv_of
from tests.unit.exports import now, workplace

ENERGY = ExportOptions(Shape(columns=("timestamp", "smart_meter_id", "energy_kwh")))
ENERGY_OF_GREEN_BUTTON = (72, 1)
NMI = "6001234567"
"""A meter as NEM12 wants it: with a national identifier, and half hours."""
HALF_HOURS = 480
NMI_READINGS = make.readings(*(n / 1000 for n in range(HALF_HOURS)), meter=NMI, interval_s=1800)
PLAIN = ExportOptions()
NONE, GZIP, ZSTD = Compression.NONE, Compression.GZIP, Compression.ZSTD


@dataclass(frozen=True)
class Look:
    """`meters`: a fleet, where there are several. `minutes`: from January on."""

    format: str
    compression: Compression = NONE
    minutes: int = 60
    meters: tuple[str, ...] = ("123",)
    options: ExportOptions = PLAIN

    @property
    def request(self) -> ExportRequest:
        named = {"compression": self.compression, "options": self.options}
        period = make.period(minutes=self.minutes)
        if len(self.meters) > 1:
            return ExportRequest.of_fleet(self.meters, period, self.format, **named)  # type: ignore[arg-type]
        return ExportRequest(self.meters[0], period, self.format, **named)  # type: ignore[arg-type]

    @property
    def csv_rows(self) -> list[bytes]:
        """The lines of the contract's CSV, without its header."""
        files = [csv_of(meter, first=0, rows=self.minutes) for meter in self.meters]
        return [line for file in files for line in file.splitlines(keepends=True)[1:]]


Bytes = Mapping[Look, bytes]


def made(data: Path, folder: Path, looks: Sequence[Look], *, part_rows: int = 10**6) -> Bytes:
    """Of a home that nobody is writing to."""
    home = make.copy_of(data, folder)
    jobs = {look: home.submit(look.request) for look in looks}
    while work_job(workplace(home, part_rows=part_rows)):
        pass
    found = {}
    for look, job in jobs.items():
        ended = now(home, job)
        assert ended.file is not None, (look, ended.error)
        found[look] = b""
        for piece in home.services.jobs.pieces(ended):
            with home.services.objects.open(piece.key) as opened:
                found[look] += opened.read()
        check(look, unpacked(found[look], look.compression))
    home.services.close()
    return found


def unpacked(data: bytes, compression: Compression) -> bytes:
    if compression is GZIP:
        return gzip.decompress(data)
    if compression is ZSTD:
        reader = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True)
        return reader.read()
    return data


def check(look: Look, data: bytes) -> None:
    """By a reader that is not ours."""
    CHECKS[look.format](look, data)


def _csv(look: Look, data: bytes) -> None:
    assert data == f"{make.HEADER}\n".encode() + b"".join(look.csv_rows)


def _ndjson(look: Look, data: bytes) -> None:
    assert data == b"".join(_ndjson_line(row) for row in look.csv_rows)


def _ndjson_line(row: bytes) -> bytes:
    time, meter, *values = row.decode().rstrip().split(",")
    names = make.HEADER.split(",")[2:]
    numbers = ",".join(f'"{name}":{value}' for name, value in zip(names, values, strict=True))
    return f'{{"timestamp":"{time}","smart_meter_id":"{meter}",{numbers}}}\n'.encode()


def _json(look: Look, data: bytes) -> None:
    assert json.loads(data)["readings"] == [json.loads(_ndjson_line(row)) for row in look.csv_rows]


def _parquet(look: Look, data: bytes) -> None:
    (meter,) = look.meters
    expected = make.many_readings(look.minutes, meter=meter).select(DEFAULT_COLUMNS)
    assert pl.read_parquet(io.BytesIO(data)).equals(expected)


def _xlsx(look: Look, data: bytes) -> None:
    _, *rows = openpyxl.load_workbook(io.BytesIO(data))["readings"].iter_rows(values_only=True)
    expected = [row.decode().rstrip().split(",") for row in look.csv_rows]
    assert rows == [(time, meter, *map(float, values)) for time, meter, *values in expected]


def _green_button(look: Look, data: bytes) -> None:
    found = green_button.channel(green_button.readings(data), *ENERGY_OF_GREEN_BUTTON)
    expected = {}
    for row in look.csv_rows:
        time, meter, kwh, *_ = row.decode().split(",")
        start = int(datetime.fromisoformat(time).timestamp())
        expected[meter, start] = Decimal(kwh).scaleb(3)
    assert found == expected


def _nem12(look: Look, data: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        text = io.StringIO(data.decode())
        channels = nemreader.NEMFile("a.csv").parse_nem_file(text).readings[NMI]
    (rows,) = channels.values()
    found = [row.read_value for row in rows if row.quality_method != "N"]
    assert found == [n / 1000 for n in range(look.minutes // 30)]


CHECKS: Mapping[str, Callable[[Look, bytes], None]] = {
    "csv": _csv,
    "ndjson": _ndjson,
    "json": _json,
    "parquet": _parquet,
    "xlsx": _xlsx,
    "xml": _green_button,
    "nem12": _nem12,
}

PACKED = (NONE, GZIP, ZSTD)
ALONE = (
    *(Look("csv", packed, minutes) for packed in PACKED for minutes in (1, 60, 1440, 20_000)),
    *(Look("ndjson", packed, minutes) for packed in PACKED for minutes in (60, 20_000)),
    *(Look("json", packed, 1440) for packed in PACKED),
    *(Look("parquet", packed, 20_000) for packed in PACKED),
    *(Look("xlsx", packed, 60) for packed in PACKED),
    *(Look("xml", packed, 60) for packed in PACKED),
    *(Look("nem12", packed, HALF_HOURS * 30, (NMI,)) for packed in PACKED),
)
"""Of one meter, as the frozen tier can be asked for them."""


def of_fleet(meters: tuple[str, ...], minutes: int) -> tuple[Look, ...]:
    """In what can be made in parts."""
    return (
        *(Look("csv", packed, minutes, meters) for packed in PACKED),
        *(Look("ndjson", packed, minutes, meters) for packed in PACKED),
        *(Look("xml", packed, minutes, meters, ENERGY) for packed in PACKED),
    )
