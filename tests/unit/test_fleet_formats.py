"""A fleet's file in every format, with every option: the same whatever parts it was made in."""

import gzip
import io
import json
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from meterport.domain.exports import ExportRequest
from meterport.domain.jobs import Job, JobStatus
from meterport.domain.options import Compression, CsvDialect, ExportOptions, Layout
from meterport.domain.period import Period
from meterport.domain.shapes import Gaps, Label, Resolution, Shape
from meterport.services.read_manifest import read_manifest
from tests import green_button, make
from tests.unit.exports import now
from tests.unit.fleets import work, work_once
from tests.unit.test_espi import schema

DAY = timedelta(days=1)
METERS = ("A", "B", "C", "D")
PERIOD = Period(make.JANUARY - timedelta(hours=1), make.JANUARY + 3 * DAY)
ONE_PIECE = 10**6
DEFAULTS = ExportOptions()


def readings() -> list[pl.DataFrame]:
    """A and C of days of quarters, with gaps; B of some hours; D has none in PERIOD."""
    quarters = [
        make.readings(*(n / 100 for n in range(250)), meter=meter, interval_s=900).filter(
            ~pl.int_range(250).is_in(lacking)
        )
        for meter, lacking in (("A", [*range(90, 110), 200]), ("C", [5]))
    ]
    hours = make.readings(1.5, None, 2.5, meter="B", interval_s=3600)
    later = make.readings(9.0, 9.0, meter="D", interval_s=900, start=make.JANUARY + 9 * DAY)
    return [*quarters, hours, later]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[make.Home]:
    home = make.home(tmp_path_factory.mktemp("fleet"), *readings())
    yield home
    home.services.close()


def exported(
    home: make.Home,
    format: str,  # noqa: A002 - the contract's word
    part_rows: int,
    options: ExportOptions = DEFAULTS,
    compression: Compression = Compression.NONE,
    meters: tuple[str, ...] = METERS,
) -> Job:
    request = ExportRequest.of_fleet(
        meters, PERIOD, format, compression=compression, options=options
    )
    job = home.submit(request)
    work(home, part_rows)
    ended = now(home, job)
    assert ended.status is JobStatus.COMPLETED, ended.error
    return ended


def pieces(home: make.Home, job: Job) -> list[bytes]:
    found = []
    for piece in home.services.jobs.pieces(job):
        with home.services.objects.open(piece.key) as opened:
            found.append(opened.read())
    return found


def content(home: make.Home, job: Job) -> bytes:
    return b"".join(pieces(home, job))


def manifest(home: make.Home, job: Job) -> dict[str, object]:
    """Without what tells the file of one job from that of another."""
    told = json.loads("".join(read_manifest(job, home.services.jobs.manifests(job))))
    for name in ("job_id", "sha256", "size_bytes"):
        del told[name]
    return told  # type: ignore[no-any-return]


def unpacked(data: bytes, compression: Compression) -> bytes:
    if compression is Compression.GZIP:
        return gzip.decompress(data)
    if compression is Compression.ZSTD:
        reader = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True)
        return reader.read()
    return data


SHAPES = st.builds(
    Shape,
    resolution=st.sampled_from([Resolution.RAW, Resolution.HOUR, Resolution.DAY]),
    zone=st.sampled_from(["UTC", "Asia/Kathmandu", "America/New_York"]),
    gaps=st.sampled_from(Gaps),
    label=st.sampled_from(Label),
    columns=st.none() | st.just(("smart_meter_id", "energy_kwh", "timestamp")),
    with_count=st.booleans(),
)
DIALECTS = st.builds(
    CsvDialect,
    delimiter=st.sampled_from([";", "\t", "|"]),
    decimal=st.sampled_from([".", ","]),
    bom=st.booleans(),
    header=st.booleans(),
    line_end=st.sampled_from(["\n", "\r\n"]),
)


def fit_for(format: str, options: ExportOptions) -> ExportOptions:  # noqa: A002
    """What the format knows of them."""
    if format == "xml":
        plain = replace(options.shape, gaps=Gaps.OMIT, label=Label.START, with_count=False)
        options = replace(options, shape=plain)
    return options if format == "csv" else replace(options, csv=CsvDialect())


@given(
    format=st.sampled_from(["csv", "ndjson", "xml"]),
    options=st.builds(ExportOptions, shape=SHAPES, csv=DIALECTS),
    compression=st.sampled_from([Compression.NONE, Compression.GZIP, Compression.ZSTD]),
    part_rows=st.sampled_from([1, 97, 200, 260, 500]),
)
@settings(max_examples=12)
def test_the_unpacked_bytes_and_the_manifest_do_not_depend_on_the_parts(
    fleet: make.Home,
    format: str,  # noqa: A002
    options: ExportOptions,
    compression: Compression,
    part_rows: int,
) -> None:
    options = fit_for(format, options)
    whole = exported(fleet, format, ONE_PIECE, options, compression)

    cut = exported(fleet, format, part_rows, options, compression)

    assert unpacked(content(fleet, cut), compression) == unpacked(
        content(fleet, whole), compression
    )
    assert manifest(fleet, cut) == manifest(fleet, whole)
    assert (cut.file and cut.file.rows) == (whole.file and whole.file.rows)


@pytest.mark.parametrize("format", ["csv", "ndjson"])
def test_parts_of_text_are_cut_between_any_days(format: str, fleet: make.Home) -> None:  # noqa: A002
    cut = exported(fleet, format, 96)

    assert len(pieces(fleet, cut)) == 8  # A and C in three days each, B, D
    assert content(fleet, cut) == content(fleet, exported(fleet, format, ONE_PIECE))


@pytest.mark.parametrize(
    "shape",
    [Shape(Resolution.HOUR), Shape(gaps=Gaps.NULL), Shape(Resolution.MONTH, gaps=Gaps.FLAG)],
)
def test_no_part_splits_a_meter_that_is_merged_or_filled(shape: Shape, fleet: make.Home) -> None:
    cut = exported(fleet, "csv", 96, ExportOptions(shape))

    found = [piece for piece in pieces(fleet, cut) if piece]
    of_whom = [
        {row.split(b",")[1] for row in piece.splitlines() if row[:2] == b"20"} for piece in found
    ]
    assert of_whom == [{b"A"}, {b"B"}, {b"C"}]


@pytest.mark.parametrize("compression", [Compression.NONE, Compression.GZIP, Compression.ZSTD])
def test_a_feed_in_parts_is_one_feed_by_the_schemas(
    compression: Compression, fleet: make.Home, samples: Path
) -> None:
    cut = exported(fleet, "xml", 1, compression=compression)

    feed = unpacked(content(fleet, cut), compression)
    assert [error.reason for error in schema(samples).iter_errors(io.BytesIO(feed))] == []
    parts = [unpacked(piece, compression) for piece in pieces(fleet, cut)]
    assert [part.startswith(b"<?xml") for part in parts] == [True, False, False, False]
    assert [part.endswith(b"</feed>\n") for part in parts] == [False, False, False, True]
    energy = green_button.channel(green_button.readings(feed), 72, 1)
    counts = {meter: sum(of == meter for of, _ in energy) for meter in METERS}
    assert counts == {"A": 229, "B": 2, "C": 249, "D": 0}


def test_a_fleet_whose_last_part_has_no_rows_ends_as_it_should(fleet: make.Home) -> None:
    for format, end in (("csv", b""), ("ndjson", b""), ("xml", b"</feed>\n")):  # noqa: A001
        cut = exported(fleet, format, 1, meters=("B", "D"))

        assert pieces(fleet, cut)[-1] == end


@pytest.mark.parametrize(
    ("compression", "command"), [(Compression.GZIP, "gzip"), (Compression.ZSTD, "zstd")]
)
def test_members_of_parts_together_are_a_file_that_the_usual_tools_unpack(
    compression: Compression, command: str, fleet: make.Home, tmp_path: Path
) -> None:
    cut = exported(fleet, "csv", 96, compression=compression)
    path = tmp_path / "file"
    path.write_bytes(content(fleet, cut))

    plain = content(fleet, exported(fleet, "csv", ONE_PIECE))
    assert len(pieces(fleet, cut)) == 8
    assert unpacked(path.read_bytes(), compression) == plain
    if command == "gzip":
        with path.open("rb") as file:
            subprocess.run(["gzip", "-t"], stdin=file, check=True)


@pytest.mark.parametrize("format", ["json", "parquet", "xlsx"])
def test_what_cannot_be_joined_is_made_in_one_piece(format: str, fleet: make.Home) -> None:  # noqa: A002
    job = exported(fleet, format, 1)

    assert len(pieces(fleet, job)) == 1
    assert content(fleet, job) == content(fleet, exported(fleet, format, ONE_PIECE))
    assert job.file is not None
    assert job.file.rows == 481


def test_nem12_of_a_fleet_is_made_in_one_piece(home: make.Home) -> None:
    nmis = ("6001234567", "6001234568")
    home.load(*(make.readings(*[0.5] * 144, meter=nmi, interval_s=1800) for nmi in nmis))

    job = exported(home, "nem12", 1, meters=nmis)

    (text,) = pieces(home, job)
    assert (text[:10], text[-5:]) == (b"100,NEM12,", b"900\r\n")
    assert [text.count(b"\r\n200," + nmi.encode()) for nmi in nmis] == [1, 1]


def test_nem12_of_a_resolution_says_the_least_sure_quality_of_an_interval(home: make.Home) -> None:
    words = pl.Series([None, "substituted", "estimated", None] * 24, dtype=pl.String)
    home.load(make.readings(*[0.5] * 96, interval_s=900).with_columns(quality=words))

    job = exported(home, "nem12", 1, ExportOptions(Shape(Resolution.MINUTES_30)), meters=("123",))

    lines = content(home, job).decode().split("\r\n")
    assert lines[3:6] == ["400,1,20,N,,", "400,21,21,S,,", "400,22,22,E,,"]


@pytest.mark.parametrize("format", ["csv", "parquet", "xml"])
def test_a_file_for_each_meter_is_made_in_one_piece_also_of_meters_without_rows(
    format: str,  # noqa: A002
    fleet: make.Home,
) -> None:
    layout = ExportOptions(layout=Layout.FILE_PER_METER)

    job = exported(fleet, format, 1, layout)

    assert len(pieces(fleet, job)) == 1
    archive = zipfile.ZipFile(io.BytesIO(content(fleet, job)))
    assert archive.testzip() is None
    assert archive.namelist() == [
        f"smart_meter_{meter}_20231231_20240104.{format}" for meter in METERS
    ]
    one = exported(fleet, format, ONE_PIECE, meters=("B",))
    assert archive.read("smart_meter_B_20231231_20240104." + format) == content(fleet, one)


def test_a_meter_that_came_after_the_version_asked_for_has_no_rows(home: make.Home) -> None:
    first = home.load(make.readings(0.5, meter="A")).version
    home.load(make.readings(0.7, meter="B"))
    options = ExportOptions(as_of=first)

    for format in ("csv", "ndjson", "xml"):  # noqa: A001
        cut, whole = (exported(home, format, rows, options, meters=("A", "B")) for rows in (1, 99))

        assert content(home, cut) == content(home, whole)
        assert cut.file is not None
        assert (cut.file.rows, manifest(home, cut)["expected"]) == (1, 1)


@pytest.mark.parametrize("day", [-30, 30])
def test_nothing_is_missing_where_a_meter_has_its_readings_before_or_after(
    day: int, home: make.Home
) -> None:
    home.load(make.readings(0.5, 0.5, start=make.JANUARY + day * DAY))
    request = replace(make.request(), options=ExportOptions(Shape(gaps=Gaps.FLAG)))

    job = home.submit(request)
    home.work()

    assert content(home, now(home, job)) == f"{make.HEADER},gap\n".encode()


@pytest.mark.parametrize("part_rows", [ONE_PIECE, 96])
def test_a_gap_is_in_intervals_of_the_reading_before_it_however_the_work_is_cut(
    part_rows: int, home: make.Home
) -> None:
    """A day of hours, three without readings, a day of quarters of an hour; parts of a day."""
    home.load(
        make.readings(*[0.5] * 24, interval_s=3600),
        make.readings(*[0.1] * 96, start=make.JANUARY + 4 * DAY, interval_s=900),
    )
    job = home.submit(ExportRequest.of_fleet(["123"], make.period(minutes=10 * 1440)))

    work(home, part_rows)

    told = json.loads("".join(read_manifest(now(home, job), home.services.jobs.manifests(job))))
    assert (told["expected"], told["present"], told["gap_count"]) == (192, 120, 1)
    assert told["gaps"][0] == {
        "smart_meter_id": "123",
        "start": "2024-01-02T00:00:00Z",
        "end": "2024-01-05T00:00:00Z",
        "intervals": 72,
    }
    assert [day["expected"] for day in told["days"]] == [24, 24, 24, 24, 96]
    assert len(home.services.jobs.pieces(now(home, job))) == (1 if part_rows == ONE_PIECE else 5)


def test_the_file_is_what_its_job_and_its_manifest_say(fleet: make.Home, tmp_path: Path) -> None:
    job = exported(fleet, "csv", 96, compression=Compression.GZIP)
    data = content(fleet, job)

    told = json.loads("".join(read_manifest(job, fleet.services.jobs.manifests(job))))

    path = tmp_path / "file"
    path.write_bytes(data)
    sha256 = subprocess.run(["sha256sum", path], capture_output=True, check=True).stdout.split()[0]
    assert (told["sha256"], told["size_bytes"], told["rows"]) == (sha256.decode(), len(data), 481)
    assert gzip.decompress(data).count(b"\n") == 482


def test_auto_is_decided_once_for_all_parts(
    fleet: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts of which each is small, of a file that is not."""
    monkeypatch.setattr("meterport.encoders.compression.AUTO_BYTES", 20_000)
    request = ExportRequest.of_fleet(METERS, PERIOD, compression=Compression.AUTO)
    job = fleet.submit(request)
    work_once(fleet, part_rows=96)
    monkeypatch.setattr("meterport.encoders.compression.AUTO_BYTES", 10**9)

    work(fleet, part_rows=96)

    ended = now(fleet, job)
    assert ended.request.compression is Compression.GZIP
    plain = content(fleet, exported(fleet, "csv", ONE_PIECE))
    assert gzip.decompress(content(fleet, ended)) == plain
