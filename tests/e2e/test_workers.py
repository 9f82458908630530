"""Workers that are killed, frozen or stopped: a job is finished once, with the right bytes."""

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path

import pytest

from meterport.domain.jobs import Job
from meterport.services.sweep import sweep
from tests import make
from tests.e2e.service import (
    Gate,
    Pending,
    Service,
    csv_of,
    database_is_free,
    freeze,
    resume,
    running,
    session,
    wait_until,
)

ROWS = 300_000
LEASE_S = 3


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with readings that no service uses; for copies."""
    return make.home(tmp_path_factory.mktemp("loaded"), make.many_readings(ROWS)).settings.data


def copied(loaded: Path, folder: Path) -> make.Home:
    shutil.copytree(loaded, folder / "data")
    return make.home(folder)


@pytest.fixture(scope="module")
def home(loaded: Path, tmp_path_factory: pytest.TempPathFactory) -> make.Home:
    return copied(loaded, tmp_path_factory.mktemp("workers"))


@pytest.fixture(scope="module")
def service(home: make.Home) -> Iterator[Service]:
    with running(home.settings.data, workers=2, METERPORT_JOB_LEASE_S=LEASE_S) as started:
        yield started


@cache
def whole_file() -> bytes:
    return csv_of("123", first=0, rows=ROWS)


def job_of(home: make.Home, job_id: str) -> Job:
    job = home.services.jobs.get(job_id)
    assert job is not None
    return job


def keys(home: make.Home, job_id: str) -> list[str]:
    """What lies in the files folder for that job, published or not."""
    return sorted(key for key in home.services.objects.keys() if key.startswith(job_id))  # noqa: SIM118


def swept(home: make.Home) -> None:
    sweep(archive=home.services.archive, objects=home.services.objects)


def while_writing(service: Service) -> tuple[str, int]:
    """A job of ROWS and its worker, frozen with a part of the file written."""
    return wait_until(lambda: _frozen_while_writing(service))


def _frozen_while_writing(service: Service) -> tuple[str, int] | None:
    with service.paused():
        job_id = service.create(minutes=ROWS)
    part = service.data / "exports" / ".parts" / f"{job_id}.1"
    wait_until(
        lambda: _size(part) or not isinstance(service.status(job_id), Pending), every_s=0.001
    )
    workers = service.workers()
    freeze(workers)
    holder = {pid for pid in workers if _has_open(pid, part)}
    caught = bool(holder) and part.exists() and database_is_free(service.data)
    resume(workers - holder if caught else workers)
    return (job_id, holder.pop()) if caught else None


def _size(part: Path) -> int:
    with suppress(FileNotFoundError):
        return part.stat().st_size
    return 0


def _has_open(pid: int, path: Path) -> bool:
    return str(path) in {os.path.realpath(link) for link in Path(f"/proc/{pid}/fd").iterdir()}


def before_recording(service: Service) -> tuple[str, int]:
    """A job and its worker, frozen with the file published and no row that says so."""
    return wait_until(lambda: _frozen_before_recording(service))


def _frozen_before_recording(service: Service) -> tuple[str, int] | None:
    job_id, pid = while_writing(service)
    published = service.data / "exports" / job_id / "1"
    with locked(service.data):
        resume({pid})
        wait_until(published.exists, every_s=0.001)
        freeze({pid})
    if database_is_free(service.data):
        return job_id, pid
    resume({pid})
    return None


@contextmanager
def locked(data: Path) -> Iterator[None]:
    """Inside nobody else can write to the database."""
    with closing(sqlite3.connect(data / "meterport.db", timeout=60)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.rollback()


Moment = Callable[[Service], tuple[str, int]]
MOMENTS = pytest.mark.parametrize("moment", [while_writing, before_recording])


@MOMENTS
def test_job_of_a_killed_worker_is_finished_by_another(
    service: Service, home: make.Home, moment: Moment
) -> None:
    job_id, pid = moment(service)

    service.kill({pid})
    left = keys(home, job_id)
    completed = service.completed(job_id)

    job = job_of(home, job_id)
    assert f"{job_id}/1" in left
    assert (job.attempt, job.crashes) == (2, 1)
    assert completed.file_info.record_count == 300_000
    assert service.download(job_id) == whole_file()
    assert pid not in service.workers()
    swept(home)
    assert keys(home, job_id) == [f"{job_id}/2"]


@MOMENTS
def test_worker_that_wakes_after_its_lease_changes_nothing(
    service: Service, home: make.Home, moment: Moment
) -> None:
    job_id, pid = moment(service)
    completed = service.completed(job_id)
    finished = job_of(home, job_id)

    resume({pid})
    wait_until(lambda: any(e["job"] == job_id for e in service.events("export_lost_lease")))
    wait_until(lambda: keys(home, job_id) == [f"{job_id}/2"])

    assert job_of(home, job_id) == finished
    assert (finished.attempt, finished.crashes) == (2, 1)
    assert service.status(job_id) == completed
    assert service.download(job_id) == whole_file()
    assert pid in service.workers()


def test_killed_service_takes_its_workers_along_and_the_next_finishes_the_job(
    loaded: Path, tmp_path: Path
) -> None:
    home = copied(loaded, tmp_path)
    with running(home.settings.data, workers=2, METERPORT_JOB_LEASE_S=LEASE_S) as service:
        job_id, frozen = while_writing(service)
        service.process.kill()
        service.process.wait(60)
        wait_until(lambda: {process.pid for process in session(service.process.pid)} <= {frozen})
    at_the_kill = job_of(home, job_id)

    with running(home.settings.data, METERPORT_JOB_LEASE_S=LEASE_S) as service:
        service.completed(job_id)
        file = service.download(job_id)

    assert (at_the_kill.status, at_the_kill.attempt) == ("pending", 1)
    assert job_of(home, job_id).attempt == 2
    assert file == whole_file()
    swept(home)
    assert keys(home, job_id) == [f"{job_id}/2"]


def test_stopped_service_hands_its_job_to_the_next(loaded: Path, tmp_path: Path) -> None:
    home = copied(loaded, tmp_path)
    with running(home.settings.data) as service:
        with service.paused():
            job_id = service.create(minutes=ROWS)
            gate = Gate(home.settings.data, job_id, attempt=1)
        with gate:
            gate.let_through(len(csv_of("123", first=0, rows=50_000)))
            workers = service.workers()
            freeze(workers)
            service.process.terminate()
            wait_until(lambda: all(_is_due(signal.SIGTERM, pid) for pid in workers))
            resume(workers)
            gate.open()
        code = service.process.wait(60)
    handed_back = job_of(home, job_id)
    left = keys(home, job_id)

    with running(home.settings.data) as service:
        service.completed(job_id)
        file = service.download(job_id)

    finished = job_of(home, job_id)
    assert code == 0
    assert (handed_back.status, handed_back.attempt, handed_back.crashes) == ("pending", 1, 0)
    assert left == []
    assert (finished.attempt, finished.crashes) == (2, 0)
    assert file == whole_file()


def _is_due(number: signal.Signals, pid: int) -> bool:
    """The process has been sent the signal and has not looked at it yet."""
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return bool(int(status["ShdPnd"], 16) >> (number - 1) & 1)


def test_a_service_is_ready_as_soon_as_its_workers_are_there(service: Service) -> None:
    wait_until(lambda: service.http.get("/readyz").status_code == 200)

    wait_until(lambda: "meterport_workers 2" in service.http.get("/metrics").text.splitlines())


def is_ready(service: Service) -> bool:
    return True  # running() has read the line that says so, and nothing else


def answers(service: Service) -> bool:
    return service.http.get("/livez").status_code == 200


def has_a_ready_worker(service: Service) -> bool:
    return bool(service.events("worker_ready"))


@pytest.mark.parametrize("moment", [is_ready, answers, has_a_ready_worker])
def test_ctrl_c_ends_the_service_and_its_workers_without_a_traceback(
    tmp_path: Path, moment: Callable[[Service], bool]
) -> None:
    home = make.home(tmp_path)
    with running(home.settings.data) as service:
        wait_until(lambda: moment(service))

        os.killpg(service.process.pid, signal.SIGINT)
        code = service.process.wait(60)

        wait_until(lambda: not session(service.process.pid))
    assert code == 0
    assert "Traceback" not in service.log.read_text()


def test_service_that_is_told_to_stop_as_soon_as_it_is_ready_stops(tmp_path: Path) -> None:
    home = make.home(tmp_path)
    with running(home.settings.data) as service:
        code = service.stop()

        wait_until(lambda: not session(service.process.pid))
    assert code == 0
    assert "Traceback" not in service.log.read_text()


def test_killed_housekeeping_is_started_again_while_jobs_run_on(
    loaded: Path, tmp_path: Path
) -> None:
    home = copied(loaded, tmp_path)
    with running(home.settings.data, METERPORT_WORKER_RESTART_S=0) as service:
        (first,) = wait_until(lambda: service.children("housekeeping"))
        service.kill({first})
        job_id = service.create()
        (second,) = wait_until(lambda: service.children("housekeeping"))
        service.completed(job_id)
        died = wait_until(lambda: service.events("housekeeping_died"))
        code = service.stop()

    assert second != first
    assert [(event["pid"], event["code"]) for event in died] == [(first, -9)]
    assert code == 0
