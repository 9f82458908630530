"""CSV as people ask for it, byte for byte, and a file for each meter."""

import csv
import io
import subprocess
import sys
import zipfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterport.domain.exports import ExportRequest
from meterport.domain.jobs import Job
from meterport.domain.options import CsvDialect, ExportOptions
from meterport.domain.period import Period
from meterport.domain.readings import READING_SCHEMA
from meterport.encoders.csv import FORMAT
from meterport.services.name_file import filename, media_type
from meterport.services.open_export import Verified, open_export
from tests import make
from tests.unit.exports import error_code, files, now
from tests.unit.fleets import METERS, work
from tests.unit.sheets import FLOATS, encoded, sheet

HEADER = b"timestamp,smart_meter_id,energy_kwh,power_kw,voltage_v,current_a"


def asked(
    home: make.Home,
    *meters: str,
    format_: str = "csv",
    period: Period = make.period(),  # noqa: B008 - it is frozen
    **words: object,
) -> Job:
    """A job that has been worked on, with those options."""
    options = ExportOptions.requested(words)
    if len(meters) == 1:
        request = ExportRequest(meters[0], period, format_, options=options)
    else:
        request = ExportRequest.of_fleet(meters, period, format_, options=options)
    job = home.submit(request)
    home.work()
    return now(home, job)


def written(
    home: make.Home,
    *meters: str,
    period: Period = make.period(),  # noqa: B008 - it is frozen
    **words: Any,
) -> bytes:
    """The CSV of those meters, of 123 unless others are named."""
    return bytes_of(home, asked(home, *(meters or ("123",)), period=period, **words))


def bytes_of(home: make.Home, job: Job) -> bytes:
    assert job.file is not None, job.error
    s = home.services
    pieces = s.jobs.pieces(job)
    with open_export(job.file, pieces, objects=s.objects, verified=Verified()) as opened:
        return opened.read()


@pytest.mark.parametrize(
    ("dialect", "content"),
    [
        ({}, HEADER + b"\n2024-01-01T00:00:00Z,123,0.5,2.1,230.1,9.1\n"),
        (
            {"delimiter": ";"},
            HEADER.replace(b",", b";") + b"\n2024-01-01T00:00:00Z;123;0.5;2.1;230.1;9.1\n",
        ),
        (
            {"delimiter": "|"},
            HEADER.replace(b",", b"|") + b"\n2024-01-01T00:00:00Z|123|0.5|2.1|230.1|9.1\n",
        ),
        (
            {"delimiter": "tab"},
            HEADER.replace(b",", b"\t") + b"\n2024-01-01T00:00:00Z\t123\t0.5\t2.1\t230.1\t9.1\n",
        ),
        (
            {"decimal": ","},
            HEADER.replace(b",", b";") + b"\n2024-01-01T00:00:00Z;123;0,5;2,1;230,1;9,1\n",
        ),
        (
            {"decimal": ",", "delimiter": "tab"},
            HEADER.replace(b",", b"\t") + b"\n2024-01-01T00:00:00Z\t123\t0,5\t2,1\t230,1\t9,1\n",
        ),
        (
            {"bom": True},
            b"\xef\xbb\xbf" + HEADER + b"\n2024-01-01T00:00:00Z,123,0.5,2.1,230.1,9.1\n",
        ),
        ({"header": False}, b"2024-01-01T00:00:00Z,123,0.5,2.1,230.1,9.1\n"),
        (
            {"header": False, "bom": True},
            b"\xef\xbb\xbf2024-01-01T00:00:00Z,123,0.5,2.1,230.1,9.1\n",
        ),
        (
            {"line_end": "crlf"},
            HEADER + b"\r\n2024-01-01T00:00:00Z,123,0.5,2.1,230.1,9.1\r\n",
        ),
        (
            {"decimal": ",", "bom": True, "line_end": "crlf"},
            b"\xef\xbb\xbf"
            + HEADER.replace(b",", b";")
            + b"\r\n2024-01-01T00:00:00Z;123;0,5;2,1;230,1;9,1\r\n",
        ),
    ],
)
def test_each_dialect_has_its_bytes(
    home: make.Home, dialect: dict[str, object], content: bytes
) -> None:
    home.load(make.readings(0.5))

    assert written(home, csv=dialect) == content


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-7, "1e-7"),
        (1.5e-7, "1,5e-7"),
        (1e16, "1e+16"),
        (-1.25e300, "-1,25e+300"),
        (-0.0, "-0,0"),
        (230.0, "230,0"),
        (5e-324, "5e-324"),
        (None, ""),
    ],
)
def test_a_decimal_comma_stands_also_in_exponents(
    home: make.Home, value: float | None, text: str
) -> None:
    home.load(make.readings(value))

    line = written(home, csv={"decimal": ",", "header": False}).decode()

    assert line == f"2024-01-01T00:00:00Z;123;{text};2,1;230,1;9,1\n"


@pytest.mark.parametrize(
    ("quality", "dialect", "field"),
    [
        ("estimated;final", {"delimiter": ";"}, '"estimated;final"'),
        ("estimated;final", {}, "estimated;final"),
        ("a,b", {}, '"a,b"'),
        ("a,b", {"decimal": ","}, "a,b"),
        ("a|b", {"delimiter": "|"}, '"a|b"'),
        ("a\tb", {"delimiter": "tab"}, '"a\tb"'),
        ('say "so"', {}, '"say ""so"""'),
        ("two\nlines", {}, '"two\nlines"'),
        ("two\rlines", {}, '"two\rlines"'),
        ("two\r\nlines", {"line_end": "crlf"}, '"two\r\nlines"'),
        ("=1+1", {}, "=1+1"),
        (" kept ", {}, " kept "),
        (None, {}, ""),
    ],
)
def test_a_text_is_quoted_where_it_would_break_the_row_and_nowhere_changed(
    home: make.Home, quality: str | None, dialect: dict[str, object], field: str
) -> None:
    home.load(make.readings(0.5).with_columns(quality=pl.lit(quality, pl.String)))

    content = written(
        home, columns=["quality", "timestamp"], csv={**dialect, "header": False}
    ).decode()

    delimiter = {"tab": "\t"}.get(d := str(dialect.get("delimiter", ",")), d)
    delimiter = ";" if dialect.get("decimal") == "," else delimiter
    end = "\r\n" if "line_end" in dialect else "\n"
    assert content == f"{field}{delimiter}2024-01-01T00:00:00Z{end}"


@given(
    values=st.lists(st.tuples(FLOATS, st.none() | st.text(min_size=1, max_size=8)), max_size=8),
    delimiter=st.sampled_from(";|\t"),
    decimal=st.sampled_from(".,"),
    bom=st.booleans(),
    line_end=st.sampled_from(["\n", "\r\n"]),
)
def test_every_dialect_reads_back_value_for_value(
    values: list[tuple[float | None, str | None]],
    delimiter: str,
    decimal: str,
    line_end: str,
    *,
    bom: bool,
) -> None:
    rows = [(make.JANUARY + timedelta(hours=n), *row) for n, row in enumerate(values)]
    dialect = CsvDialect(delimiter, decimal, bom=bom, line_end=line_end)
    columns = ("timestamp", "energy_kwh", "quality")
    frame = pl.DataFrame(rows, {name: READING_SCHEMA[name] for name in columns}, orient="row")

    content = encoded(FORMAT, frame, of=replace(sheet(columns), csv=dialect))

    text = content.decode("utf-8-sig" if bom else "utf-8")
    header, *lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    assert header == list(columns)
    assert [
        (
            datetime.fromisoformat(time),
            repr(float(kwh.replace(decimal, "."))) if kwh else "None",
            quality or None,
        )
        for time, kwh, quality in lines
    ] == [(time, repr(kwh), quality) for time, kwh, quality in rows]
    assert text.endswith(dialect.line_end)


def test_local_times_carry_their_offset_through_a_clock_change(home: make.Home) -> None:
    start = datetime(2024, 10, 26, 23, 30, tzinfo=UTC)
    home.load(make.readings(0.1, 0.2, 0.3, 0.4, start=start, interval_s=1800))

    content = written(
        home,
        period=Period(start, start + timedelta(hours=2)),
        timezone="Europe/Berlin",
        columns=["timestamp", "energy_kwh"],
        interval_label="both",
        csv={"header": False},
    )

    assert content.decode() == (
        "2024-10-27T01:30:00+02:00,2024-10-27T02:00:00+02:00,0.1\n"
        "2024-10-27T02:00:00+02:00,2024-10-27T02:30:00+02:00,0.2\n"
        "2024-10-27T02:30:00+02:00,2024-10-27T02:00:00+01:00,0.3\n"
        "2024-10-27T02:00:00+01:00,2024-10-27T02:30:00+01:00,0.4\n"
    )


def test_columns_come_in_the_order_in_which_they_are_asked_for(home: make.Home) -> None:
    home.load(make.readings(0.5))

    content = written(home, columns=["current_a", "interval_s", "timestamp"])

    assert content == b"current_a,interval_s,timestamp\n9.1,60,2024-01-01T00:00:00Z\n"


def test_a_fleets_csv_in_a_dialect_is_the_same_in_parts(loaded: make.Home) -> None:
    dialect = {"decimal": ",", "bom": True, "line_end": "crlf"}
    options = ExportOptions.requested({"csv": dialect})
    job = loaded.submit(ExportRequest.of_fleet(METERS, make.period(), options=options))

    work(loaded, part_rows=2)

    assert len(files(loaded)) == 3
    content = bytes_of(loaded, now(loaded, job))
    assert content == written(loaded, *METERS, csv=dialect)
    assert content.count(b"\xef\xbb\xbf") == content.count(b"timestamp") == 1


def test_a_file_per_meter_comes_as_a_zip_in_the_order_of_the_meters(loaded: make.Home) -> None:
    content = written(loaded, "C", "A", "B", layout="file_per_meter")

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        files = {name: archive.read(name).decode() for name in archive.namelist()}
    assert list(files.items()) == [
        (
            "smart_meter_A_20240101_20240101.csv",
            make.csv_lines(
                "2024-01-01T00:00:00Z,A,0.5,2.1,230.1,9.1",
                "2024-01-01T00:01:00Z,A,0.6,2.1,230.1,9.1",
            ),
        ),
        (
            "smart_meter_B_20240101_20240101.csv",
            make.csv_lines(
                "2024-01-01T00:00:00Z,B,,2.1,230.1,9.1",
                "2024-01-01T00:01:00Z,B,0.8,2.1,230.1,9.1",
            ),
        ),
        (
            "smart_meter_C_20240101_20240101.csv",
            make.csv_lines(
                "2024-01-01T00:00:00Z,C,0.9,2.1,230.1,9.1",
                "2024-01-01T00:01:00Z,C,1.0,2.1,230.1,9.1",
            ),
        ),
    ]


def test_the_files_of_a_zip_can_be_unpacked_where_names_have_no_colon_and_no_case(
    home: make.Home,
) -> None:
    meters = ("9B6C:5446", "9B6C_5446", "9b6c:5446", "A", "a")
    home.load(*(make.readings(n / 2, meter=meter) for n, meter in enumerate(meters)))

    content = written(home, *meters, layout="file_per_meter")

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        energy = {name: archive.read(name).decode().split(",")[-4] for name in archive.namelist()}
    assert energy == {
        "smart_meter_9B6C+5446_20240101_20240101.csv": "0.0",
        "smart_meter_9B6C_5446_20240101_20240101.csv": "0.5",
        "smart_meter_9b6c+5446~2_20240101_20240101.csv": "1.0",
        "smart_meter_A_20240101_20240101.csv": "1.5",
        "smart_meter_a~2_20240101_20240101.csv": "2.0",
    }
    assert len({name.lower() for name in energy}) == len(meters)


@pytest.mark.parametrize("empty", ["A", "B", "C"])
def test_a_meter_without_rows_in_the_period_has_a_file_with_the_header_only(
    home: make.Home, empty: str
) -> None:
    later = make.JANUARY + timedelta(days=40)
    for meter in METERS:
        home.load(make.readings(0.5, meter=meter, start=later if meter == empty else make.JANUARY))

    content = written(home, *METERS, layout="file_per_meter")

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name[12]: archive.read(name).decode() for name in archive.namelist()}
    rows = {meter: [f"2024-01-01T00:00:00Z,{meter},0.5,2.1,230.1,9.1"] for meter in METERS}
    assert files == {meter: make.csv_lines(*rows[meter]) for meter in METERS} | {
        empty: make.csv_lines()
    }


def test_a_file_of_one_meter_need_not_say_whose_it_is(loaded: make.Home) -> None:
    content = written(
        loaded,
        *("A", "B"),
        layout="file_per_meter",
        columns=["timestamp", "energy_kwh"],
        csv={"decimal": ",", "line_end": "crlf"},
    )

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.read("smart_meter_B_20240101_20240101.csv") == (
            b"timestamp;energy_kwh\r\n2024-01-01T00:00:00Z;\r\n2024-01-01T00:01:00Z;0,8\r\n"
        )


@pytest.mark.parametrize("format_", ["csv", "json", "ndjson", "xml", "nem12", "parquet", "xlsx"])
def test_every_format_can_have_a_file_per_meter_and_the_zip_is_sound(
    home: make.Home, tmp_path: Path, format_: str
) -> None:
    for meter in ("A", "B"):
        home.load(make.readings(*[0.5] * 4, meter=meter, interval_s=900))
    archive = tmp_path / "exported.zip"

    job = asked(home, "A", "B", format_=format_, layout="file_per_meter")
    archive.write_bytes(bytes_of(home, job))

    tested = subprocess.run(
        [sys.executable, "-m", "zipfile", "--test", archive], capture_output=True, check=False
    )
    assert (tested.returncode, tested.stderr) == (0, b""), tested.stdout
    extension = "nem12.csv" if format_ == "nem12" else format_
    with zipfile.ZipFile(archive) as opened:
        assert opened.namelist() == [
            f"smart_meter_{meter}_20240101_20240101.{extension}" for meter in ("A", "B")
        ]
    assert filename(job.request) == "smart_meters_20240101_20240101.zip"
    assert media_type(job.request) == "application/zip"


def test_the_same_rows_make_the_same_zip(loaded: make.Home) -> None:
    one = written(loaded, *METERS, layout="file_per_meter")

    again = written(loaded, *METERS, layout="file_per_meter")

    assert one == again


def test_a_zip_of_an_unknown_meter_names_it_and_is_not_made(loaded: make.Home) -> None:
    job = asked(loaded, "A", "nobody", layout="file_per_meter")

    assert error_code(loaded, job) == "SMART_METER_NOT_FOUND"
    assert job.error is not None
    assert job.error.message == "Smart meter with ID 'nobody' not found"
    assert job.file is None
