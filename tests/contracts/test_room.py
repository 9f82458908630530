"""How many exports may be unfinished: exact for an owner, however many add at once."""

import pytest
from sqlalchemy import func, select

from meterport.adapters import sql_room
from meterport.adapters.sql_database import Database
from meterport.adapters.sql_jobs import SqlJobs
from meterport.adapters.sql_tables import jobs as table
from meterport.domain.access_errors import QueueFull, TooManyActiveExports
from meterport.domain.exports import ExportFile
from meterport.domain.jobs import Lane, Lease, Room
from meterport.ports import JobStore
from tests import make
from tests.contracts.conftest import at_once

THREE = Room(of_owner=3)
REQUEST = make.request()


@pytest.fixture
def jobs(database: Database) -> JobStore:
    return SqlJobs(database)


def added(jobs: JobStore, owner: str = "owner", room: Room = THREE, key: str | None = None) -> bool:
    """Whether there was room for it."""
    try:
        jobs.add(REQUEST, owner=owner, room=room, idempotency_key=key)
    except TooManyActiveExports:
        return False
    return True


def count(database: Database) -> int:
    with database.read() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def test_an_owner_has_so_many_unfinished_exports_and_no_more(jobs: JobStore) -> None:
    jobs.add(REQUEST, owner="owner", lane=Lane.LARGE)

    assert [added(jobs) for _ in range(4)] == [True, True, False, False]
    assert added(jobs, "another")
    with pytest.raises(TooManyActiveExports, match=r"^3 exports of this owner are not") as refused:
        jobs.add(REQUEST, owner="owner", room=THREE)
    assert refused.value.retry_after_s == 10
    assert refused.value.retryable


def test_an_export_that_has_ended_makes_room(jobs: JobStore) -> None:
    assert [added(jobs) for _ in range(4)] == [True, True, True, False]
    claimed = jobs.claim(Lease("worker"))
    assert claimed is not None
    assert not added(jobs)

    jobs.complete(claimed, ExportFile(claimed.key, 60, 2000, "ab" * 32))

    assert [added(jobs) for _ in range(2)] == [True, False]


def test_without_a_limit_there_is_room_for_any_number(jobs: JobStore) -> None:
    assert all(added(jobs, room=Room()) for _ in range(5))


def test_of_twenty_at_once_exactly_as_many_are_added_as_may_be(
    jobs: JobStore, database: Database
) -> None:
    accepted = at_once(20, lambda _: added(jobs))

    assert accepted.count(True) == 3
    assert count(database) == 3


def test_twenty_at_once_are_too_many_where_nobody_locks_the_owner(
    jobs: JobStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broken variant: on PostgreSQL the one above tells the difference."""
    if database.engine.dialect.name != "postgresql":
        pytest.skip("SQLite has one writer at a time in any case")

    def unlocked(*_: object) -> object:
        return func.pg_sleep(0.2)

    monkeypatch.setattr(sql_room, "_lock_of", unlocked)

    assert at_once(10, lambda _: added(jobs)).count(True) > 3


def test_a_replay_is_never_refused(jobs: JobStore) -> None:
    assert added(jobs, key="key")
    assert added(jobs)
    assert added(jobs)

    for room in (THREE, Room(of_all=1)):
        assert jobs.add(REQUEST, owner="owner", room=room, idempotency_key="key").replayed
    assert not added(jobs, key="another")


def test_twenty_replays_at_once_take_one_place(jobs: JobStore, database: Database) -> None:
    one = Room(of_owner=1, of_all=1)

    replayed = at_once(
        20, lambda _: jobs.add(REQUEST, owner="owner", room=one, idempotency_key="key").replayed
    )

    assert replayed.count(False) == 1
    assert count(database) == 1


def test_a_full_queue_takes_nobodys_export(jobs: JobStore) -> None:
    room = Room(of_all=2)
    jobs.add(REQUEST, owner="one", room=room)
    jobs.add(REQUEST, owner="two", room=room)

    with pytest.raises(QueueFull, match=r"^2 exports wait already; try again later$") as refused:
        jobs.add(REQUEST, owner="three", room=room)

    assert refused.value.retry_after_s == 30
    claimed = jobs.claim(Lease("worker"))
    assert claimed is not None
    jobs.fail(claimed, make.error())
    assert not jobs.add(REQUEST, owner="three", room=room).replayed


def test_who_counts_looks_at_no_row_of_the_table(jobs: JobStore, database: Database) -> None:
    """On SQLite, whose plan does not depend on how much there is."""
    if database.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL plans a small table otherwise")
    plans = []
    with database.read() as connection:
        for statement in (sql_room.unfinished_of("owner"), sql_room.one_behind(9)):
            text = statement.compile(database.engine, compile_kwargs={"literal_binds": True})
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")
            plans += [row.detail for row in plan]

    assert all("USING COVERING INDEX" in detail for detail in plans if "jobs" in detail), plans
    assert any("jobs" in detail for detail in plans)
