"""What doctor asks of the database: is it whole, how does it commit, what time does it have."""

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select, text

from meterport.adapters.sql_database import Database, db_now, wal_is_safe
from meterport.adapters.sql_schema import REVISIONS, revision
from meterport.adapters.sql_tables import jobs
from meterport.domain.findings import Finding, error, ok, warning

CLOCKS_APART = timedelta(seconds=2)


class SqlCheckup:
    def __init__(self, database: Database) -> None:
        self._database = database

    def findings(self) -> Iterator[Finding]:
        yield self._schema()
        if self._database.engine.dialect.name == "sqlite":
            yield self._journal()
            yield self._integrity()
        else:
            yield self._server()
        yield from self._clock()

    def _schema(self) -> Finding:
        found = revision(self._database)
        if found == REVISIONS[-1]:
            return ok("database", f"schema {found}, up to date")
        return error("database", f"schema {found}, not {REVISIONS[-1]}", "meterport db upgrade")

    def _journal(self) -> Finding:
        version = sqlite3.sqlite_version
        mode, synchronous = self._pragma("journal_mode"), self._pragma("synchronous")
        said = f"SQLite {version}, journal_mode={mode}, synchronous={synchronous}"
        if mode == "wal" and not wal_is_safe(sqlite3.sqlite_version_info):
            return error("database", f"{said}: WAL can corrupt data in this version", _NEWER)
        if synchronous != "2":
            return error("database", f"{said}: a power cut can lose jobs", "report this")
        if mode == "wal":
            return ok("database", said)
        return ok("database", f"{said} (WAL only from 3.51.3 on, where its reset bug is mended)")

    def _integrity(self) -> Finding:
        found = self._pragma("quick_check")
        if found == "ok":
            return ok("database", "whole")
        return error("database", f"damaged: {found[:200]}", "meterport restore BACKUP --replace")

    def _server(self) -> Finding:
        with self._database.read() as connection:
            version = connection.execute(text("SHOW server_version")).scalar_one()
        return ok("database", f"PostgreSQL {version}")

    def _clock(self) -> Iterator[Finding]:
        newest = select(db_now(), func.max(jobs.c.updated_at))
        with self._database.read() as connection:
            now, last_change = connection.execute(newest).one()
        apart = abs(datetime.now(UTC) - now)
        if apart > CLOCKS_APART:
            yield warning(
                "clock", f"the database's clock is {apart.total_seconds():.0f} s off", _CLOCK
            )
        elif last_change is not None and last_change > now + CLOCKS_APART:
            yield error(
                "clock", f"jobs were changed at {last_change:%Y-%m-%d %H:%M:%S} UTC: later", _CLOCK
            )
        else:
            yield ok("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC")

    def _pragma(self, name: str) -> str:
        with self._database.read() as connection:
            return str(connection.exec_driver_sql(f"PRAGMA {name}").scalar())


_NEWER = "use a Python with SQLite 3.51.3 or newer"
_CLOCK = "set the clocks by NTP; leases, expiry and file times depend on them"
