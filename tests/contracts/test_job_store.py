"""The laws of a JobStore, over every database that there is."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from meterport.adapters import sql_tables
from meterport.adapters.sql_database import Database
from meterport.adapters.sql_jobs import SqlJobs
from meterport.domain.errors import SourceUnavailable
from meterport.domain.exports import ExportFile, ExportRequest
from meterport.domain.jobs import Hold, Job, JobError, JobStatus, Lease
from meterport.domain.period import Period
from meterport.ports import JobStore
from tests.contracts.conftest import at_once, wait_until
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
    get,
    rewrite,
)


@pytest.fixture
def jobs(database: Database) -> JobStore:
    return SqlJobs(database)


def test_a_job_is_kept_as_it_was_asked_for(jobs: JobStore) -> None:
    start = datetime(2024, 1, 1, 0, 0, 0, 1, tzinfo=UTC)
    end = datetime(2024, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    request = ExportRequest("a.B_c:d-9", Period(start, end), "parquet")

    added = jobs.add(request, owner="somebody")

    kept = get(jobs, added.job)
    assert kept == added.job
    assert kept == Job(
        id=kept.id,
        request=request,
        status=JobStatus.PENDING,
        created_at=kept.created_at,
        updated_at=kept.updated_at,
        owner="somebody",
        attempt=0,
        crashes=0,
        started_at=None,
        rows_written=0,
        rows_expected=None,
        source_version=None,
        file=None,
        error=None,
    )
    assert not added.replayed


def test_the_times_of_a_job_are_in_utc(jobs: JobStore) -> None:
    add(jobs)

    job = claim(jobs)

    a_minute = timedelta(minutes=1)
    for time in (job.created_at, job.updated_at, job.started_at):
        assert time is not None
        assert time.utcoffset() == timedelta(0)
        assert abs(time - datetime.now(UTC)) < a_minute
    assert job.request.period.start.utcoffset() == timedelta(0)


def test_the_clock_of_jobs_is_finer_than_a_second(jobs: JobStore) -> None:
    """Or a lease would end up to a second early."""
    assert wait_until(lambda: add(jobs).created_at.microsecond, within_s=5)


@pytest.mark.parametrize(
    "job_id",
    [
        NOBODYS,
        "",
        "1",
        "1e5",
        "0",
        "None",
        "0000000000004000800000000000000a",
        "{00000000-0000-4000-8000-000000000000}",
        "urn:uuid:00000000-0000-4000-8000-000000000000",
        "00000000-0000-4000-8000-00000000000\x00",
        "\ud800",
        "' OR 1=1 --",
        "9" * 100_000,
    ],
    ids=lambda job_id: ascii(job_id[:40]),
)
def test_an_unknown_or_malformed_id_is_no_job(jobs: JobStore, job_id: str) -> None:
    add(jobs)

    found = jobs.get(job_id)

    assert found is None


def test_an_empty_store_has_nothing_to_claim(jobs: JobStore) -> None:
    assert jobs.claim(LEASE) is None


def test_the_oldest_job_is_claimed_first(jobs: JobStore, database: Database) -> None:
    third, first, second = (add(jobs, meter=meter) for meter in ("third", "first", "second"))
    for job, day in ((third, 3), (first, 1), (second, 2)):
        rewrite(database, job, created_at=datetime(2024, 1, day, tzinfo=UTC))

    claimed = [claim(jobs).request.smart_meter_id for _ in range(3)]

    assert claimed == ["first", "second", "third"]


def test_a_claim_begins_the_first_attempt(jobs: JobStore) -> None:
    added = add(jobs)

    job = claim(jobs)

    assert job == get(jobs, added)
    assert (job.id, job.status, job.attempt, job.crashes) == (added.id, JobStatus.PENDING, 1, 0)
    assert job.key == f"{added.id}/1"
    assert job.started_at is not None
    assert job.started_at >= added.created_at


def test_a_claimed_job_is_not_claimed_by_another(jobs: JobStore) -> None:
    add(jobs)
    claim(jobs)

    assert jobs.claim(OTHERS) is None


def test_a_job_whose_lease_ran_out_is_claimed_again_as_a_crash(jobs: JobStore) -> None:
    add(jobs)
    first = claim(jobs, BRIEF)

    again = wait_until(lambda: jobs.claim(OTHERS))

    assert (again.id, again.attempt, again.crashes) == (first.id, 2, 1)
    assert again.started_at == first.started_at


def test_each_lease_that_runs_out_counts_as_a_crash(jobs: JobStore) -> None:
    add(jobs)

    attempts = [wait_until(lambda: jobs.claim(BRIEF)) for _ in range(4)]

    assert [(job.attempt, job.crashes) for job in attempts] == [(1, 0), (2, 1), (3, 2), (4, 3)]


def test_a_job_that_was_handed_back_is_claimed_at_once_and_is_no_crash(jobs: JobStore) -> None:
    add(jobs)
    first = claim(jobs)

    handed_back = jobs.hand_back(first)

    again = claim(jobs, OTHERS)
    assert handed_back
    assert (again.id, again.attempt, again.crashes) == (first.id, 2, 0)


def test_twenty_claims_at_once_take_each_of_ten_jobs_once(jobs: JobStore) -> None:
    added = {add(jobs).id for _ in range(10)}

    claimed = at_once(20, lambda number: jobs.claim(Lease(f"worker-{number}")))

    taken = [job for job in claimed if job is not None]
    assert len(taken) == 10
    assert {job.id for job in taken} == added
    assert {job.attempt for job in taken} == {1}


def test_a_renewed_lease_runs_for_its_new_duration(jobs: JobStore, database: Database) -> None:
    add(jobs)
    job = claim(jobs)
    lease_until = select(sql_tables.jobs.c.lease_until)
    with database.read() as connection:
        before = connection.execute(lease_until).scalar_one()

    renewed = jobs.renew(job, Lease("worker-1", timedelta(hours=3)), rows_written=0)

    with database.read() as connection:
        after = connection.execute(lease_until).scalar_one()
    assert renewed is Hold.HELD
    assert timedelta(hours=2) <= after - before < timedelta(hours=2, minutes=2)


def test_rows_written_never_fall_not_even_when_an_attempt_begins_anew(jobs: JobStore) -> None:
    add(jobs)
    first = claim(jobs)
    seen = []

    for rows in (0, 700, 300):
        jobs.renew(first, LEASE, rows_written=rows)
        seen.append(get(jobs, first).rows_written)
    jobs.hand_back(first)
    second = claim(jobs)
    seen.append(second.rows_written)
    for rows in (100, 800):
        jobs.renew(second, LEASE, rows_written=rows)
        seen.append(get(jobs, second).rows_written)

    assert seen == [0, 700, 700, 700, 700, 800]


def test_a_later_attempt_knows_what_the_first_one_pinned(jobs: JobStore) -> None:
    add(jobs)
    first = claim(jobs)

    begun = jobs.begin(first, source_version=7, rows_expected=3_000_000_000)
    jobs.hand_back(first)

    second = claim(jobs)
    assert begun
    assert (second.source_version, second.rows_expected) == (7, 3_000_000_000)


def test_a_completed_job_names_its_file(jobs: JobStore) -> None:
    job = claim_added(jobs)

    completed = jobs.complete(job, ExportFile(job.key, 44640, 5_000_000_000, "ab" * 32))

    kept = get(jobs, job)
    assert completed
    assert kept.status is JobStatus.COMPLETED
    assert kept.file == ExportFile(f"{job.id}/1", 44640, 5_000_000_000, "ab" * 32)
    assert kept.rows_written == 44640
    assert kept.error is None


def test_a_failed_job_names_its_error(jobs: JobStore) -> None:
    job = claim_added(jobs)

    failed = jobs.fail(job, SourceUnavailable("The store “ëß” is away", "Details"))

    kept = get(jobs, job)
    assert failed
    assert kept.status is JobStatus.FAILED
    assert kept.error == JobError("SOURCE_UNAVAILABLE", "The store “ëß” is away", "Details")
    assert kept.file is None


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_moves_updated_at_and_leaves_created_at(
    change: str, jobs: JobStore, database: Database
) -> None:
    job = claim_added(jobs)
    long_ago = datetime(2024, 1, 1, tzinfo=UTC)
    rewrite(database, job, created_at=long_ago, updated_at=long_ago)

    CHANGES[change](jobs, job)

    kept = get(jobs, job)
    assert kept.created_at == long_ago
    assert kept.updated_at > long_ago


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_touches_no_other_job(change: str, jobs: JobStore) -> None:
    others = claim_added(jobs)
    job = claim_added(jobs)

    CHANGES[change](jobs, job)

    assert get(jobs, others) == others


@pytest.mark.parametrize("change", CHANGES)
def test_a_stale_attempt_changes_nothing(change: str, jobs: JobStore) -> None:
    add(jobs)
    stale = claim(jobs, BRIEF)
    newest = wait_until(lambda: jobs.claim(OTHERS))

    done = CHANGES[change](jobs, stale)

    assert not done
    assert get(jobs, newest) == newest
    assert jobs.renew(newest, OTHERS, rows_written=1) is Hold.HELD


@pytest.mark.parametrize("change", CHANGES)
def test_an_attempt_that_handed_its_job_back_changes_nothing(change: str, jobs: JobStore) -> None:
    job = claim_added(jobs)
    jobs.hand_back(job)
    before = get(jobs, job)

    done = CHANGES[change](jobs, job)

    assert not done
    assert get(jobs, job) == before


@pytest.mark.parametrize("change", CHANGES)
def test_an_expired_lease_never_revives(change: str, jobs: JobStore) -> None:
    add(jobs)
    job = expired(jobs)

    done = CHANGES[change](jobs, job)

    assert not done
    assert get(jobs, job) == job
    assert claim(jobs, OTHERS).attempt == 2


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("change", CHANGES)
def test_a_job_that_has_ended_stays_as_it_is(end: str, change: str, jobs: JobStore) -> None:
    job = claim_added(jobs)
    assert CHANGES[end](jobs, job)
    ended = get(jobs, job)

    done = CHANGES[change](jobs, job)

    assert not done
    assert get(jobs, job) == ended
    assert jobs.claim(OTHERS) is None


@pytest.mark.parametrize("change", CHANGES)
def test_a_job_that_does_not_exist_cannot_be_changed(change: str, jobs: JobStore) -> None:
    job = replace(claim_added(jobs), id=NOBODYS)

    assert not CHANGES[change](jobs, job)
