"""Named leases and the list of erased meters, over every database that there is."""

from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from meterport.adapters import sql_leases
from meterport.adapters.sql_database import Database
from meterport.adapters.sql_erasures import SqlErasures, detach
from meterport.adapters.sql_jobs import SqlJobs
from meterport.adapters.sql_leases import SqlLeases
from meterport.adapters.sql_tables import leases as leases_table
from meterport.adapters.sql_tables import metadata
from meterport.domain.errors import FormatCannotHold, LeaseTaken
from meterport.domain.exports import ExportRequest
from meterport.domain.jobs import JobError, JobStatus
from meterport.ports import JobStore, Leases
from meterport.ports.erasures import Erasures
from tests import make
from tests.contracts.conftest import at_once, wait_until
from tests.contracts.jobs import CHANGES, add, claim, claim_added, file_of, get

A_READING = "-0.2517"
LONG_AGO = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def leases(database: Database) -> Leases:
    return SqlLeases(database)


@pytest.fixture
def erasures(database: Database) -> Erasures:
    return SqlErasures(database)


@pytest.fixture
def jobs(database: Database) -> JobStore:
    return SqlJobs(database)


def run_out(database: Database) -> None:
    """Every lease, as if its holder had been frozen for long."""
    with database.write() as connection:
        connection.execute(update(leases_table).values(lease_until=LONG_AGO))


def test_of_many_who_want_a_lease_one_gets_it(leases: Leases) -> None:
    def holds(number: int) -> bool:
        try:
            held.enter_context(leases.holding("housekeeping"))
        except LeaseTaken:
            return False
        return True

    with ExitStack() as held:
        assert sum(at_once(5, holds)) == 1


def test_a_lease_that_ran_out_is_taken_over_and_never_revives(
    leases: Leases, database: Database
) -> None:
    with leases.holding("housekeeping") as first:
        run_out(database)
        with leases.holding("housekeeping") as second:
            with pytest.raises(LeaseTaken):
                first.check()
            second.check()


def test_a_lease_is_kept_without_being_asked_for(
    leases: Leases, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_leases, "DURATION", timedelta(seconds=1))

    with leases.holding("housekeeping"):
        begin = _until(database)
        wait_until(lambda: _until(database) > begin + timedelta(seconds=1))
        with pytest.raises(LeaseTaken), leases.holding("housekeeping"):
            pass


def _until(database: Database) -> datetime:
    with database.read() as connection:
        until = connection.execute(leases_table.select()).one().lease_until
    assert isinstance(until, datetime)
    return until


def test_who_has_patience_gets_a_lease_that_is_given_back(leases: Leases) -> None:
    held = leases.holding("housekeeping")
    held.__enter__()

    def second(number: int) -> bool:
        if number:
            held.__exit__(None, None, None)
            return True
        with leases.holding("housekeeping", patience=timedelta(minutes=1)) as lease:
            lease.check()
        return True

    assert at_once(2, second) == [True, True]


def test_an_erasure_is_listed_for_good_and_unfinished_until_it_is_done(erasures: Erasures) -> None:
    for meter in ("b", "a"):
        erasures.begin(meter)
    asked = erasures.all()

    erasures.finish("a")
    erasures.begin("b")

    assert erasures.unfinished() == ["b"]
    assert erasures.all() == asked
    assert list(asked) == ["a", "b"]


def test_an_erasure_that_is_asked_for_again_is_done_again(erasures: Erasures) -> None:
    erasures.begin("a")
    erasures.finish("a")

    erasures.begin("a")

    assert erasures.unfinished() == ["a"]


def test_an_erasure_ends_the_meters_jobs_and_no_others(erasures: Erasures, jobs: JobStore) -> None:
    done = claim_added(jobs)
    jobs.complete(done, file_of(done))
    at_work, other = claim_added(jobs), add(jobs, "other")

    erasures.begin("123")

    assert get(jobs, done).expired
    assert get(jobs, at_work).status is JobStatus.FAILED
    assert {name: change(jobs, at_work) for name, change in CHANGES.items()} == dict.fromkeys(
        CHANGES, False
    )
    assert claim(jobs).id == other.id


@pytest.mark.parametrize("fleet", [(), ("122", "123")], ids=["alone", "in a fleet"])
def test_an_erasure_takes_what_errors_tell_of_the_meters_readings(
    erasures: Erasures, jobs: JobStore, database: Database, fleet: tuple[str, ...]
) -> None:
    request = ExportRequest.of_fleet(fleet, make.period()) if fleet else make.request("123")
    jobs.add(request, owner="owner")
    failed = claim(jobs)
    assert jobs.fail(failed, FormatCannotHold(f"Meter 123: {A_READING} is too large", "Mend it"))
    add(jobs, "other")
    others = claim(jobs)
    assert jobs.fail(others, FormatCannotHold("Meter other: 0.5", "Choose another format"))
    assert A_READING in everything(database)

    erasures.begin("123")

    assert A_READING not in everything(database)
    assert get(jobs, failed).status is JobStatus.FAILED
    assert get(jobs, failed).error == JobError(
        "FORMAT_CANNOT_HOLD",
        "Why this export failed is no longer told: readings of its meters were erased",
        "Ask for the export again",
    )
    assert get(jobs, others).error == JobError(
        "FORMAT_CANNOT_HOLD", "Meter other: 0.5", "Choose another format"
    )


@pytest.mark.parametrize("fleet", [(), ("122", "123")], ids=["alone", "in a fleet"])
def test_an_erasure_takes_what_users_wrote_of_the_meters_exports(
    erasures: Erasures, jobs: JobStore, database: Database, fleet: tuple[str, ...]
) -> None:
    request = ExportRequest.of_fleet(fleet, make.period()) if fleet else make.request("123")
    jobs.add(replace(request, label="for Mrs Smith"), owner="owner")
    other = jobs.add(replace(make.request("other"), label="for the shop"), owner="owner").job

    erasures.begin("123")

    assert "Smith" not in everything(database)
    assert get(jobs, other).request.label == "for the shop"


def everything(database: Database) -> str:
    """That is stored, table by table."""
    with database.read() as connection:
        return "\n".join(
            repr(row._asdict())
            for table in metadata.sorted_tables
            for row in connection.execute(table.select())
        )


def test_unfinished_jobs_read_the_newest_version_after_an_erasure(
    erasures: Erasures, jobs: JobStore
) -> None:
    add(jobs, "other")
    at_work = claim(jobs)
    jobs.begin(at_work, source_version=7, rows_expected=1)

    erasures.begin("123", version=8)

    assert get(jobs, at_work).source_version is None


def test_a_restored_database_holds_no_lease_and_reads_the_restored_version(
    leases: Leases, jobs: JobStore, database: Database
) -> None:
    lasting, other = claim_added(jobs), claim_added(jobs)
    jobs.begin(lasting, source_version=5, rows_expected=1)
    jobs.begin(other, source_version=7, rows_expected=1)
    with leases.holding("housekeeping"):
        detach(database, version=5)
        with leases.holding("housekeeping") as lease:
            lease.check()

    assert {claim(jobs).id, claim(jobs).id} == {lasting.id, other.id}
    assert (get(jobs, lasting).source_version, get(jobs, other).source_version) == (5, None)
