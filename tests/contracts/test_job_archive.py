"""What housekeeping, doctor and backup are told of many jobs, over every database that there is."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from meterport.adapters import sql_job_archive
from meterport.adapters.sql_database import Database
from meterport.adapters.sql_job_archive import SqlJobArchive
from meterport.adapters.sql_jobs import SqlJobs
from meterport.adapters.sql_leases import SqlLeases
from meterport.adapters.sql_tables import idempotency_keys
from meterport.domain.errors import LeaseTaken
from meterport.domain.jobs import Job, Lane
from meterport.ports import JobArchive, JobStore
from tests import make
from tests.contracts.conftest import wait_until
from tests.contracts.jobs import (
    CHANGES,
    LEASE,
    NOBODYS,
    add,
    claim,
    claim_added,
    expired,
    file_of,
    get,
    rewrite,
)

HOUR = timedelta(hours=1)
LONG_AGO = datetime(2024, 1, 1, tzinfo=UTC)
A_YEAR = timedelta(days=365)


@pytest.fixture
def jobs(database: Database) -> JobStore:
    return SqlJobs(database)


@pytest.fixture
def archive(database: Database) -> JobArchive:
    return SqlJobArchive(database)


def completed(jobs: JobStore, *, keep: timedelta = HOUR) -> Job:
    job = claim_added(jobs)
    jobs.complete(job, file_of(job), keep=keep)
    return job


def needed(archive: JobArchive, job: Job, attempts: Collection[int]) -> list[int]:
    keys = archive.needed([f"{job.id}/{attempt}" for attempt in attempts])
    return sorted(int(key.rpartition("/")[2]) for key in keys)


def test_some_jobs_are_told_as_each_would_be(jobs: JobStore, archive: JobArchive) -> None:
    done, waiting = completed(jobs), add(jobs)

    found = archive.some([done.id, waiting.id, NOBODYS])

    assert found == {done.id: get(jobs, done), waiting.id: get(jobs, waiting)}
    assert archive.some([]) == {}


def test_only_the_newest_attempt_is_needed_while_it_lives(
    jobs: JobStore, archive: JobArchive
) -> None:
    first = claim_added(jobs)
    jobs.hand_back(first)
    second = claim(jobs)

    assert needed(archive, second, range(5)) == [2]


@pytest.mark.parametrize("end", ["hand_back", "fail", "retry"])
def test_an_attempt_that_let_go_without_a_file_is_not_needed(
    end: str, jobs: JobStore, archive: JobArchive
) -> None:
    job = claim_added(jobs)

    CHANGES[end](jobs, job)

    assert needed(archive, job, range(5)) == []


def test_an_expired_attempt_is_not_needed(jobs: JobStore, archive: JobArchive) -> None:
    add(jobs)

    job = expired(jobs)

    assert needed(archive, job, range(5)) == []


def test_of_a_completed_job_its_file_alone_is_needed(jobs: JobStore, archive: JobArchive) -> None:
    first = claim_added(jobs)
    jobs.hand_back(first)
    second = claim(jobs)

    jobs.complete(second, file_of(second))

    assert needed(archive, second, range(5)) == [2]


def test_a_file_is_needed_until_it_expires(jobs: JobStore, archive: JobArchive) -> None:
    job = completed(jobs, keep=timedelta(milliseconds=300))

    wait_until(lambda: get(jobs, job).expired)

    assert needed(archive, job, range(5)) == []


def test_the_file_of_an_unknown_job_is_not_needed(jobs: JobStore, archive: JobArchive) -> None:
    claim_added(jobs)

    assert archive.needed([f"{NOBODYS}/1", "no-id/1", "/1", "1", ""]) == set()


@pytest.mark.parametrize("attempt", [2**31, 2**63, 10**30])
def test_an_attempt_beyond_any_count_is_not_needed(
    attempt: int, jobs: JobStore, archive: JobArchive
) -> None:
    """Such a number comes from the name of a stray file, and the sweep asks for it."""
    job = claim_added(jobs)

    assert needed(archive, job, [attempt]) == []


def test_of_many_keys_the_needed_ones_are_found(
    jobs: JobStore, archive: JobArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_job_archive, "ROWS_PER_STATEMENT", 2)
    done = [completed(jobs).key for _ in range(5)]

    assert archive.needed([*done, f"{NOBODYS}/1"]) == set(done)


def test_the_results_are_the_files_that_rows_name(
    jobs: JobStore, archive: JobArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_job_archive, "ROWS_PER_STATEMENT", 2)
    done = [completed(jobs).key for _ in range(3)]
    at_work = claim_added(jobs)

    results = archive.results([*done, f"{at_work.id}/1", f"{done[0]}1", f"{NOBODYS}/1", "x/1"])

    assert results == set(done)


def test_the_kept_files_are_those_of_completed_jobs_that_have_not_expired(
    jobs: JobStore, archive: JobArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_job_archive, "ROWS_PER_STATEMENT", 2)
    done = [completed(jobs) for _ in range(5)]
    completed(jobs, keep=timedelta(seconds=-1))
    CHANGES["fail"](jobs, claim_added(jobs))
    claim_added(jobs)

    kept = list(archive.kept_files())

    assert kept == sorted((job.id, file_of(job)) for job in done)


def test_the_newest_jobs_come_first(jobs: JobStore, archive: JobArchive) -> None:
    added = [wait_until(lambda: add(jobs)) for _ in range(3)]

    assert {job.id for job in archive.recent(2)} <= {job.id for job in added}
    assert [job.created_at for job in archive.recent(9)] == sorted(
        (job.created_at for job in added), reverse=True
    )


def test_a_job_is_stranded_once_nobody_has_taken_it_for_a_while(
    jobs: JobStore, archive: JobArchive, database: Database
) -> None:
    old, new, held, waiting = (add(jobs) for _ in range(4))
    rewrite(database, old, updated_at=LONG_AGO)
    rewrite(database, held, updated_at=LONG_AGO, lease_until=datetime(2099, 1, 1, tzinfo=UTC))
    rewrite(database, waiting, updated_at=LONG_AGO, not_before=datetime(2099, 1, 1, tzinfo=UTC))

    assert archive.stranded(since=HOUR) == [(old.id, Lane.SMALL)]
    assert (new.id, Lane.SMALL) in archive.stranded(since=timedelta(0))


def test_a_job_whose_lease_ran_out_is_stranded(
    jobs: JobStore, archive: JobArchive, database: Database
) -> None:
    job = claim_added(jobs)
    rewrite(database, job, updated_at=LONG_AGO, lease_until=LONG_AGO)

    assert archive.stranded(since=HOUR) == [(job.id, Lane.SMALL)]


def test_the_oldest_version_in_use_is_that_of_an_unfinished_job_or_of_a_lease(
    jobs: JobStore, archive: JobArchive, database: Database
) -> None:
    unused = archive.oldest_version_in_use()
    done = claim_added(jobs)
    jobs.begin(done, source_version=1, rows_expected=1)
    jobs.complete(done, file_of(done))
    at_work = claim_added(jobs)
    jobs.begin(at_work, source_version=7, rows_expected=1)
    by_a_job = archive.oldest_version_in_use()
    with SqlLeases(database).holding("backup", readings_version=5):
        by_a_lease = archive.oldest_version_in_use()

    assert (unused, by_a_job, by_a_lease) == (None, 7, 5)
    assert archive.oldest_version_in_use() == 7


def test_records_are_forgotten_when_they_are_old_and_have_no_file(
    jobs: JobStore, archive: JobArchive, database: Database
) -> None:
    failed = claim_added(jobs)
    jobs.fail(failed, make.error())
    gone = completed(jobs, keep=timedelta(seconds=-1))
    kept = completed(jobs)
    young = completed(jobs, keep=timedelta(seconds=-1))
    pending = add(jobs)
    for job in (failed, gone, kept, pending):
        rewrite(database, job, created_at=LONG_AGO)

    forgotten = archive.forget(older_than=A_YEAR)

    assert forgotten == 2
    assert {job.id for job in archive.recent(9)} == {kept.id, pending.id, young.id}
    assert archive.forget(older_than=A_YEAR) == 0


def test_spent_idempotency_keys_are_forgotten_with_and_without_their_jobs(
    jobs: JobStore, archive: JobArchive, database: Database
) -> None:
    jobs.add(make.request(), owner="owner", idempotency_key="old")
    old = claim(jobs)
    jobs.fail(old, make.error())
    rewrite(database, old, created_at=LONG_AGO)
    jobs.add(make.request(), owner="owner", idempotency_key="spent")
    with database.write() as connection:
        spent = idempotency_keys.update().where(idempotency_keys.c.key == "spent")
        connection.execute(spent.values(created_at=LONG_AGO))
    fresh = jobs.add(make.request(), owner="owner", idempotency_key="fresh").job

    archive.forget(older_than=A_YEAR)

    with database.read() as connection:
        left = connection.execute(select(idempotency_keys.c.job_id)).scalars().all()
        count = connection.execute(select(func.count()).select_from(idempotency_keys)).scalar()
    assert (left, count) == ([fresh.id], 1)


def test_a_lease_is_held_by_one_at_a_time_and_names_are_apart(database: Database) -> None:
    leases = SqlLeases(database)
    with leases.holding("housekeeping") as lease:
        with pytest.raises(LeaseTaken), leases.holding("housekeeping"):
            pass
        with leases.holding("backup") as other:
            other.check()
        lease.check()

    with leases.holding("housekeeping") as again:
        again.check()


def test_the_lease_of_a_worker_is_nothing_to_the_named_ones(
    jobs: JobStore, database: Database
) -> None:
    add(jobs)
    claim(jobs, LEASE)

    with SqlLeases(database).holding("worker-1") as lease:
        lease.check()
