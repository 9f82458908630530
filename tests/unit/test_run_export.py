"""One file written: what its writer hears of meanwhile, and what is left when it fails."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from meterport.domain.errors import ExportCancelled, StorageFull
from meterport.domain.exports import ExportRequest
from meterport.domain.jobs import Job, JobId, JobStatus, Lease
from meterport.domain.options import Compression, ExportOptions, Layout
from meterport.domain.period import Period
from meterport.domain.readings import MeterSummary
from meterport.domain.shapes import Gaps, Resolution, Shape
from meterport.encoders import FORMATS
from meterport.services.heartbeat import LeaseLost
from meterport.services.run_export import Fleet, run_export
from meterport.services.work_job import work_job
from tests import make
from tests.unit.exports import error_code, files, now, workplace

MONTH = Period(make.JANUARY, make.JANUARY + timedelta(days=31))
KNOWN = MeterSummary("123", MONTH.start, MONTH.end - timedelta(minutes=1), 60, 31 * 1440)
FULL = StorageFull("There is no space left for the file", "Free space")
NMI = "6001234567"
PACKED = [Compression.NONE, Compression.GZIP, Compression.ZSTD]


class Slow:
    """A source of a month of minutes in frames of one row; counts those that were taken."""

    taken = 0

    def scan(self, meters: Sequence[str], period: Period, **given: Any) -> Iterator[pl.DataFrame]:
        for frame in make.many_readings(31 * 1440).iter_slices(1):
            self.taken += 1
            yield frame

    def made_at(self, version: int) -> datetime:
        return make.JANUARY


class Disk:
    """Takes so many bytes, then is full."""

    def __init__(self, free: int) -> None:
        self.free = free
        self.published = False

    @contextmanager
    def draft(self, key: str) -> Iterator["Disk"]:
        yield self

    def write(self, data: bytes, /) -> None:
        self.free -= len(data)
        if self.free < 0:
            raise FULL

    def publish(self) -> None:
        self.published = True


def job_of(
    format: str = "csv",  # noqa: A002 - the contract's word
    compression: Compression = Compression.NONE,
    options: ExportOptions = ExportOptions(),  # noqa: B008 - it is frozen
) -> Job:
    request = ExportRequest("123", MONTH, format, compression=compression, options=options)
    at = datetime(2024, 3, 1, tzinfo=UTC)
    return Job(JobId("id"), request, JobStatus.PENDING, at, at, attempt=1, source_version=1)


@pytest.mark.parametrize("error", [ExportCancelled, LeaseLost])
@pytest.mark.parametrize("resolution", [Resolution.MONTH, Resolution.RAW])
def test_the_end_is_heard_of_while_thousands_of_frames_become_one_row(
    resolution: Resolution, error: type[Exception]
) -> None:
    source, disk, told = Slow(), Disk(10**9), list[int]()

    def report(rows: int) -> None:
        told.append(rows)
        if len(told) == 1000:
            raise error

    with pytest.raises(error):
        run_export(
            job_of(options=ExportOptions(Shape(resolution))),
            Fleet(("123",), [KNOWN]),
            source=source,  # type: ignore[arg-type]
            objects=disk,  # type: ignore[arg-type]
            report=report,
        )

    assert source.taken <= 1000
    assert not disk.published
    assert told == sorted(told)


class HalfHours(Slow):
    """As all formats can hold them: of market days, of a meter with a national identifier."""

    def __init__(self, rows: int) -> None:
        start = make.JANUARY - timedelta(hours=10)
        energy_kwh = [n / 1000 for n in range(rows)]
        self._rows = make.readings(*energy_kwh, meter=NMI, start=start, interval_s=1800)

    def scan(self, meters: Sequence[str], period: Period, **given: Any) -> Iterator[pl.DataFrame]:
        yield self._rows


def write(
    disk: Disk, job: Job, rows: int, report: Callable[[int], None] = lambda rows: None
) -> None:
    run_export(
        job,
        Fleet((NMI,), []),
        source=HalfHours(rows),  # type: ignore[arg-type]
        objects=disk,  # type: ignore[arg-type]
        report=report,
    )


def test_the_end_is_heard_of_while_a_meter_that_was_read_is_written_as_green_button() -> None:
    disk, told = Disk(10**9), list[int]()

    def report(rows: int) -> None:
        told.append(rows)
        if len(told) == 100:
            raise ExportCancelled

    with pytest.raises(ExportCancelled):
        write(disk, job_of("xml"), rows=48 * 40, report=report)

    assert not disk.published


@pytest.mark.parametrize("free", [0, 1, 100, 700])
@pytest.mark.parametrize("compression", PACKED)
@pytest.mark.parametrize("format", FORMATS)
def test_a_disk_that_gets_full_is_told_as_such_by_every_format(
    format: str,  # noqa: A002
    compression: Compression,
    free: int,
) -> None:
    disk = Disk(free)

    with pytest.raises(StorageFull):
        write(disk, job_of(format, compression), rows=48 * 40)

    assert not disk.published


@pytest.mark.parametrize("free", [0, 60, 400])
@pytest.mark.parametrize("format", FORMATS)
def test_a_disk_that_gets_full_under_a_zip_is_told_as_such(format: str, free: int) -> None:  # noqa: A002
    disk = Disk(free)

    with pytest.raises(StorageFull):
        write(disk, job_of(format, options=ExportOptions(layout=Layout.FILE_PER_METER)), rows=48)

    assert not disk.published


def test_a_defect_while_a_file_is_compressed_leaves_nothing(
    home: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def compress(self, data: bytes) -> bytes:
            return b"half"

        def flush(self) -> bytes:
            raise ZeroDivisionError

    home.load(make.readings(0.5))
    monkeypatch.setattr("meterport.encoders.compression._compressor", lambda _: Broken())
    job = home.submit(replace(make.request(), compression=Compression.GZIP))

    work_job(workplace(home))

    assert error_code(home, job) == "INTERNAL_ERROR"
    assert files(home) == []
    assert home.services.jobs.manifests(now(home, job)) == []


@pytest.mark.parametrize(
    ("shape", "expected", "rows"),
    [
        (Shape(), 2880, 2870),
        (Shape(Resolution.HOUR), 48, 48),
        (Shape(Resolution.DAY), 2, 2),
        (Shape(Resolution.MONTH), 1, 1),
        (Shape(Resolution.MINUTE), 2880, 2870),
        (Shape(gaps=Gaps.NULL), 2880, 2880),
        (Shape(Resolution.MINUTES_15, gaps=Gaps.FLAG), 192, 192),
    ],
)
def test_as_many_rows_are_expected_as_the_file_will_have(
    shape: Shape, expected: int, rows: int, home: make.Home
) -> None:
    home.load(make.many_readings(2880).filter(~pl.int_range(2880).is_between(7, 16)))
    request = replace(make.request(minutes=4 * 1440), options=ExportOptions(shape))

    job = home.submit(request)
    work_job(workplace(home))

    done = now(home, job)
    assert (done.rows_expected, done.file and done.file.rows) == (expected, rows)


def test_no_percentage_goes_back_when_readings_come_between_two_attempts(home: make.Home) -> None:
    home.load(make.many_readings(100))
    job = home.submit(make.request(minutes=1440))
    claimed = home.services.jobs.claim(Lease("w"))
    assert claimed is not None
    home.services.jobs.begin(claimed, source_version=1, rows_expected=100)
    home.services.jobs.renew(claimed, Lease("w"), rows_written=80)
    home.services.jobs.hand_back(claimed)
    home.load(make.many_readings(1000))
    stopping = threading.Event()
    stopping.set()

    work_job(workplace(home, stopping=stopping))

    progress = now(home, job).progress
    assert progress is not None
    assert (now(home, job).attempt, progress.percent) == (2, 80)
