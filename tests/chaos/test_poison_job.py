"""R25: a job that kills every worker that takes it. It fails after five; the others run on."""

from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

from meterport.domain.jobs import Job, JobStatus
from meterport.services.sweep import sweep
from tests import make
from tests.chaos.harness import Chaos, spoilt, wait_until
from tests.e2e.service import Error, Service, csv_of, running

pytestmark = pytest.mark.promise("R25")

ROWS, POISONED_ROWS = 5_000, 60
CRASHES, TOO_MANY = 5, 7
POISON = "poison_kills_its_worker"
SOON: dict[str, Any] = {"METERPORT_JOB_LEASE_S": 0.5, "METERPORT_WORKER_RESTART_S": 0}
GIVEN_UP = Error(
    code="EXPORT_CRASHED",
    message="The export was given up after 5 attempts that ended with their worker",
    details="The worker's log names the cause; then ask for the export again",
)


@cache
def expected(minutes: int) -> bytes:
    return csv_of("123", first=0, rows=minutes)


@dataclass
class Others:
    """Jobs that harm nobody, posted before, while and after the poison is at work."""

    chaos: Chaos
    home: make.Home
    service: Service
    wanted: dict[str, int] = field(default_factory=dict)

    def post(self) -> None:
        minutes = self.chaos.random.choice([1, 60, 1440, ROWS])
        self.wanted[self.service.create("123", minutes=minutes)] = minutes

    def post_if_idle(self) -> None:
        newest = list(self.wanted)[-3:]
        if all(job_of(self.home, job_id).status is not JobStatus.PENDING for job_id in newest):
            self.post()

    def check(self) -> None:
        for job_id, minutes in self.wanted.items():
            self.service.completed(job_id)
            whole = self.service.download(job_id) == expected(minutes)
            self.chaos.expect(whole, f"{job_id} has other bytes")


def job_of(home: make.Home, job_id: str) -> Job:
    job = home.services.jobs.get(job_id)
    assert job is not None
    return job


def poison(chaos: Chaos, home: make.Home, *variants: str, jobs: int) -> None:
    data = home.settings.data
    with running(data, workers=2, **SOON, **spoilt(POISON, *variants)) as service:
        others = Others(chaos, home, service)
        poisoned = []
        for _ in range(jobs):
            for _ in range(chaos.random.randint(1, 5)):
                others.post()
            poisoned.append(service.create("poison", minutes=POISONED_ROWS))
        for job_id in poisoned:
            wait_until(partial(tried_enough, others, job_id), every_s=0.05)
            check_poisoned(chaos, others, job_id)
        others.post()
        if not chaos.found:
            others.check()
        service.workers()
    check_leftovers(chaos, home)
    chaos.count(poisoned=jobs, others=len(others.wanted))


def tried_enough(others: Others, job_id: str) -> bool:
    others.post_if_idle()
    job = job_of(others.home, job_id)
    return job.status is not JobStatus.PENDING or job.attempt >= TOO_MANY


def check_poisoned(chaos: Chaos, others: Others, job_id: str) -> None:
    job = job_of(others.home, job_id)
    if job.status is JobStatus.PENDING:
        chaos.found.append(f"{job_id} is at its attempt {job.attempt}, and not given up")
        return
    failed = others.service.failed(job_id)
    chaos.expect(failed.error == GIVEN_UP, f"{job_id} says {failed.error}")
    chaos.expect(job.crashes == CRASHES, f"{job_id} was given up after {job.crashes}")
    chaos.count(workers_killed=job.crashes)


def check_leftovers(chaos: Chaos, home: make.Home) -> None:
    s = home.services
    sweep(archive=s.archive, objects=s.objects)
    named = sorted(file.key for _, file in s.archive.kept_files())
    left = sorted(set(s.objects.keys()) - set(named))
    chaos.expect(not left, f"left over: {left}")
    chaos.count(left_over=len(left))


@pytest.fixture
def home(tmp_path: Path) -> make.Home:
    poisoned = make.many_readings(POISONED_ROWS, meter="poison")
    return make.home(tmp_path, make.many_readings(ROWS), poisoned)


def test_a_job_that_kills_its_workers_is_given_up_and_the_others_run_on(
    chaos: Chaos, home: make.Home
) -> None:
    poison(chaos, home, jobs=chaos.size(1, full=20))

    assert chaos.found == []


def test_a_service_that_never_gives_such_a_job_up_is_caught(chaos: Chaos, home: make.Home) -> None:
    broken = chaos.toothless("crashes_without_end")

    poison(broken, home, "crashes_without_end", jobs=1)

    assert any("not given up" in accident for accident in broken.found)
