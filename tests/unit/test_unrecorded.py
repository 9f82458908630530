"""A worker that can claim a job but not record it, as on a full disk, tries less and less often."""

from typing import Any

from meterport.adapters.sql_database import Database
from meterport.adapters.sql_jobs import SqlJobs
from meterport.domain.errors import ServiceUnavailable
from meterport.domain.jobs import Job, JobStatus
from meterport.services.growing_wait import GrowingWait
from meterport.services.work_job import work_job
from tests import make
from tests.unit.exports import now, submitted, workplace

GROWING_S = [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]


class Full(SqlJobs):
    """While `full`, nothing but a claim and its end finds space."""

    full = True

    def begin(self, job: Job, **given: Any) -> bool:
        if self.full:
            raise ServiceUnavailable("database or disk is full")
        return super().begin(job, **given)


class Waits:
    """Never stops; a wait ends at once, and is noted."""

    def __init__(self) -> None:
        self.noted_s: list[float] = []

    def is_set(self) -> bool:
        return False

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.noted_s.append(timeout)
        return False


def test_the_wait_doubles_up_to_a_bound_and_is_short_again_after_a_success(
    home: make.Home,
) -> None:
    home.load(make.readings(0.5))
    job = submitted(home)
    jobs, waits = Full(Database(home.settings.jobs_url)), Waits()
    at = workplace(home, jobs=jobs, stopping=waits)

    for _ in GROWING_S:
        work_job(at)

    grown_s = [min(wait_s, at.lease.duration.total_seconds() / 4) for wait_s in GROWING_S]
    for noted_s, most_s in zip(waits.noted_s, grown_s, strict=True):
        assert most_s / 2 <= noted_s <= most_s
    jobs.full = False
    work_job(at)
    assert now(home, job).status is JobStatus.COMPLETED
    jobs.full = True
    submitted(home)
    work_job(at)
    assert waits.noted_s[-1] <= GROWING_S[0]


def test_jitter_takes_up_to_a_half_off() -> None:
    assert [GrowingWait().next_s(jitter=jitter) for jitter in (0.0, 0.5, 1.0)] == [0.5, 0.375, 0.25]
