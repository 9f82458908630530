"""Manifests beside the jobs, over every database: kept with a file, and never longer than it.

What they tell of a meter's days is personal: each way in which a file goes takes them along.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import delete, event, func, select
from sqlalchemy.exc import StatementError

from meterport.adapters.sql_database import Database
from meterport.adapters.sql_erasures import SqlErasures, detach
from meterport.adapters.sql_job_archive import SqlJobArchive
from meterport.adapters.sql_jobs import SqlJobs
from meterport.adapters.sql_tables import job_manifests
from meterport.domain.completeness import Completeness, Gap, Manifest
from meterport.domain.jobs import Job, JobStatus
from meterport.ports import JobStore
from tests import make
from tests.contracts.conftest import wait_until
from tests.contracts.jobs import BRIEF, ERROR, OTHERS, claim, claim_added, file_of, get
from tests.contracts.parts import THREE, part_file, split, whole_file

MINUTE = timedelta(minutes=1)


@pytest.fixture
def jobs(database: Database) -> JobStore:
    return SqlJobs(database)


@pytest.fixture
def archive(database: Database) -> SqlJobArchive:
    return SqlJobArchive(database)


def manifest(kwh: str = "0.1", days: bytes = b"days") -> Manifest:
    gap = Gap("123", make.JANUARY, make.JANUARY + 3 * MINUTE, 3)
    first, last = make.JANUARY - MINUTE, make.JANUARY + 3 * MINUTE
    sums = {"123": Decimal(kwh), "124": None}
    return Manifest(Completeness("Asia/Kolkata", 2, first, last, 5, 2, sums, (gap,), 1, 1, 0), days)


def stored(database: Database) -> int:
    """How many there are, whether or not anybody may read them."""
    with database.read() as connection:
        return int(connection.execute(select(func.count()).select_from(job_manifests)).scalar_one())


def completed(jobs: JobStore, **given: timedelta) -> Job:
    job = claim_added(jobs)
    assert jobs.complete(job, file_of(job), manifest(), **given)
    return job


def finished_part(jobs: JobStore, told: Manifest) -> Job:
    part = claim(jobs)
    assert jobs.complete(part, part_file(part), told)
    return part


def finished_fleet(jobs: JobStore) -> Job:
    split(jobs)
    for number in (1, 2, 3):
        finished_part(jobs, manifest(f"0.{number}"))
    joining = claim(jobs)
    assert jobs.complete(joining, whole_file(joining))
    return get(jobs, joining)


def sums(jobs: JobStore, job: Job) -> list[Decimal | None]:
    return [each.about.energy_kwh["123"] for each in jobs.manifests(job)]


def test_a_manifest_is_kept_with_the_file_to_the_last_digit(jobs: JobStore) -> None:
    told = manifest("123456789012.000000001", bytes(range(256)) * 1000)
    job = claim_added(jobs)

    assert jobs.complete(job, file_of(job), told)

    assert jobs.manifests(get(jobs, job)) == [told]


def test_nothing_at_all_is_kept_as_it_is(jobs: JobStore) -> None:
    told = Manifest(Completeness("UTC", 0, None, None, 0, 0, {}, (), 0, 0, 0), b"")
    job = claim_added(jobs)

    assert jobs.complete(job, file_of(job), told)

    assert jobs.manifests(job) == [told]


def test_a_manifest_that_cannot_be_kept_leaves_the_job_as_it_was(jobs: JobStore) -> None:
    """They are one transaction: no file is without what is told of it."""
    job = claim_added(jobs)
    before = get(jobs, job)

    with pytest.raises((StatementError, TypeError)):
        jobs.complete(job, file_of(job), replace(manifest(), days=object()))  # type: ignore[arg-type]

    assert get(jobs, job) == before
    assert jobs.complete(job, file_of(job), manifest())


def test_a_manifest_that_cannot_be_kept_leaves_the_part_as_it_was(jobs: JobStore) -> None:
    job = split(jobs)
    part = claim(jobs)

    with pytest.raises((StatementError, TypeError)):
        jobs.complete(part, part_file(part), replace(manifest(), days=object()))  # type: ignore[arg-type]

    assert get(jobs, job).parts_left == 3
    assert jobs.complete(part, part_file(part), manifest())


def test_a_fleet_tells_of_its_parts_in_their_order(jobs: JobStore) -> None:
    split(jobs)
    parts = [claim(jobs) for _ in THREE]
    for part, number in zip(reversed(parts), (3, 2, 1), strict=True):
        assert jobs.complete(part, part_file(part), manifest(f"0.{number}"))
    joining = claim(jobs)

    assert jobs.complete(joining, whole_file(joining))

    assert sums(jobs, joining) == [Decimal("0.1"), Decimal("0.2"), Decimal("0.3")]


def test_an_attempt_that_lost_its_lease_tells_nothing(jobs: JobStore, database: Database) -> None:
    jobs.add(make.request(), owner="owner")
    stale = claim(jobs, BRIEF)
    wait_until(lambda: jobs.claim(OTHERS))

    assert not jobs.complete(stale, file_of(stale), manifest())

    assert stored(database) == 0


def test_an_attempt_that_lost_its_part_tells_nothing(jobs: JobStore, database: Database) -> None:
    split(jobs)
    for _ in THREE[1:]:
        claim(jobs)
    stale = claim(jobs, BRIEF)
    wait_until(lambda: jobs.claim(OTHERS))

    assert not jobs.complete(stale, part_file(stale), manifest())

    assert stored(database) == 0


def test_an_attempt_that_was_called_off_tells_nothing(jobs: JobStore, database: Database) -> None:
    job = claim_added(jobs)
    jobs.cancel(job.id)

    assert not jobs.complete(job, file_of(job), manifest())

    assert stored(database) == 0


def test_a_part_of_a_fleet_that_was_called_off_tells_nothing(
    jobs: JobStore, database: Database
) -> None:
    split(jobs)
    part = claim(jobs)
    jobs.cancel(part.id)

    assert not jobs.complete(part, part_file(part), manifest())

    assert stored(database) == 0


def test_a_part_that_is_done_again_tells_of_its_newest_file(
    jobs: JobStore, database: Database
) -> None:
    split(jobs)
    _, second, _ = [finished_part(jobs, manifest(f"0.{number}")) for number in (1, 2, 3)]
    jobs.redo(claim(jobs), [second.key])

    finished_part(jobs, manifest("0.7"))

    joining = claim(jobs)
    assert jobs.complete(joining, whole_file(joining))
    assert sums(jobs, joining) == [Decimal("0.1"), Decimal("0.7"), Decimal("0.3")]
    assert stored(database) == 3


def test_what_is_told_without_the_days_is_the_same_and_reads_none_of_them(
    jobs: JobStore, database: Database
) -> None:
    split(jobs)
    for number in (1, 2, 3):
        finished_part(jobs, manifest(f"0.{number}"))
    joining = claim(jobs)
    assert jobs.complete(joining, whole_file(joining))
    statements: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *said: statements.append(said[2]))

    told = jobs.completeness(joining)

    assert not any("days" in statement for statement in statements)
    assert told == [each.about for each in jobs.manifests(joining)]
    assert any("days" in statement for statement in statements)


def test_a_fleet_that_tells_nothing_of_one_part_tells_nothing(jobs: JobStore) -> None:
    """Rather than of the others, as if they were all: an older release wrote that part."""
    split(jobs)
    part = claim(jobs)
    assert jobs.complete(part, part_file(part))
    for number in (2, 3):
        finished_part(jobs, manifest(f"0.{number}"))
    joining = claim(jobs)
    assert jobs.complete(joining, whole_file(joining))

    assert jobs.manifests(joining) == []
    assert jobs.completeness(joining) == []


def test_an_expired_file_tells_nothing_before_any_sweep(jobs: JobStore, database: Database) -> None:
    job = completed(jobs, keep=timedelta(0))

    wait_until(lambda: get(jobs, job).expired)

    assert jobs.manifests(job) == []
    assert stored(database) == 1


def test_a_sweep_removes_what_is_told_of_expired_files_and_nothing_else(
    jobs: JobStore, archive: SqlJobArchive, database: Database
) -> None:
    expired, kept = completed(jobs, keep=timedelta(0)), completed(jobs)
    wait_until(lambda: get(jobs, expired).expired)

    assert archive.drop_manifests() == 1

    assert stored(database) == 1
    assert jobs.manifests(kept) == [manifest()]
    assert archive.drop_manifests() == 0


def test_an_erasure_removes_at_once_what_is_told_of_the_meter(
    jobs: JobStore, database: Database
) -> None:
    other = jobs.add(make.request("other"), owner="owner").job
    assert jobs.complete(claim(jobs), file_of(other), manifest())
    erased, fleet = completed(jobs), finished_fleet(jobs)
    split(jobs)
    finished_part(jobs, manifest())

    for meter in ("123", "C"):
        SqlErasures(database).begin(meter)

    assert [jobs.manifests(job) for job in (erased, fleet)] == [[], []]
    assert jobs.manifests(other) == [manifest()]
    assert stored(database) == 1


def test_an_erasure_elsewhere_leaves_finished_files_their_manifests(
    jobs: JobStore, database: Database
) -> None:
    job, fleet = completed(jobs), finished_fleet(jobs)

    SqlErasures(database).begin("elsewhere", version=10**6)

    assert jobs.manifests(job) == [manifest()]
    assert sums(jobs, fleet) == [Decimal("0.1"), Decimal("0.2"), Decimal("0.3")]


def cancel(jobs: JobStore, part: Job, database: Database) -> None:
    assert jobs.cancel(part.id).status is JobStatus.FAILED


def fail(jobs: JobStore, part: Job, database: Database) -> None:
    assert jobs.fail(part, ERROR)


def replan(jobs: JobStore, part: Job, database: Database) -> None:
    assert jobs.replan(part)


def erasure_elsewhere(jobs: JobStore, part: Job, database: Database) -> None:
    SqlErasures(database).begin("elsewhere", version=8)


def restored(jobs: JobStore, part: Job, database: Database) -> None:
    detach(database, version=7)


@pytest.mark.parametrize("end", [cancel, fail, replan, erasure_elsewhere, restored])
def test_a_plan_that_ends_takes_what_its_parts_told(
    end: Callable[[JobStore, Job, Database], None], jobs: JobStore, database: Database
) -> None:
    other = completed(jobs)
    job = split(jobs)
    finished_part(jobs, manifest())
    running = claim(jobs)

    end(jobs, running, database)

    assert jobs.manifests(job) == []
    assert jobs.manifests(other) == [manifest()]
    assert stored(database) == 1


def test_a_job_that_fails_while_it_is_joined_tells_nothing(
    jobs: JobStore, database: Database
) -> None:
    split(jobs)
    for _ in THREE:
        finished_part(jobs, manifest())

    assert jobs.fail(claim(jobs), ERROR)

    assert stored(database) == 0


def test_a_forgotten_job_takes_its_manifests_along(
    jobs: JobStore, archive: SqlJobArchive, database: Database
) -> None:
    fleet = finished_fleet(jobs)
    job = completed(jobs, keep=timedelta(0))
    wait_until(lambda: get(jobs, job).expired)

    assert archive.forget(older_than=timedelta(0)) == 1

    assert jobs.get(job.id) is None
    assert stored(database) == 3
    assert len(jobs.manifests(fleet)) == 3


def test_a_job_of_an_older_release_has_none(jobs: JobStore, database: Database) -> None:
    job = completed(jobs)
    with database.write() as connection:
        connection.execute(delete(job_manifests))

    assert jobs.manifests(job) == []
