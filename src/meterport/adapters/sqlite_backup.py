"""A consistent copy of the SQLite database, made while others write."""

import sqlite3
from contextlib import closing
from pathlib import Path

from meterport import durable
from meterport.adapters.sql_database import BUSY_TIMEOUT_MS, Database
from meterport.domain.errors import BackupRefused


class SqliteBackup:
    def __init__(self, database: Database) -> None:
        self._database = database

    def copy(self, target: Path) -> None:
        """Raises BackupRefused on another database, whose own tools do this."""
        url = self._database.engine.url
        if url.get_backend_name() != "sqlite" or not url.database:
            raise BackupRefused(
                "the jobs are not in SQLite; back the database up with its own tools, such as "
                "pg_dump, and readings and files with those of the object store"
            )
        timeout_s = BUSY_TIMEOUT_MS / 1000
        try:
            with (
                closing(sqlite3.connect(url.database, timeout=timeout_s)) as source,
                closing(sqlite3.connect(target)) as copy,
            ):
                # In one step: a copy in several begins anew whenever another process writes.
                source.backup(copy)
        except sqlite3.Error as error:
            raise BackupRefused(f"the database could not be copied: {error}") from error
        durable.sync_file(target)
