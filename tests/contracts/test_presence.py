"""Presence: which workers there are, by leases in their names."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from meterport.adapters import sql_presence
from meterport.adapters.sql_database import Database, db_now
from meterport.adapters.sql_leases import SqlLeases
from meterport.adapters.sql_presence import SqlPresence
from meterport.adapters.sql_tables import leases
from tests.contracts.conftest import wait_until


def count_is(presence: SqlPresence, count: int) -> None:
    wait_until(lambda: presence.workers() == count)


def let_all_leases_run_out(database: Database) -> None:
    with database.write() as connection:
        connection.execute(update(leases).values(lease_until=db_now(-timedelta(seconds=1))))


def test_nobody_is_there_before_a_worker_says_so(database: Database) -> None:
    presence = SqlPresence(database)

    assert presence.workers() == 0


def test_workers_are_seen_until_they_leave(database: Database) -> None:
    presence = SqlPresence(database)

    leave_first = presence.announce("1")
    leave_second = presence.announce("2")
    count_is(presence, 2)
    leave_first()
    count_is(presence, 1)
    leave_second()

    assert presence.workers() == 0


def test_other_leases_are_no_workers(database: Database) -> None:
    with SqlLeases(database).holding("housekeeping"):
        assert SqlPresence(database).workers() == 0


def test_a_worker_that_died_is_not_seen_any_more(database: Database) -> None:
    presence = SqlPresence(database)
    leave = presence.announce("1")
    count_is(presence, 1)

    let_all_leases_run_out(database)

    assert presence.workers() == 0
    leave()


def test_a_worker_that_slept_shows_up_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_presence, "LOOK_S", 0.05)
    presence = SqlPresence(database)
    leave = presence.announce("1")
    count_is(presence, 1)

    let_all_leases_run_out(database)

    count_is(presence, 1)
    leave()


def test_the_dead_leave_no_rows_behind(database: Database) -> None:
    presence = SqlPresence(database)
    leave = presence.announce("dead")
    count_is(presence, 1)
    let_all_leases_run_out(database)

    leave_next = presence.announce("next")
    count_is(presence, 1)

    with database.read() as connection:
        names = set(connection.execute(select(leases.c.name)).scalars())
    assert names == {"worker-next"}
    leave()
    leave_next()
