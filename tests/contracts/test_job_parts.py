"""The parts of a fleet's job, over every database that there is: each with a lease of its own."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from meterport.adapters.sql_database import Database
from meterport.adapters.sql_erasures import SqlErasures, detach
from meterport.adapters.sql_job_archive import SqlJobArchive
from meterport.adapters.sql_jobs import SqlJobs
from meterport.domain.errors import ExportNotCancellable
from meterport.domain.exports import ExportRequest
from meterport.domain.jobs import Hold, Job, JobStatus, Lane
from meterport.ports import JobStore
from tests import make
from tests.contracts.conftest import at_once, wait_until
from tests.contracts.jobs import BRIEF, CHANGES, ERROR, LEASE, OTHERS, claim, get
from tests.contracts.parts import THREE, finish_parts, part_file, split, whole_file


@pytest.fixture
def jobs(database: Database) -> JobStore:
    return SqlJobs(database)


@pytest.fixture
def archive(database: Database) -> SqlJobArchive:
    return SqlJobArchive(database)


def test_a_fleets_job_says_a_star_and_keeps_its_meters_in_order(jobs: JobStore) -> None:
    request = ExportRequest.of_fleet(["B", "a", "B", "A", "10", "9"], make.period())

    job = jobs.add(request, owner="owner").job

    assert job.request.smart_meter_id == "*"
    assert jobs.meters(job) == ["10", "9", "A", "B", "a"]


def test_a_job_in_parts_is_given_out_part_by_part_in_order(jobs: JobStore) -> None:
    job = split(jobs)

    taken = [claim(jobs) for _ in range(3)]

    assert [(t.id, t.part, t.attempt, t.key) for t in taken] == [
        (job.id, THREE[0], 1, f"{job.id}/1-1"),
        (job.id, THREE[1], 1, f"{job.id}/2-1"),
        (job.id, THREE[2], 1, f"{job.id}/3-1"),
    ]
    assert [jobs.meters(t) for t in taken] == [["A"], ["B", "C"], ["D"]]
    assert {t.source_version for t in taken} == {7}
    assert jobs.claim(LEASE) is None


def test_workers_that_claim_at_once_take_different_parts(jobs: JobStore) -> None:
    split(jobs)

    taken = at_once(3, lambda _: jobs.claim(LEASE))
    rest = [jobs.claim(LEASE) for _ in range(3)]

    parts = [job.part.number for job in [*taken, *rest] if job is not None and job.part]
    assert sorted(parts) == [1, 2, 3]


def test_a_job_is_joined_when_its_last_part_is_done(jobs: JobStore) -> None:
    job = split(jobs)
    done = finish_parts(jobs, 3)

    joining = claim(jobs)

    assert (joining.id, joining.part, joining.parts_left, joining.attempt) == (job.id, None, 0, 2)
    assert jobs.pieces(joining) == [part_file(part) for part in done]
    assert jobs.complete(joining, whole_file(joining))
    ended = get(jobs, job)
    assert ended.file == whole_file(job)
    assert (ended.status, ended.rows_written, ended.crashes) == (JobStatus.COMPLETED, 60, 0)
    assert jobs.pieces(ended) == [part_file(part) for part in done]


def test_a_part_of_a_worker_that_died_is_free_again_and_no_other(jobs: JobStore) -> None:
    split(jobs)
    first, second = claim(jobs), claim(jobs)
    claim(jobs, BRIEF)

    again = wait_until(lambda: jobs.claim(OTHERS))

    assert again.part == THREE[2]
    assert (again.attempt, again.crashes) == (2, 1)
    assert jobs.renew(first, LEASE, rows_written=1) is Hold.HELD
    assert jobs.renew(second, LEASE, rows_written=1) is Hold.HELD


@pytest.mark.parametrize("change", sorted(set(CHANGES) - {"begin"}))
def test_an_attempt_that_lost_its_part_changes_nothing(change: str, jobs: JobStore) -> None:
    job = split(jobs)
    stale = claim(jobs, BRIEF)
    again = wait_until(lambda: jobs.claim(OTHERS) if get(jobs, job) else None)
    while again.part != stale.part:
        again = wait_until(lambda: jobs.claim(OTHERS))

    assert CHANGES[change](jobs, stale) is False

    assert get(jobs, job).status is JobStatus.PENDING
    assert get(jobs, job).parts_left == 3
    assert jobs.renew(again, OTHERS, rows_written=0) is Hold.HELD


def test_progress_is_that_of_all_parts_and_never_falls(jobs: JobStore) -> None:
    job = split(jobs)
    first, second = claim(jobs), claim(jobs)

    jobs.renew(first, LEASE, rows_written=30)
    jobs.renew(second, LEASE, rows_written=50)
    jobs.renew(second, LEASE, rows_written=5)

    progress = get(jobs, job).progress
    assert progress is not None
    assert (progress.records_written, progress.records_expected) == (80, 240)


def test_a_part_that_is_retried_waits_alone(jobs: JobStore) -> None:
    split(jobs)
    first = claim(jobs)

    assert jobs.retry(first, after=timedelta(hours=1))

    others = [claim(jobs), claim(jobs)]
    assert [job.part for job in others] == THREE[1:]
    assert jobs.claim(LEASE) is None


def test_a_part_that_is_handed_back_is_taken_again_at_once(jobs: JobStore) -> None:
    split(jobs)

    assert jobs.hand_back(claim(jobs))

    again = claim(jobs)
    assert (again.part, again.attempt, again.crashes) == (THREE[0], 2, 0)


def fail(jobs: JobStore, job: Job) -> None:
    assert jobs.fail(claim(jobs), ERROR)


def cancel(jobs: JobStore, job: Job) -> None:
    assert jobs.cancel(job.id).error is not None


@pytest.mark.parametrize("end", [fail, cancel])
def test_the_end_of_the_job_ends_its_parts(
    end: Callable[[JobStore, Job], None], jobs: JobStore, archive: SqlJobArchive
) -> None:
    job = split(jobs)
    done, running = finish_parts(jobs, 1)[0], claim(jobs)

    end(jobs, job)

    assert get(jobs, job).status is JobStatus.FAILED
    assert jobs.renew(running, LEASE, rows_written=1) is Hold.LOST
    assert not jobs.complete(running, part_file(running))
    assert jobs.claim(LEASE) is None
    assert archive.needed([done.key, running.key]) == set()
    with pytest.raises(ExportNotCancellable):
        jobs.cancel(job.id)


def test_a_damaged_part_is_written_anew_under_another_key(jobs: JobStore) -> None:
    job = split(jobs)
    done = finish_parts(jobs, 3)
    joining = claim(jobs)

    assert jobs.redo(joining, [done[1].key])

    again = claim(jobs)
    assert (again.part, again.key) == (THREE[1], f"{job.id}/2-2")
    assert jobs.claim(LEASE) is None
    assert jobs.complete(again, part_file(again))
    joined = claim(jobs)
    assert (joined.part, joined.retries) == (None, 1)
    assert [piece.key for piece in jobs.pieces(joined)] == [done[0].key, again.key, done[2].key]


def test_files_of_finished_and_of_live_parts_are_needed(
    jobs: JobStore, archive: SqlJobArchive
) -> None:
    job = split(jobs)
    done, running, dead = finish_parts(jobs, 1)[0], claim(jobs), claim(jobs, BRIEF)
    assert dead.part == THREE[2]
    wait_until(lambda: archive.stranded(since=timedelta(0)))

    keys = [f"{job.id}/{name}" for name in ("1", "2", "1-1", "1-2", "2-1", "2-2", "3-1", "4-1")]

    assert archive.needed(keys) == {done.key, running.key}


def test_the_files_of_a_finished_fleet_are_kept_until_they_expire(
    jobs: JobStore, archive: SqlJobArchive
) -> None:
    split(jobs)
    keys = [part.key for part in finish_parts(jobs, 3)]
    joining = claim(jobs)
    jobs.complete(joining, whole_file(joining), keep=timedelta(milliseconds=700))

    kept = [file.key for _, file in archive.kept_files()]

    assert kept == keys
    assert archive.needed(keys) == set(keys)
    wait_until(lambda: get(jobs, joining).expired)
    assert archive.needed(keys) == set()
    assert list(archive.kept_files()) == []


def test_each_free_part_is_stranded_and_its_waiting_job_is_not(
    jobs: JobStore, archive: SqlJobArchive
) -> None:
    job = split(jobs, lane=Lane.LARGE)
    claim(jobs)

    assert archive.stranded(since=timedelta(0)) == [(job.id, Lane.LARGE)] * 2
    assert archive.stranded(since=timedelta(hours=1)) == []


def test_parts_count_as_work_of_their_owner(jobs: JobStore) -> None:
    fleet = split(jobs, owner="busy")  # and so was served last
    first, second = (jobs.add(make.request(), owner="other").job for _ in range(2))

    taken = [claim(jobs).id for _ in range(5)]

    assert taken == [first.id, fleet.id, second.id, fleet.id, fleet.id]


def test_parts_stay_in_the_lane_of_their_job(jobs: JobStore) -> None:
    split(jobs, lane=Lane.LARGE)

    assert jobs.claim(LEASE, [Lane.SMALL]) is None
    assert jobs.claim(LEASE, [Lane.LARGE]) is not None


def test_an_old_job_goes_before_the_parts_of_a_newer_one_and_they_before_a_younger(
    jobs: JobStore,
) -> None:
    old = jobs.add(make.request(), owner="owner").job
    held = claim(jobs)
    assert held.id == old.id
    fleet = split(jobs)
    jobs.add(make.request(), owner="owner")
    jobs.hand_back(held)

    assert [claim(jobs).id for _ in range(2)] == [old.id, fleet.id]


def test_an_erasure_lets_unfinished_fleets_begin_anew(jobs: JobStore, database: Database) -> None:
    job = split(jobs)
    finish_parts(jobs, 1)
    running = claim(jobs)

    SqlErasures(database).begin("elsewhere", version=8)

    assert jobs.renew(running, LEASE, rows_written=1) is Hold.LOST
    again = claim(jobs)
    assert (again.id, again.part, again.parts_left, again.source_version) == (
        job.id,
        None,
        None,
        None,
    )
    assert again.rows_written == 10


def test_an_erasure_ends_fleets_with_that_meter_finished_or_not(
    jobs: JobStore, database: Database
) -> None:
    finished = split(jobs)
    finish_parts(jobs, 3)
    joining = claim(jobs)
    jobs.complete(joining, whole_file(joining))
    unfinished = split(jobs)

    SqlErasures(database).begin("C")

    assert get(jobs, finished).expired
    ended = get(jobs, unfinished)
    assert ended.error is not None
    assert ended.error.code == "EXPORT_CANCELLED"
    assert jobs.claim(LEASE) is None


def test_a_restored_fleet_that_was_not_finished_begins_anew(
    jobs: JobStore, database: Database
) -> None:
    job = split(jobs)
    finish_parts(jobs, 1)

    detach(database, version=7)

    again = claim(jobs)
    assert (again.id, again.part, again.parts_left) == (job.id, None, None)


def test_a_forgotten_job_leaves_nothing_behind(
    jobs: JobStore, archive: SqlJobArchive, database: Database
) -> None:
    job = split(jobs)
    finish_parts(jobs, 3)
    joining = claim(jobs)
    jobs.complete(joining, whole_file(joining), keep=timedelta(0))
    wait_until(lambda: get(jobs, job).expired)

    assert archive.forget(older_than=timedelta(0)) == 1

    assert jobs.get(job.id) is None
    assert jobs.meters(job) == []
    assert jobs.pieces(joining) == []


def test_a_key_stands_for_one_list_of_meters(jobs: JobStore) -> None:
    request = ExportRequest.of_fleet(["A", "B"], make.period())
    first = jobs.add(request, owner="owner", idempotency_key="k")

    again = jobs.add(
        ExportRequest.of_fleet(["B", "A"], make.period()), owner="owner", idempotency_key="k"
    )

    assert (again.job.id, again.replayed) == (first.job.id, True)
    other = ExportRequest.of_fleet(["A", "C"], make.period())
    with pytest.raises(Exception, match="came with another request"):
        jobs.add(other, owner="owner", idempotency_key="k")
