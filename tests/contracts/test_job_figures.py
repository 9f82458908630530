"""JobCounts: what /metrics tells of the jobs, by sums over their table."""

from datetime import timedelta

import pytest
from sqlalchemy import insert

from meterport.adapters.sql_database import Database, db_now
from meterport.adapters.sql_figures import SqlFigures
from meterport.adapters.sql_jobs import SqlJobs
from meterport.adapters.sql_tables import job_parts
from meterport.domain.figures import JobFigures, JobState
from meterport.domain.jobs import Job
from tests import make
from tests.contracts.jobs import (
    ERROR,
    add,
    claim_added,
    expired,
    file_of,
    rewrite,
)

NONE = dict.fromkeys(JobState, 0)


@pytest.fixture
def jobs(database: Database) -> SqlJobs:
    return SqlJobs(database)


def figures(database: Database) -> JobFigures:
    return SqlFigures(database).figures()


def completed(jobs: SqlJobs) -> Job:
    job = claim_added(jobs)
    assert jobs.complete(job, file_of(job))
    return job


def test_without_jobs_everything_is_nought(database: Database) -> None:
    assert figures(database) == JobFigures(NONE, 0.0, 0, 0, 0, 0, [])


def test_jobs_are_counted_by_state(database: Database, jobs: SqlJobs) -> None:
    completed(jobs)
    rewrite(database, completed(jobs), expires_at=db_now(-timedelta(days=1)))
    jobs.fail(claim_added(jobs), ERROR)
    claim_added(jobs)
    add(jobs)
    add(jobs)
    jobs.cancel(add(jobs).id)

    assert figures(database).jobs == {
        JobState.QUEUED: 2,
        JobState.RUNNING: 1,
        JobState.COMPLETED: 1,
        JobState.EXPIRED: 1,
        JobState.FAILED: 1,
        JobState.CANCELLED: 1,
    }


def test_the_age_is_that_of_the_oldest_queued_job(database: Database, jobs: SqlJobs) -> None:
    claim_added(jobs)
    rewrite(database, add(jobs), created_at=db_now(-timedelta(hours=2)))
    add(jobs)

    assert 7_200 <= figures(database).oldest_queued_s < 7_300


def test_a_job_that_lost_its_worker_is_queued_again(database: Database, jobs: SqlJobs) -> None:
    add(jobs)
    expired(jobs)

    assert figures(database).jobs == NONE | {JobState.QUEUED: 1}


def test_rows_and_bytes_are_sums_that_exceed_32_bits(database: Database, jobs: SqlJobs) -> None:
    for _ in range(3):
        rewrite(database, completed(jobs), record_count=2_000_000_000)

    found = figures(database)

    assert (found.rows, found.size_bytes) == (6_000_000_000, 15_000_000_000)


def test_lost_claims_and_retries_are_counted_of_parts_too(
    database: Database, jobs: SqlJobs
) -> None:
    job = claim_added(jobs)
    rewrite(database, job, crashes=2, retries=1)
    with database.write() as connection:
        part = {
            "job_id": job.id,
            "number": 1,
            "first_meter": 0,
            "end_meter": 1,
            "start_datetime": make.JANUARY,
            "end_datetime": make.JANUARY,
            "status": "pending",
            "updated_at": make.JANUARY,
            "attempt": 0,
            "crashes": 3,
            "retries": 4,
            "rows_written": 0,
            "rows_expected": 0,
            "is_last": True,
        }
        connection.execute(insert(job_parts).values(part))

    found = figures(database)

    assert (found.crashes, found.retries) == (5, 5)


def test_durations_are_of_what_was_completed_within_a_day(
    database: Database, jobs: SqlJobs
) -> None:
    for hours, seconds in ((1, 90), (30, 5)):
        ended = db_now(-timedelta(hours=hours))
        began = db_now(-timedelta(hours=hours, seconds=seconds))
        rewrite(database, completed(jobs), started_at=began, updated_at=ended)
    jobs.fail(claim_added(jobs), ERROR)

    (duration_s,) = figures(database).durations_s

    assert duration_s == pytest.approx(90, abs=1)
