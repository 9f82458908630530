"""How a job waits, is called off and expires, over every database that there is."""

from datetime import UTC, datetime, timedelta

import pytest

from meterport.adapters.sql_database import Database
from meterport.adapters.sql_jobs import SqlJobs
from meterport.domain.errors import ExportNotCancellable, JobNotFound
from meterport.domain.jobs import Hold, JobError, JobStatus, RetryPolicy
from meterport.ports import JobStore
from tests import make
from tests.contracts.conftest import wait_until
from tests.contracts.jobs import (
    BRIEF,
    CHANGES,
    ENDS,
    LEASE,
    NOBODYS,
    OTHERS,
    add,
    claim,
    claim_added,
    expired,
    file_of,
    get,
    rewrite,
)

HOUR = timedelta(hours=1)
CANCELLED = JobError(
    "EXPORT_CANCELLED",
    "The export was cancelled before it was finished",
    "Nothing of it is kept; ask for it again if it is wanted after all",
)


@pytest.fixture
def jobs(database: Database) -> JobStore:
    return SqlJobs(database)


def test_a_job_to_be_retried_later_is_claimed_by_nobody_before(
    jobs: JobStore, database: Database
) -> None:
    job = claim_added(jobs)

    done = jobs.retry(job, after=HOUR)

    assert done
    assert jobs.claim(OTHERS) is None
    rewrite(database, job, not_before=datetime(2024, 1, 1, tzinfo=UTC))
    again = claim(jobs, OTHERS)
    assert (again.id, again.attempt, again.retries, again.crashes) == (job.id, 2, 1, 0)


def test_a_job_that_waits_lets_the_next_one_pass(jobs: JobStore) -> None:
    first = claim_added(jobs)
    second = add(jobs)

    jobs.retry(first, after=HOUR)

    assert claim(jobs).id == second.id


def test_a_short_wait_ends_by_itself(jobs: JobStore) -> None:
    job = claim_added(jobs)

    jobs.retry(job, after=timedelta(milliseconds=100))

    assert wait_until(lambda: jobs.claim(OTHERS)).id == job.id


def test_the_wait_triples_and_ends_with_the_budget() -> None:
    policy = RetryPolicy(retries=3, first_delay=timedelta(seconds=1))

    waits = [policy.delay(n, jitter=0) for n in range(4)]

    assert waits == [*(timedelta(seconds=s) for s in (1, 3, 9)), None]
    assert policy.delay(1, jitter=1) == timedelta(seconds=1.5)


def test_a_job_that_nobody_works_on_is_cancelled_at_once(jobs: JobStore) -> None:
    job = add(jobs)

    cancelled = jobs.cancel(job.id)

    assert cancelled == get(jobs, job)
    assert (cancelled.status, cancelled.error) == (JobStatus.FAILED, CANCELLED)
    assert jobs.claim(LEASE) is None


def test_a_job_whose_worker_died_is_cancelled_at_once(jobs: JobStore) -> None:
    add(jobs)
    job = expired(jobs)

    assert jobs.cancel(job.id).error == CANCELLED


def test_a_job_that_waits_for_a_retry_is_cancelled_at_once(jobs: JobStore) -> None:
    job = claim_added(jobs)
    jobs.retry(job, after=HOUR)

    assert jobs.cancel(job.id).error == CANCELLED


def test_a_job_at_work_hears_that_it_is_cancelled(jobs: JobStore) -> None:
    job = claim_added(jobs)

    cancelled = jobs.cancel(job.id)

    assert cancelled.status is JobStatus.PENDING
    assert cancelled.cancel_requested
    assert jobs.renew(job, LEASE, rows_written=1) is Hold.CANCELLED


def test_a_cancelled_job_does_not_complete(jobs: JobStore) -> None:
    job = claim_added(jobs)
    jobs.cancel(job.id)

    completed = jobs.complete(job, file_of(job))

    assert not completed
    assert get(jobs, job).file is None
    assert jobs.renew(job, LEASE, rows_written=1) is Hold.CANCELLED


def test_whoever_claims_a_cancelled_job_is_told(jobs: JobStore) -> None:
    add(jobs)
    job = claim(jobs, BRIEF)
    jobs.cancel(job.id)

    assert wait_until(lambda: jobs.claim(OTHERS)).cancel_requested


@pytest.mark.parametrize("end", ENDS)
def test_a_job_that_has_ended_cannot_be_cancelled(end: str, jobs: JobStore) -> None:
    job = claim_added(jobs)
    CHANGES[end](jobs, job)
    before = get(jobs, job)

    with pytest.raises(ExportNotCancellable, match=str(before.status)):
        jobs.cancel(job.id)

    assert get(jobs, job) == before


@pytest.mark.parametrize("job_id", [NOBODYS, "no id", ""])
def test_a_job_that_does_not_exist_cannot_be_cancelled(job_id: str, jobs: JobStore) -> None:
    other = add(jobs)

    with pytest.raises(JobNotFound):
        jobs.cancel(job_id)

    assert get(jobs, other) == other


def test_cancelling_touches_no_other_job(jobs: JobStore) -> None:
    others = [claim_added(jobs), add(jobs)]
    job = add(jobs)

    jobs.cancel(job.id)

    assert [get(jobs, other) for other in others] == others


def test_a_file_expires_when_its_time_is_over(jobs: JobStore) -> None:
    job = claim_added(jobs)

    jobs.complete(job, file_of(job), keep=timedelta(milliseconds=100))

    wait_until(lambda: get(jobs, job).expired)

    kept = get(jobs, job)
    assert kept.status is JobStatus.COMPLETED
    assert kept.file == file_of(job)
    assert kept.expires_at is not None
    assert kept.expires_at - kept.updated_at < timedelta(seconds=2)


def test_a_file_is_kept_for_a_week_unless_said_otherwise(jobs: JobStore) -> None:
    job = claim_added(jobs)

    jobs.complete(job, file_of(job))

    kept = get(jobs, job)
    assert not kept.expired
    assert kept.expires_at is not None
    assert timedelta(0) <= kept.expires_at - kept.updated_at - timedelta(days=7) < HOUR


def test_a_job_may_ask_for_a_version_of_the_readings(jobs: JobStore) -> None:
    jobs.add(make.request(), owner="owner", source_version=7)

    assert claim(jobs).source_version == 7
