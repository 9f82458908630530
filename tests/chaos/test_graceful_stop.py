"""R24: told to stop under jobs and slow downloads. Jobs are free at once, downloads end whole."""

import socket
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from meterport.domain.jobs import Job, JobStatus
from tests import make
from tests.chaos.harness import Chaos, spoilt, wait_until
from tests.e2e.service import Service, csv_of, running

pytestmark = pytest.mark.promise("R24")

ROWS = 150_000
"""A file of them is larger than all buffers between the service and a client."""

WORKERS = 2
RECEIVED_BYTES = 65_536


@cache
def expected(minutes: int) -> bytes:
    return csv_of("123", first=0, rows=minutes)


@dataclass
class Download:
    """A client that begins to read, and goes on when it is told."""

    client: socket.socket
    received: bytearray = field(default_factory=bytearray)

    def begin(self, path: str) -> None:
        self.client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        while len(self.received) < 2 * RECEIVED_BYTES:
            self.received += self.client.recv(RECEIVED_BYTES)

    def rest(self) -> bytes:
        """The body to its end."""
        while data := self.client.recv(1 << 20):
            self.received += data
        return bytes(self.received).partition(b"\r\n\r\n")[2]


@contextmanager
def download(service: Service, job_id: str) -> Iterator[Download]:
    address = urlsplit(service.url)
    with closing(socket.socket()) as client:
        client.settimeout(60)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED_BYTES)
        client.connect((address.hostname, address.port))
        begun = Download(client)
        begun.begin(f"/api/export/download/{job_id}")
        yield begun


def stop_under_load(
    chaos: Chaos, home: make.Home, *variants: str, jobs: int = 50, downloads: int = 20
) -> None:
    data = home.settings.data
    wanted: dict[str, int] = {}
    with running(data, workers=WORKERS, **(spoilt(*variants) if variants else {})) as service:
        with ExitStack() as clients:
            finished = service.create(minutes=ROWS)
            service.completed(finished)
            begun = [clients.enter_context(download(service, finished)) for _ in range(downloads)]
            with service.paused():
                for _ in range(jobs):
                    minutes = chaos.random.choice([60, 20_000, ROWS, ROWS])
                    wanted[service.create(minutes=minutes)] = minutes
            some = chaos.random.randint(1, jobs // 3)
            wait_until(lambda: len(done(home, wanted)) >= some, every_s=0.005)
            stop(chaos, service, begun)
        chaos.expect(service.process.wait(60) == 0, f"the exit code is {service.process.poll()}")
    handed_back = [job for job in jobs_of(home, wanted) if is_begun(job)]
    chaos.count(stops=1, jobs=jobs, downloads=downloads, handed_back=len(handed_back))
    if not chaos.found:
        finish(chaos, home, wanted)


def stop(chaos: Chaos, service: Service, downloads: list[Download]) -> None:
    service.process.terminate()
    try:
        wait_until(lambda: is_let_go(service), within_s=chaos.patience_s)
    except AssertionError:
        chaos.found.append(f"still at work: {service.children('worker')}; {leases(service.data)}")
    chaos.expect(service.process.poll() is None, "it ended before its downloads")
    for one in downloads:
        chaos.expect(one.rest() == expected(ROWS), "a download was cut off, or has other bytes")


def is_let_go(service: Service) -> bool:
    return not service.children("worker") and not leases(service.data)


def leases(data: Path) -> list[str]:
    with closing(sqlite3.connect(data / "meterport.db")) as connection:
        rows = connection.execute("SELECT id FROM jobs WHERE lease_until IS NOT NULL")
        return [job_id for (job_id,) in rows]


def jobs_of(home: make.Home, wanted: dict[str, int]) -> list[Job]:
    jobs = [home.services.jobs.get(job_id) for job_id in wanted]
    return [job for job in jobs if job is not None]


def done(home: make.Home, wanted: dict[str, int]) -> list[Job]:
    return [job for job in jobs_of(home, wanted) if job.status is not JobStatus.PENDING]


def is_begun(job: Job) -> bool:
    return job.status is JobStatus.PENDING and job.attempt > 0


def finish(chaos: Chaos, home: make.Home, wanted: dict[str, int]) -> None:
    """A new service has nothing to wait for, and finishes all of them."""
    with running(home.settings.data, workers=WORKERS) as service:
        for job_id, minutes in wanted.items():
            service.completed(job_id)
            whole = service.download(job_id) == expected(minutes)
            chaos.expect(whole, f"{job_id} has other bytes")
        chaos.expect(service.stop() == 0, "an idle service does not end well")
    for job in jobs_of(home, wanted):
        chaos.expect(job.crashes == 0, f"{job.id} counts its hand-back as a crash")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make.home(tmp_path_factory.mktemp("loaded"), make.many_readings(ROWS)).settings.data


@pytest.fixture
def home(loaded: Path, tmp_path: Path) -> make.Home:
    return make.copy_of(loaded, tmp_path)


def test_a_service_that_is_told_to_stop_frees_its_jobs_and_ends_its_downloads(
    chaos: Chaos, home: make.Home
) -> None:
    for _ in range(chaos.size(1, full=20)):
        stop_under_load(chaos, home)

    assert chaos.found == []


@pytest.mark.parametrize("variant", ["deaf_to_the_order_to_stop", "leases_kept_to_the_end"])
def test_workers_that_keep_their_jobs_are_caught(
    chaos: Chaos, home: make.Home, variant: str
) -> None:
    broken = chaos.toothless(variant)

    for _ in range(3):  # both workers may be between two jobs
        stop_under_load(broken, home, variant, jobs=20, downloads=2)
        if broken.found:
            break

    assert any("still at work" in accident for accident in broken.found)
