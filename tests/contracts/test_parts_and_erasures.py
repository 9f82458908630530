"""Erasures, and whom they meet: attempts at parts, plans, joiners; over every database."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from meterport.adapters.sql_database import Database
from meterport.adapters.sql_erasures import SqlErasures
from meterport.adapters.sql_job_archive import SqlJobArchive
from meterport.adapters.sql_jobs import SqlJobs
from meterport.adapters.sql_tables import job_parts
from meterport.domain.exports import ExportRequest
from meterport.domain.jobs import Hold, JobStatus, Lane
from meterport.ports import JobStore
from tests import make
from tests.contracts.jobs import ERROR, LEASE, OTHERS, claim, get
from tests.contracts.parts import THREE, finish_parts, part_file, plan, split, whole_file


@pytest.fixture
def jobs(database: Database) -> JobStore:
    return SqlJobs(database)


@pytest.fixture
def archive(database: Database) -> SqlJobArchive:
    return SqlJobArchive(database)


def rows_of_parts(database: Database, job_id: str) -> int:
    with database.read() as connection:
        of_it = select(func.count()).where(job_parts.c.job_id == job_id)
        return int(connection.execute(of_it).scalar_one())


def test_an_attempt_from_before_an_erasure_cannot_write_into_the_new_plan(
    jobs: JobStore, database: Database
) -> None:
    split(jobs)
    stale = claim(jobs)
    assert stale.part == THREE[0]
    SqlErasures(database).begin("elsewhere", version=8)
    planner = claim(jobs, OTHERS)
    two = plan((0, 2), (2, 4))
    assert jobs.split(planner, two, source_version=8)
    new = claim(jobs, OTHERS)
    assert new.part == two[0]

    assert new.key != stale.key
    assert jobs.renew(stale, LEASE, rows_written=1) is Hold.LOST
    assert not jobs.complete(stale, part_file(stale))


def test_a_stale_attempt_cannot_fail_the_new_plan(jobs: JobStore, database: Database) -> None:
    job = split(jobs)
    stale = claim(jobs)
    SqlErasures(database).begin("elsewhere", version=8)
    assert jobs.split(claim(jobs, OTHERS), THREE, source_version=8)
    claim(jobs, OTHERS)

    assert not jobs.fail(stale, ERROR)
    assert get(jobs, job).status is JobStatus.PENDING


def test_an_erasure_while_joining_takes_the_job_from_the_joiner(
    jobs: JobStore, database: Database, archive: SqlJobArchive
) -> None:
    job = split(jobs)
    finish_parts(jobs, 3)
    joining = claim(jobs)

    SqlErasures(database).begin("elsewhere", version=8)

    assert jobs.renew(joining, LEASE, rows_written=1) is Hold.LOST
    assert not jobs.complete(joining, whole_file(joining))
    assert get(jobs, job).status is JobStatus.PENDING


def test_a_redo_after_an_erasure_leaves_no_job_that_nobody_can_take(
    jobs: JobStore, database: Database
) -> None:
    job = split(jobs)
    done = finish_parts(jobs, 3)
    joining = claim(jobs)
    SqlErasures(database).begin("elsewhere", version=8)

    assert not jobs.redo(joining, [done[1].key])

    again = claim(jobs)
    assert (again.id, again.part) == (job.id, None)


def test_a_fleet_that_an_erasure_ended_loses_its_parts(
    jobs: JobStore, database: Database, archive: SqlJobArchive
) -> None:
    job = split(jobs)
    done = finish_parts(jobs, 1)[0]
    running = claim(jobs)

    SqlErasures(database).begin("C")

    assert get(jobs, job).status is JobStatus.FAILED
    assert archive.needed([done.key, running.key]) == set()
    assert jobs.renew(running, LEASE, rows_written=1) is Hold.LOST
    assert not jobs.complete(running, part_file(running))
    assert rows_of_parts(database, job.id) == 0


def test_parts_of_a_large_fleet_do_not_hide_a_stranded_small_job(
    jobs: JobStore, archive: SqlJobArchive
) -> None:
    many = plan(*((n, n + 1) for n in range(600)))
    jobs.add(
        ExportRequest.of_fleet([f"M{n}" for n in range(600)], make.period()),
        owner="a",
        lane=Lane.LARGE,
    )
    assert jobs.split(claim(jobs), many, source_version=1)
    small = jobs.add(make.request(), owner="b", lane=Lane.SMALL).job

    assert (small.id, Lane.SMALL) in archive.stranded(since=timedelta(0))


def test_a_part_whose_version_has_gone_lets_its_job_begin_anew(jobs: JobStore) -> None:
    job = split(jobs)
    done = finish_parts(jobs, 1)[0]
    part = claim(jobs)
    other = claim(jobs)

    assert jobs.replan(part)

    assert jobs.renew(other, LEASE, rows_written=1) is Hold.LOST
    assert not jobs.replan(other)
    again = claim(jobs)
    assert (again.id, again.part, again.source_version) == (job.id, None, None)
    assert jobs.split(again, THREE, source_version=9)
    assert claim(jobs).key not in (done.key, part.key, other.key)


def test_an_erasure_leaves_fleets_alone_that_read_its_own_version(
    jobs: JobStore, database: Database
) -> None:
    split(jobs)
    finish_parts(jobs, 1)
    running = claim(jobs)

    SqlErasures(database).begin("elsewhere", version=7)

    assert jobs.renew(running, LEASE, rows_written=1) is Hold.HELD


def test_a_job_that_is_called_off_is_neither_planned_nor_joined_anew(jobs: JobStore) -> None:
    jobs.add(ExportRequest.of_fleet("ABCD", make.period()), owner="owner")
    planner = claim(jobs)
    jobs.cancel(planner.id)

    assert not jobs.split(planner, THREE, source_version=7)

    assert jobs.renew(planner, LEASE, rows_written=0) is Hold.CANCELLED
