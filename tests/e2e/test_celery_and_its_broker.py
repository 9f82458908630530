"""A Celery worker outlives whatever becomes of its connections to the broker, also in a job."""

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from meterport.domain.jobs import Job, JobId, JobStatus
from tests import brokers, make
from tests.brokers import Valkey
from tests.chaos.broken_celery import HELD
from tests.chaos.harness import spoilt
from tests.e2e.machines import CELERY, QUEUES, end, started
from tests.e2e.service import ENVIRONMENT, wait_until

MINUTES = 10


@dataclass
class Worker:
    """A real one, whose jobs stay at work until `let_go`."""

    home: make.Home
    broker: Valkey
    process: subprocess.Popen[str]
    held: Path
    log: Path

    def begin(self) -> str:
        """A job at work."""
        job_id = self.home.submit(make.request(minutes=MINUTES)).id
        wait_until(lambda: self.job(job_id).attempt == 1)
        return job_id

    def let_go(self) -> None:
        self.held.unlink()

    def lose_broker(self) -> None:
        """The connection for commands to all workers ends first, that for messages right after.

        Both before the worker can look; and it does while the broker is away.
        """
        os.kill(self.process.pid, signal.SIGSTOP)
        self.broker.close_subscriptions()
        self.broker.kill()
        os.kill(self.process.pid, signal.SIGCONT)
        wait_until(self.has_noticed)

    def has_noticed(self) -> bool:
        log = self.log.read_text()
        said = ("Connection to broker lost", "consumer_crashed", "Unrecoverable error")
        return any(words in log for words in said)

    def lives(self) -> bool:
        return self.process.poll() is None

    def completes(self, job_id: str) -> bool:
        """Told again until then: what goes into a connection that just died is lost."""
        job = self.job(job_id)
        self.home.services.dispatcher.wake(job.id, job.lane)
        return job.status is JobStatus.COMPLETED

    def completes_or_ends(self, job_id: str) -> bool:
        return self.completes(job_id) or not self.lives()

    def job(self, job_id: str) -> Job:
        job = self.home.services.jobs.get(JobId(job_id))
        assert job is not None
        return job


@pytest.fixture
def broker() -> Iterator[Valkey]:
    with brokers.valkey() as server:
        yield server


@pytest.fixture
def worker(
    request: pytest.FixtureRequest, tmp_path: Path, broker: Valkey, pool: str
) -> Iterator[Worker]:
    variants = getattr(request, "param", ())
    home = make.home(tmp_path, make.many_readings(MINUTES), broker_url=broker.url)
    held = tmp_path / "held"
    held.touch()
    environment = ENVIRONMENT | {
        "METERPORT_DATA": str(home.settings.data),
        "METERPORT_BROKER_URL": broker.url,
        "METERPORT_LOG_FORMAT": "json",
        HELD: str(held),
        **spoilt("held_exports", *variants),
    }
    process = started([*CELERY, "-P", pool, *QUEUES], environment, tmp_path / "log")
    try:
        yield Worker(home, broker, process, held, tmp_path / "log")
    finally:
        end(process)
        home.services.close()


@pytest.mark.parametrize(
    ("pool", "worker"),
    [
        ("prefork", ()),
        ("threads", ()),
        ("threads", ("failing_clean_up",)),
        ("threads", ("failing_reader",)),
    ],
    indirect=["worker"],
)
def test_a_worker_with_a_job_at_work_outlives_its_brokers_end(worker: Worker) -> None:
    at_work = worker.begin()

    worker.lose_broker()
    worker.broker.start()

    after = worker.home.submit(make.request(minutes=MINUTES)).id
    worker.let_go()
    wait_until(lambda: worker.completes_or_ends(after))
    assert worker.lives(), worker.log.read_text()[-5000:]
    wait_until(lambda: worker.job(at_work).status is JobStatus.COMPLETED)
    assert worker.job(at_work).attempt == 1


@pytest.mark.parametrize("pool", ["threads"])
@pytest.mark.parametrize(
    "worker",
    [("celerys_own_consumer",), ("celerys_own_consumer", "failing_reader")],
    indirect=True,
)
def test_a_worker_that_ends_with_its_broker_is_caught(worker: Worker) -> None:
    worker.begin()

    worker.lose_broker()

    worker.let_go()
    wait_until(lambda: not worker.lives())
