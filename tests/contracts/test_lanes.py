"""Who is served next: lanes keep small jobs apart from large ones, and owners share alike."""

import pytest

from meterport.adapters.sql_database import Database
from meterport.adapters.sql_jobs import SqlJobs
from meterport.domain.exports import ExportRequest
from meterport.domain.fleets import Part
from meterport.domain.jobs import Job, Lane, Lease
from meterport.ports import JobStore
from tests import make
from tests.contracts.conftest import at_once
from tests.contracts.jobs import LEASE, claim, file_of
from tests.contracts.parts import split


@pytest.fixture
def jobs(database: Database) -> JobStore:
    return SqlJobs(database)


def added(jobs: JobStore, owner: str, lane: Lane = Lane.SMALL) -> Job:
    return jobs.add(make.request(), owner=owner, lane=lane).job


@pytest.mark.parametrize(
    ("rows", "lane"),
    [(0, Lane.SMALL), (1_000_000, Lane.SMALL), (1_000_001, Lane.LARGE), (10**9, Lane.LARGE)],
)
def test_the_lane_is_that_of_the_estimated_rows(rows: int, lane: Lane) -> None:
    assert Lane.of(rows) is lane


def test_a_job_keeps_its_lane(jobs: JobStore) -> None:
    large = added(jobs, "a", Lane.LARGE)

    assert large.lane is Lane.LARGE
    assert claim(jobs).lane is Lane.LARGE


def test_a_worker_of_the_small_lane_passes_large_jobs_by(jobs: JobStore) -> None:
    large = added(jobs, "a", Lane.LARGE)
    small = added(jobs, "a")

    first = jobs.claim(LEASE, [Lane.SMALL])
    second = jobs.claim(LEASE, [Lane.SMALL])
    third = jobs.claim(LEASE, [Lane.LARGE])

    assert first is not None
    assert third is not None
    assert (first.id, second, third.id) == (small.id, None, large.id)


def test_of_two_owners_the_one_with_fewer_jobs_at_work_is_next(jobs: JobStore) -> None:
    for _ in range(5):
        added(jobs, "busy")
    other = added(jobs, "other")

    taken = [claim(jobs).id for _ in range(2)]

    assert taken[1] == other.id


def test_owners_take_turns_whoever_asked_first(jobs: JobStore) -> None:
    mine = {added(jobs, "busy").id for _ in range(6)}
    theirs = {added(jobs, "other").id for _ in range(3)}

    taken = [claim(jobs).id for _ in range(6)]

    assert len(mine & set(taken)) == len(theirs & set(taken)) == 3


def test_owners_take_turns_also_where_one_worker_serves_all(jobs: JobStore) -> None:
    for _ in range(3):
        added(jobs, "busy")
    others = [added(jobs, owner).id for owner in ("other", "third")]

    served = [served_by_the_only_worker(jobs) for _ in range(5)]

    assert served[1:3] == others


def test_a_fleet_takes_turns_with_others_from_part_to_part(jobs: JobStore) -> None:
    fleet = split(jobs, "busy").id
    first, second = (added(jobs, "other").id for _ in range(2))

    served = [served_by_the_only_worker(jobs) for _ in range(4)]

    assert served == [first, fleet, second, fleet]


def served_by_the_only_worker(jobs: JobStore) -> str:
    job = claim(jobs)
    assert jobs.complete(job, file_of(job))
    return job.id


def test_a_job_that_has_ended_is_not_at_work(jobs: JobStore) -> None:
    added(jobs, "a")
    first = claim(jobs)
    second, third = added(jobs, "a"), added(jobs, "b")
    at_work = jobs.claim(LEASE)
    assert at_work is not None
    assert at_work.id == third.id

    jobs.complete(first, file_of(first))
    added(jobs, "b")

    assert claim(jobs).id == second.id


def test_claims_at_once_leave_no_job_untaken(jobs: JobStore) -> None:
    ids = {added(jobs, f"owner-{number % 3}").id for number in range(9)}

    claimed = at_once(9, lambda number: jobs.claim(Lease(f"worker-{number}")))
    rest = [job for job in (jobs.claim(LEASE) for _ in range(9)) if job is not None]

    assert {job.id for job in [*claimed, *rest] if job is not None} == ids


def test_whoever_names_a_job_gets_that_one_or_none(jobs: JobStore) -> None:
    older, named = added(jobs, "a"), added(jobs, "a")

    first = jobs.claim(LEASE, only=named.id)
    second = jobs.claim(LEASE, only=named.id)
    of_another_lane = jobs.claim(LEASE, [Lane.LARGE], only=older.id)

    assert first is not None
    assert (first.id, second, of_another_lane) == (named.id, None, None)
    assert claim(jobs).id == older.id


def test_whoever_names_a_fleet_gets_its_parts_and_no_others(jobs: JobStore) -> None:
    fleet, other = (
        jobs.add(ExportRequest.of_fleet(["A", "B"], make.period()), owner="a").job for _ in "12"
    )
    planned = [Part(n, n - 1, n, make.period(), 60, is_last=n == 2) for n in (1, 2)]
    for each in (jobs.claim(LEASE, only=fleet.id), jobs.claim(LEASE, only=other.id)):
        assert each is not None
        jobs.split(each, planned, source_version=1)

    claimed = [jobs.claim(LEASE, only=other.id) for _ in range(3)]

    assert [(job.id, job.part and job.part.number) for job in claimed if job] == [
        (other.id, 1),
        (other.id, 2),
    ]
    assert claim(jobs).id == fleet.id
