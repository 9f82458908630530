"""Jobs for the contract tests of a JobStore: made, claimed, let run out, changed in every way."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import update

from meterport.adapters import sql_tables
from meterport.adapters.sql_database import Database
from meterport.domain.errors import SourceUnavailable
from meterport.domain.exports import ExportFile
from meterport.domain.jobs import Hold, Job, JobId, Lease
from meterport.ports import JobStore
from tests import make
from tests.contracts.conftest import wait_until

LEASE = Lease("worker-1", timedelta(hours=1))
BRIEF = Lease("worker-1", timedelta(milliseconds=200))
OTHERS = Lease("worker-2", timedelta(hours=1))
NOBODYS = JobId("00000000-0000-4000-8000-000000000000")
OTHER = JobId("11111111-1111-4111-8111-111111111111")
ERROR = SourceUnavailable("The readings store cannot be read", "The service's log names the cause")

CHANGES: Mapping[str, Callable[[JobStore, Job], bool]] = {
    "renew": lambda jobs, job: jobs.renew(job, LEASE, rows_written=999) is not Hold.LOST,
    "begin": lambda jobs, job: jobs.begin(job, source_version=999, rows_expected=999),
    "complete": lambda jobs, job: jobs.complete(job, file_of(job)),
    "fail": lambda jobs, job: jobs.fail(job, ERROR),
    "retry": lambda jobs, job: jobs.retry(job, after=timedelta(0)),
    "hand_back": lambda jobs, job: jobs.hand_back(job),
}
ENDS = ("complete", "fail")


def file_of(job: Job) -> ExportFile:
    return ExportFile(job.key, rows=44640, size_bytes=5_000_000_000, sha256="ab" * 32)


def add(jobs: JobStore, meter: str = "123") -> Job:
    return jobs.add(make.request(meter), owner="owner").job


def get(jobs: JobStore, job: Job) -> Job:
    found = jobs.get(job.id)
    assert found is not None
    return found


def claim(jobs: JobStore, lease: Lease = LEASE) -> Job:
    job = jobs.claim(lease)
    assert job is not None
    return job


def claim_added(jobs: JobStore) -> Job:
    add(jobs)
    return claim(jobs)


def expired(jobs: JobStore) -> Job:
    """An attempt whose lease has run out, while nobody else has taken the job."""
    job = claim(jobs, BRIEF)
    wait_until(lambda: not CHANGES["begin"](jobs, job))
    return get(jobs, job)


def rewrite(database: Database, job: Job, **values: Any) -> None:
    """Change the row behind the store's back."""
    with database.write() as connection:
        connection.execute(
            update(sql_tables.jobs).where(sql_tables.jobs.c.id == job.id).values(**values)
        )
