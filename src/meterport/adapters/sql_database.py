"""The database: SQLite by default, PostgreSQL by URL; the same Core statements for both.

Time:       columns hold naive UTC; `UtcDateTime` makes them aware. Leases use the database's
            own clock (`db_now`), with milliseconds.
Durability: SQLite runs with synchronous=FULL. WAL only where SQLite is free of the WAL-reset
            corruption bug; otherwise a journal that is truncated, not unlinked, because FULL
            syncs the truncation but not the folder of an unlinked journal.
Errors:     a database that does not answer raises ServiceUnavailable.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    URL,
    Connection,
    DateTime,
    Dialect,
    Engine,
    Float,
    create_engine,
    event,
    literal,
)
from sqlalchemy.exc import ArgumentError, DatabaseError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

from meterport.domain.errors import ServiceUnavailable, StartRefused

BUSY_TIMEOUT_MS = 30_000
CONNECT_S = 5
"""PostgreSQL: so long a server may take to answer a new connection."""

IDLE_IN_TRANSACTION_S = 15.0
"""PostgreSQL: then a worker that froze in a transaction loses it, and its job is free again."""


class UtcDateTime(TypeDecorator[datetime]):
    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


class db_now(FunctionElement[datetime]):  # noqa: N801 - reads as the SQL function that it is
    """The database's clock, `offset` from now."""

    type = UtcDateTime()
    inherit_cache = True

    def __init__(self, offset: timedelta = timedelta(0)) -> None:
        # A bound value, so that statements with different offsets are compiled once.
        super().__init__(literal(offset.total_seconds(), Float))


@compiles(db_now, "sqlite")
def _sqlite_now(element: db_now, compiler: SQLCompiler, **kw: Any) -> str:
    # CURRENT_TIMESTAMP has whole seconds only, and 'subsec' is too new.
    offset_s = compiler.process(element.clauses, **kw)
    return f"strftime('%Y-%m-%d %H:%M:%f', 'now', {offset_s} || ' seconds')"


@compiles(db_now, "postgresql")
def _postgresql_now(element: db_now, compiler: SQLCompiler, **kw: Any) -> str:
    # clock_timestamp moves on inside a transaction; a lease taken after a lock wait is not old.
    offset_s = compiler.process(element.clauses, **kw)
    return f"(timezone('utc', clock_timestamp()) + make_interval(secs => {offset_s}))"


class Database:
    """Hands out transactions, each from a pool of connections; not for use across a fork."""

    def __init__(self, url: str) -> None:
        self.engine = connect(url)
        self._single = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction; on SQLite it holds the write lock from its first statement on."""
        with _translated(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """For single statements: no transaction, and so no lock, outlives them."""
        with _translated(), self._single.connect() as connection:
            yield connection


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise ServiceUnavailable("the database does not answer; try again soon") from error
    except DatabaseError as error:
        # The class itself, not its children: SQLite's answer to a file that is no database.
        if type(error) is DatabaseError or error.connection_invalidated:
            raise ServiceUnavailable("the database cannot be used; its log says why") from error
        raise


def connect(url: str) -> Engine:
    """Raises StartRefused if the URL is none, or names a database without an installed driver."""
    try:
        return _engine(url)
    except (ArgumentError, ImportError) as error:
        raise StartRefused(
            f"METERPORT_DATABASE_URL cannot be used ({type(error).__name__}); write one such as "
            "sqlite:////data/meterport.db or postgresql+psycopg://user@host/database"
        ) from error


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return _server(url)
    # All behind the slashes is the path: in a URL a '?' in a folder's name would begin a query.
    path = URL.create("sqlite", database=url.removeprefix("sqlite:///"))
    engine = create_engine(
        path, hide_parameters=True, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000}
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _server(url: str) -> Engine:
    idle_ms = round(IDLE_IN_TRANSACTION_S * 1000)
    options = f"-c timezone=UTC -c idle_in_transaction_session_timeout={idle_ms}"
    arguments = {"options": options, "connect_timeout": CONNECT_S}
    return create_engine(url, hide_parameters=True, pool_pre_ping=True, connect_args=arguments)


def _prepare_sqlite(connection: sqlite3.Connection, record: object) -> None:
    journal = "WAL" if wal_is_safe(sqlite3.sqlite_version_info) else "TRUNCATE"
    connection.execute(f"PRAGMA journal_mode={journal}")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    # What is removed is gone from the file too: manifests tell of people's days.
    connection.execute("PRAGMA secure_delete=ON")


def wal_is_safe(version: tuple[int, ...]) -> bool:
    """Free of the WAL-reset bug: https://sqlite.org/wal.html#walresetbug (3.7.0 to 3.51.2)."""
    return (
        version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
    )


def _begin_immediate(connection: Connection) -> None:
    # A transaction that reads first and writes later could not upgrade its lock beside another.
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
