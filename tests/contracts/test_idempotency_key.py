"""The laws of Idempotency-Key: one request, one job, however often it is sent."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update

from meterport.adapters import sql_tables
from meterport.adapters.sql_database import Database
from meterport.adapters.sql_jobs import SqlJobs
from meterport.domain.errors import IdempotencyKeyReused
from meterport.domain.exports import ExportFile, ExportRequest
from meterport.domain.jobs import JobStatus, Lease
from meterport.domain.period import Period
from meterport.ports import JobStore
from tests import make
from tests.contracts.conftest import at_once

REQUEST = make.request()
START, END = REQUEST.period.start, REQUEST.period.end
A_SECOND = timedelta(seconds=1)


@pytest.fixture
def jobs(database: Database) -> JobStore:
    return SqlJobs(database)


def count(database: Database, table: str) -> int:
    counted = select(func.count()).select_from(sql_tables.metadata.tables[table])
    with database.read() as connection:
        return connection.execute(counted).scalar_one()


def age_keys(database: Database, age: timedelta) -> None:
    values = {"created_at": datetime.now(UTC) - age}
    with database.write() as connection:
        connection.execute(update(sql_tables.idempotency_keys).values(values))


def test_the_same_request_with_the_same_key_is_the_same_job(
    jobs: JobStore, database: Database
) -> None:
    first = jobs.add(REQUEST, owner="owner", idempotency_key="key")

    second = jobs.add(make.request(), owner="owner", idempotency_key="key")

    assert not first.replayed
    assert second.replayed
    assert second.job == first.job
    assert count(database, "jobs") == 1


def test_without_a_key_each_request_is_a_job(jobs: JobStore, database: Database) -> None:
    first = jobs.add(REQUEST, owner="owner")

    second = jobs.add(REQUEST, owner="owner")

    assert not second.replayed
    assert second.job.id != first.job.id
    assert count(database, "jobs") == 2


def test_a_replay_shows_the_job_as_it_is_now(jobs: JobStore) -> None:
    jobs.add(REQUEST, owner="owner", idempotency_key="key")
    claimed = jobs.claim(Lease("worker"))
    assert claimed is not None
    jobs.complete(claimed, ExportFile(claimed.key, 60, 2000, "ab" * 32))

    replay = jobs.add(REQUEST, owner="owner", idempotency_key="key")

    assert replay.replayed
    assert replay.job.id == claimed.id
    assert replay.job.status is JobStatus.COMPLETED


@pytest.mark.parametrize(
    "other",
    [
        ExportRequest("124", REQUEST.period),
        ExportRequest("123", Period(START + timedelta(microseconds=1), END)),
        ExportRequest("123", Period(START, END + timedelta(microseconds=1))),
        ExportRequest("123", REQUEST.period, "json"),
    ],
    ids=["meter", "start", "end", "format"],
)
def test_another_request_with_the_same_key_is_refused_and_not_stored(
    other: ExportRequest, jobs: JobStore, database: Database
) -> None:
    jobs.add(REQUEST, owner="owner", idempotency_key="key")

    with pytest.raises(IdempotencyKeyReused, match="use a new key"):
        jobs.add(other, owner="owner", idempotency_key="key")

    assert count(database, "jobs") == 1
    assert jobs.add(REQUEST, owner="owner", idempotency_key="key").replayed


@pytest.mark.parametrize(("owner", "key"), [("owner", "KEY"), ("other", "key"), ("ownerk", "ey")])
def test_another_key_or_owner_is_another_job(owner: str, key: str, jobs: JobStore) -> None:
    first = jobs.add(REQUEST, owner="owner", idempotency_key="key")

    second = jobs.add(REQUEST, owner=owner, idempotency_key=key)

    assert not second.replayed
    assert second.job.id != first.job.id


def test_a_key_is_remembered_for_a_day(jobs: JobStore, database: Database) -> None:
    first = jobs.add(REQUEST, owner="owner", idempotency_key="key")
    age_keys(database, timedelta(hours=23, minutes=59))

    again = jobs.add(REQUEST, owner="owner", idempotency_key="key")

    assert again.replayed
    assert again.job.id == first.job.id


@pytest.mark.parametrize("request_", [REQUEST, make.request("124")], ids=["same", "other"])
def test_a_key_older_than_a_day_is_forgotten(
    request_: ExportRequest, jobs: JobStore, database: Database
) -> None:
    first = jobs.add(REQUEST, owner="owner", idempotency_key="key")
    age_keys(database, timedelta(hours=24) + A_SECOND)

    again = jobs.add(request_, owner="owner", idempotency_key="key")
    replay = jobs.add(request_, owner="owner", idempotency_key="key")

    assert not again.replayed
    assert again.job.id != first.job.id
    assert replay.replayed
    assert replay.job == again.job


def test_twenty_posts_with_one_key_at_once_make_one_job(jobs: JobStore, database: Database) -> None:
    added = at_once(20, lambda _: jobs.add(REQUEST, owner="owner", idempotency_key="key"))

    assert len({submission.job.id for submission in added}) == 1
    assert [submission.replayed for submission in added].count(False) == 1
    assert (count(database, "jobs"), count(database, "idempotency_keys")) == (1, 1)


def test_twenty_posts_at_once_with_a_forgotten_key_make_one_job(
    jobs: JobStore, database: Database
) -> None:
    first = jobs.add(REQUEST, owner="owner", idempotency_key="key")
    age_keys(database, timedelta(hours=25))

    added = at_once(20, lambda _: jobs.add(REQUEST, owner="owner", idempotency_key="key"))

    (job_id,) = {submission.job.id for submission in added}
    assert job_id != first.job.id
    assert [submission.replayed for submission in added].count(False) == 1
    assert (count(database, "jobs"), count(database, "idempotency_keys")) == (2, 1)


def test_twenty_different_posts_at_once_with_one_key_store_one_request(
    jobs: JobStore, database: Database
) -> None:
    def post(number: int) -> bool:
        try:
            jobs.add(make.request(str(number)), owner="owner", idempotency_key="key")
        except IdempotencyKeyReused:
            return False
        return True

    accepted = at_once(20, post)

    assert accepted.count(True) == 1
    assert count(database, "jobs") == 1
