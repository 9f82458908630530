"""Readers of every format that know nothing of how ours are written.

Bytes in, rows out: a Row has what a reading has, with None for what the file does not tell. Of some
formats there are two readers, by different people.

Tools: `gzip` and `zstd` unpack where they are installed, else Python's modules do, and it is said.
"""

import csv
import gzip
import io
import json
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import aemo_mdff_reader
import nemreader
import openpyxl
import polars as pl
import pyarrow.parquet as pq
import pytest
import xmlschema
import zstandard
from greenbutton_objects.parse import parse_feed

from meterport.domain.options import CsvDialect
from tests import green_button
from tests.samples import SAMPLES

MARKET_TIME = timezone(timedelta(hours=10))
METHODS = {"A": None, "E": "estimated", "S": "substituted", "F": "final_substituted"}
"""NEM12's quality methods by our words; N is no value at all."""

CHANNELS = {
    (72, 1): ("energy_kwh", 3),
    (72, 19): ("energy_export_kwh", 3),
    (38, 1): ("power_kw", 3),
    (29, 0): ("voltage_v", 0),
    (5, 0): ("current_a", 0),
}
"""By ESPI's uom and flowDirection: the column, and how many tens make its unit of ours."""

SCHEMA = SAMPLES / "schemas" / "espi.xsd"
ESPI_QUALITY = {7: "edited", 8: "estimated", 14: "raw", 16: "other"}


class Row(NamedTuple):
    timestamp: datetime
    interval_s: int
    smart_meter_id: str
    energy_kwh: float | None = None
    power_kw: float | None = None
    voltage_v: float | None = None
    current_a: float | None = None
    energy_export_kwh: float | None = None
    quality: str | None = None

    def but(self, **given: Any) -> "Row":
        return self._replace(**given)


Reader = Callable[[bytes], list[Row]]


def told(rows: Iterable[Row]) -> list[str]:
    """For comparing: -0.0 is not 0.0, and 1 is not 1.0."""
    return [repr(row._replace(timestamp=row.timestamp.astimezone(UTC))) for row in rows]


def unpacked(data: bytes, compression: str) -> bytes:
    """Raises CalledProcessError for what the tool finds broken."""
    if compression == "none":
        return data
    if shutil.which(compression):
        command = [compression, "--decompress", "--stdout", "--quiet"]
        return subprocess.run(command, input=data, capture_output=True, check=True).stdout
    message = f"NO COMMAND {compression}: Python's own module unpacks instead"
    warnings.warn(pytest.PytestWarning(message), stacklevel=2)
    if compression == "gzip":
        return gzip.decompress(data)
    decompressor = zstandard.ZstdDecompressor()
    return decompressor.stream_reader(io.BytesIO(data), read_across_frames=True).read()


def is_whole(path: Path, compression: str) -> bool:
    """What `gzip -t` and `zstd -t` say of the file."""
    if shutil.which(compression):
        done = subprocess.run([compression, "-t", str(path)], capture_output=True, check=False)
        return done.returncode == 0
    try:
        unpacked(path.read_bytes(), compression)
    except (OSError, EOFError, zstandard.ZstdError):
        return False
    return True


def read_csv(data: bytes, dialect: CsvDialect = CsvDialect()) -> list[Row]:  # noqa: B008 - frozen
    text = data.decode("utf-8-sig" if dialect.bom else "utf-8")
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=dialect.delimiter, strict=True)
    cells = list(lines)
    if dialect.header:
        assert tuple(cells.pop(0)) == Row._fields
    assert text.count("\r") == (text.count("\n") if dialect.line_end == "\r\n" else 0)
    return [_of_text(line, dialect.decimal) for line in cells]


def _of_text(line: Sequence[str], decimal: str) -> Row:
    time, seconds, meter, *values, quality = line
    assert decimal == "." or not any("." in value for value in values)
    numbers = [float(value.replace(decimal, ".")) if value else None for value in values]
    return Row._make((datetime.fromisoformat(time), int(seconds), meter, *numbers, quality or None))


def read_json(data: bytes) -> list[Row]:
    document = json.loads(data)
    assert tuple(column["name"] for column in document["export"]["columns"]) == Row._fields
    return [_of_object(reading) for reading in document["readings"]]


def read_ndjson(data: bytes) -> list[Row]:
    return [_of_object(json.loads(line)) for line in data.splitlines()]


def _of_object(reading: Mapping[str, Any]) -> Row:
    assert tuple(reading) == Row._fields
    time, *rest = reading.values()
    return Row._make((datetime.fromisoformat(time), *rest))


def read_green_button(data: bytes) -> list[Row]:
    """By its links; in order of meters and times."""
    return _of_feed(green_button.readings(data))


def read_long_green_button(data: bytes) -> list[Row]:
    return _of_feed(green_button.streamed(data))


def _of_feed(found: Iterable[green_button.Reading]) -> list[Row]:
    return _merged(
        (r.meter, r.start, r.duration, (r.uom, r.flow), r.value, r.quality) for r in found
    )


def read_greenbutton_objects(data: bytes) -> list[Row]:
    return _merged(
        (
            point.title,
            int(reading.timePeriod.start.timestamp()),
            int(reading.timePeriod.duration.total_seconds()),
            (kind.uom.value, kind.flowDirection.value),
            # Its own `value` is a float already, and rounded.
            Decimal(reading._value).scaleb(kind.powerOfTenMultiplier),
            next((said.quality.value for said in reading.readingQualities), None),
        )
        for point in parse_feed(io.BytesIO(data))
        for series in point.meterReadings
        for kind in [series.readingType]
        for reading in series.intervalReadings
    )


def _merged(
    found: Iterable[tuple[str, int, int, tuple[int, int], Decimal, int | None]],
) -> list[Row]:
    rows: dict[tuple[str, int], Row] = {}
    for meter, start, length, channel, value, quality in found:
        column, shift = CHANNELS[channel]
        word = None if quality is None else ESPI_QUALITY[quality]
        new = Row(datetime.fromtimestamp(start, UTC), length, meter, quality=word)
        row = rows.setdefault((meter, start), new)
        assert (row.interval_s, row.quality, getattr(row, column)) == (length, word, None)
        number = float(value.scaleb(-shift))
        rows[meter, start] = row.but(**{column: number})
    return [rows[key] for key in sorted(rows)]


def read_by_schema(data: bytes) -> list[Row]:
    """As read_green_button; valid by the schemas of ESPI and Atom, where these are there."""
    if not SCHEMA.is_file():
        message = f"NO SCHEMAS: {SCHEMA} is absent; set METERPORT_SAMPLES"
        warnings.warn(pytest.PytestWarning(message), stacklevel=2)
    else:
        assert [error.reason for error in _schema().iter_errors(io.BytesIO(data))] == []
    return read_green_button(data)


@cache
def _schema() -> xmlschema.XMLSchema:
    return xmlschema.XMLSchema(str(SCHEMA))


def read_nemreader(data: bytes) -> list[Row]:
    """In order of meters and times; intervals without a value are left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        meters = nemreader.NEMFile("a.csv").parse_nem_file(io.StringIO(data.decode())).readings
    return _of_channels(
        (nmi, channel, row.t_start, row.t_end - row.t_start, row.read_value, row.quality_method)
        for nmi, channels in meters.items()
        for channel, rows in channels.items()
        for row in rows
    )


def read_aemo_mdff(data: bytes) -> list[Row]:
    text = data.decode()
    issues = aemo_mdff_reader.validate_file(io.StringIO(text))
    assert [issue for issue in issues if "NMI" not in issue] == []
    events: dict[tuple[str, str, date], list[Any]] = {}
    for event in aemo_mdff_reader.parse_events(io.StringIO(text)):
        key = (event.nmi, event.register_id, event.interval_date)
        events.setdefault(key, []).append(event)
    return _of_channels(
        (
            row.nmi,
            row.nmi_suffix,
            row.interval_start,
            timedelta(minutes=row.interval_length),
            row.value,
            _method(row, events.get((row.nmi, row.register_id, row.interval_date), [])),
        )
        for row in aemo_mdff_reader.parse(io.StringIO(text))
    )


def _method(row: Any, events: Sequence[Any]) -> str:
    if row.quality_method != "V":
        return str(row.quality_method)
    (method,) = (
        event.quality_method
        for event in events
        if event.start_interval <= row.interval_index <= event.end_interval
    )
    return str(method)


def _of_channels(
    found: Iterable[tuple[str, str, datetime, timedelta, float, str | None]],
) -> list[Row]:
    rows: dict[tuple[str, datetime], Row] = {}
    for nmi, channel, start, length, value, method in found:
        column = {"E1": "energy_kwh", "B1": "energy_export_kwh"}[channel]
        if method == "N" or method is None:
            assert value == 0
            continue
        time = start.replace(tzinfo=MARKET_TIME).astimezone(UTC)
        new = Row(time, int(length.total_seconds()), nmi, quality=METHODS[method])
        row = rows.setdefault((nmi, time), new)
        assert (row.interval_s, row.quality, getattr(row, column)) == (*new[1:2], new.quality, None)
        rows[nmi, time] = row.but(**{column: value})
    return [rows[key] for key in sorted(rows)]


def read_pyarrow(data: bytes) -> list[Row]:
    file = pq.ParquetFile(io.BytesIO(data), page_checksum_verification=True)
    return [Row(**row) for row in file.read().to_pylist()]


def read_polars(data: bytes) -> list[Row]:
    return [Row._make(row) for row in pl.read_parquet(io.BytesIO(data)).iter_rows()]


def read_openpyxl(data: bytes) -> list[Row]:
    book = openpyxl.load_workbook(io.BytesIO(data), read_only=True)
    header, *rows = book["readings"].iter_rows(values_only=True)
    assert header == Row._fields
    return [of_cells(row) for row in rows]


def of_cells(cells: Sequence[Any]) -> Row:
    padded = [*cells, *[None] * (len(Row._fields) - len(cells))]
    time, seconds, meter, *numbers, quality = padded
    values = [None if number is None else float(number) for number in numbers]
    return Row._make((datetime.fromisoformat(time), seconds, meter, *values, quality))


READERS: Mapping[str, Sequence[Reader]] = {
    "csv": (read_csv,),
    "json": (read_json,),
    "ndjson": (read_ndjson,),
    "xml": (read_by_schema, read_greenbutton_objects),
    "nem12": (read_nemreader, read_aemo_mdff),
    "parquet": (read_pyarrow, read_polars),
    "xlsx": (read_openpyxl,),
}
