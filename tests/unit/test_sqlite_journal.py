"""Which journal SQLite gets: WAL only where a reset of the WAL cannot corrupt the database."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import text

from meterport.adapters.sql_database import Database, wal_is_safe


@pytest.mark.parametrize("version", [(3, 44, 6), (3, 44, 9), (3, 50, 7), (3, 51, 3), (3, 52, 0)])
def test_a_mended_version_may_use_wal(version: tuple[int, ...]) -> None:
    assert wal_is_safe(version)


@pytest.mark.parametrize("version", [(3, 40, 1), (3, 44, 5), (3, 45, 0), (3, 50, 6), (3, 51, 2)])
def test_a_version_with_the_bug_may_not(version: tuple[int, ...]) -> None:
    assert not wal_is_safe(version)


def test_every_connection_is_durable(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'jobs.db'}")

    with database.read() as connection:
        journal = connection.execute(text("PRAGMA journal_mode")).scalar()
        synchronous = connection.execute(text("PRAGMA synchronous")).scalar()

    safe = wal_is_safe(sqlite3.sqlite_version_info)
    assert (journal, synchronous) == ("wal" if safe else "truncate", 2)
