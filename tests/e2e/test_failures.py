"""Causes made for real: what the job then says, and that the service lives on without leftovers."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests import make
from tests.e2e.service import Error, Pending, Refused, Service, csv_of, running, with_mounts

FEBRUARY, MARCH, APRIL, MAY = (datetime(2024, month, 1, tzinfo=UTC) for month in (2, 3, 4, 5))
UNREADABLE = Error(
    code="SOURCE_UNAVAILABLE",
    message="The readings store cannot be read",
    details="The service's log names the cause",
)
DAMAGED = Error(
    code="SOURCE_DATA_INVALID",
    message="A file of the readings store is damaged",
    details="The service's log names the file",
)
FULL = Error(
    code="STORAGE_FULL",
    message="There is no space left for the file",
    details="Free space in the files folder, or point METERPORT_FILES_URL elsewhere",
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> make.Home:
    return make.home(
        tmp_path_factory.mktemp("failures"),
        make.many_readings(20_000, meter="123"),
        make.many_readings(1_000, meter="gone", start=FEBRUARY),
        make.many_readings(1_000, meter="cut", start=MARCH),
        make.many_readings(1_000, meter="overwritten", start=APRIL),
        make.many_readings(1_000, meter="bent", start=MAY),
    )


@pytest.fixture(scope="module")
def service(home: make.Home) -> Iterator[Service]:
    # A short lease, so that a cause that does take the worker down is told soon.
    with running(
        home.settings.data, METERPORT_JOB_LEASE_S=2, METERPORT_JOB_RETRY_S=0.01
    ) as started:
        yield started


@contextmanager
def outlived(service: Service, home: make.Home) -> Iterator[None]:
    """The block's cause takes no worker down and leaves no part; then the next job works."""
    before = service.workers()
    parts = names(home.settings.files / ".parts")
    yield
    job_id = service.create("123", minutes=2)
    assert service.completed(job_id).file_info.record_count == 2
    assert service.download(job_id) == csv_of("123", first=0, rows=2)
    assert service.workers() == before
    assert names(home.settings.files / ".parts") <= parts


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*")}


def data_file(home: make.Home, month: str) -> Path:
    (path,) = (home.settings.readings / f"month={month}").glob("*.parquet")
    return path


def create(service: Service, meter: str, start: datetime) -> str:
    first = (start - make.JANUARY).total_seconds() / 60
    return service.create(meter, first=int(first), minutes=60)


def test_readings_file_that_is_gone_fails_the_job(service: Service, home: make.Home) -> None:
    with outlived(service, home):
        data_file(home, "2024-02").unlink()

        failed = service.failed(create(service, "gone", FEBRUARY))

        assert failed.error == UNREADABLE


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_readings_file_that_was_cut_short_fails_the_job(
    service: Service, home: make.Home, keep: float
) -> None:
    with outlived(service, home):
        path = data_file(home, "2024-03")
        whole = path.read_bytes()
        path.write_bytes(whole[: int(keep * len(whole))])

        failed = service.failed(create(service, "cut", MARCH))

        path.write_bytes(whole)
        assert failed.error == DAMAGED


def test_readings_file_of_other_bytes_fails_the_job(service: Service, home: make.Home) -> None:
    with outlived(service, home):
        path = data_file(home, "2024-04")
        size = path.stat().st_size
        path.write_bytes(b"PAR1" + bytes(size - 8) + b"PAR1")

        failed = service.failed(create(service, "overwritten", APRIL))

        assert failed.error == DAMAGED


def test_readings_file_with_a_wrong_byte_in_its_footer_fails_the_job(
    service: Service, home: make.Home
) -> None:
    with outlived(service, home):
        path = data_file(home, "2024-05")
        whole = path.read_bytes()
        # Here Polars 2.1 panics instead of raising one of its errors.
        path.write_bytes(whole[:-1078] + b"\xff" + whole[-1077:])

        failed = service.failed(create(service, "bent", MAY))

        path.write_bytes(whole)
        assert failed.error == DAMAGED


def test_readings_log_of_garbage_fails_the_job_until_it_is_mended(
    service: Service, home: make.Home
) -> None:
    with outlived(service, home):
        with garbled(home.settings.readings / "_delta_log"):
            failed = service.failed(service.create("123"))

        assert failed.error == UNREADABLE


@contextmanager
def garbled(log: Path) -> Iterator[None]:
    entries = {path: path.read_bytes() for path in log.iterdir()}
    for path in entries:
        path.write_bytes(b"garbage\n")
    try:
        yield
    finally:
        for path, entry in entries.items():
            path.write_bytes(entry)


def test_files_folder_that_cannot_be_written_fails_the_job(
    service: Service, home: make.Home
) -> None:
    service.completed(service.create("123"))
    with outlived(service, home):
        with unwritable(home.settings.files):
            failed = service.failed(service.create("123"))

        assert failed.error.code == "FILE_GENERATION_FAILED"
        assert failed.error.message.startswith("The file could not be written: ")
        assert failed.error.details == "The service needs to be able to write to its files folder"


@contextmanager
def unwritable(files: Path) -> Iterator[None]:
    """Permissions do not bind root; there a plain file lies where a folder should be."""
    parts, aside = files / ".parts", files / ".aside"
    if os.geteuid() == 0:
        parts.rename(aside)
        parts.touch()
    else:
        parts.chmod(0o500)
    try:
        yield
    finally:
        if os.geteuid() == 0:
            parts.unlink()
            aside.rename(parts)
        parts.chmod(0o700)


def test_file_that_the_system_cuts_off_fails_the_job(service: Service, home: make.Home) -> None:
    with outlived(service, home):
        with at_most(service.workers(), size_bytes=400_000):
            failed = service.failed(service.create("123", minutes=20_000))

        assert failed.error == Error(
            code="FILE_GENERATION_FAILED",
            message="The file could not be written: File too large",
            details="The service needs to be able to write to its files folder",
        )


@contextmanager
def at_most(pids: set[int], *, size_bytes: int) -> Iterator[None]:
    """No file that those processes write may become larger."""
    for pid in pids:
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        for pid in pids:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_export_that_was_damaged_on_disk_is_not_served(
    service: Service, home: make.Home, damage: str
) -> None:
    job_id = service.create("123")
    service.completed(job_id)
    path = home.settings.files / job_id / "1"
    assert path.read_bytes() == csv_of("123", first=0, rows=60)
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes().replace(b"230.1", b"230.2", 1))

    answer = service.http.get(f"/api/export/download/{job_id}")

    assert answer.status_code == 409
    assert Refused.model_validate_json(answer.text).error.code == "EXPORT_DAMAGED"


def test_full_disk_fails_the_job_and_space_mends_it(tmp_path: Path) -> None:
    home = make.home(tmp_path, make.many_readings(20_000))
    disk = tmp_path / "disk"
    disk.mkdir()
    with on_a_disk_of_one_megabyte(home, disk) as (service, seen):
        (seen / "filler").write_bytes(bytes(700_000))
        failed = service.failed(service.create("123", minutes=20_000))
        left = sorted(path.name for path in seen.rglob("*"))
        small = service.completed(service.create("123", minutes=60))
        (seen / "filler").unlink()
        again = service.create("123", minutes=20_000)
        completed = service.completed(again)
        file = service.download(again)

    assert failed.error == FULL
    assert left == [".parts", "filler"]
    assert small.file_info.record_count == 60
    assert completed.file_info.record_count == 20_000
    assert file == csv_of("123", first=0, rows=20_000)


@contextmanager
def on_a_disk_of_one_megabyte(home: make.Home, disk: Path) -> Iterator[tuple[Service, Path]]:
    """The service keeps its files there; the path at which this process sees them comes with it."""
    inside = with_mounts(f'mount -t tmpfs -o size=1m tmpfs "{disk}"')
    with running(
        home.settings.data, inside=inside, METERPORT_FILES_URL=disk, METERPORT_JOB_RETRY_S=0.01
    ) as service:
        yield service, Path(f"/proc/{service.process.pid}/root{disk}")


def test_full_data_disk_refuses_new_jobs_and_keeps_the_old(tmp_path: Path) -> None:
    home = make.home(tmp_path, make.many_readings(20_000))
    disk = tmp_path / "disk"
    disk.mkdir()
    copy = f"cp -r '{home.settings.data}'/. '{disk}'"
    inside = with_mounts(f"mount -t tmpfs -o size=3m tmpfs '{disk}'; {copy}")
    with running(disk, inside=inside) as service:
        filler = Path(f"/proc/{service.process.pid}/root{disk}/filler")
        with service.paused():
            accepted = service.create("123", minutes=20_000)
            fill(filler)
            answer = service.http.post("/api/export/csv", json=make.body())
            status = service.status(accepted)
            filler.unlink()
        completed = service.completed(accepted)
        file = service.download(accepted)
        again = service.completed(service.create("123", minutes=60))

    refused = Refused.model_validate_json(answer.text)
    assert answer.status_code == 507
    assert answer.headers["Retry-After"] == "60"
    assert refused.error.code == "STORAGE_FULL"
    assert refused.message == "There is too little space left on the disk"
    assert isinstance(status, Pending)
    assert completed.file_info.record_count == 20_000
    assert again.file_info.record_count == 60
    assert file == csv_of("123", first=0, rows=20_000)


def fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
