"""Wake-up through PostgreSQL itself: NOTIFY on a channel to which idle workers LISTEN."""

import select
from collections.abc import Sequence
from contextlib import suppress

import psycopg
import structlog
from sqlalchemy import func, make_url
from sqlalchemy import select as sql_select

from meterport.adapters.sql_database import Database
from meterport.domain.errors import ServiceUnavailable
from meterport.domain.jobs import JobId, Lane

CHANNEL = "meterport_jobs"
CONNECT_S = 5

log = structlog.get_logger()


class PostgresDispatch:
    def __init__(self, database: Database) -> None:
        self._database = database

    def wake(self, job_id: JobId, lane: Lane) -> None:
        with suppress(ServiceUnavailable), self._database.read() as connection:
            connection.execute(sql_select(func.pg_notify(CHANNEL, lane.value)))

    def remind(self, stranded: Sequence[tuple[JobId, Lane]]) -> None:
        # All that are idle hear it, and none rests before there is nothing left to take.
        for job_id, lane in stranded[:1]:
            self.wake(job_id, lane)


class PostgresWakeups:
    """Wakes every idle worker: the claim sorts them. Without a connection it only waits."""

    def __init__(self, url: str) -> None:
        plain = make_url(url).set(drivername="postgresql")
        self._dsn = plain.render_as_string(hide_password=False)
        self._connection: psycopg.Connection | None = None

    def wait(self, *, others: Sequence[int], timeout_s: float) -> None:
        connection = self._listening()
        watched = [*others] if connection is None else [*others, connection.fileno()]
        ready, _, _ = select.select(watched, [], [], timeout_s)
        if connection is not None and connection.fileno() in ready:
            self._take_all(connection)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _listening(self) -> psycopg.Connection | None:
        if self._connection is None or self._connection.closed:
            self._connection = self._connected()
        return self._connection

    def _connected(self) -> psycopg.Connection | None:
        with suppress(psycopg.Error):
            connection = psycopg.connect(self._dsn, autocommit=True, connect_timeout=CONNECT_S)
            try:
                connection.execute(f"LISTEN {CHANNEL}")
            except psycopg.Error:
                connection.close()
                raise
            return connection
        return None

    def _take_all(self, connection: psycopg.Connection) -> None:
        try:
            for _ in connection.notifies(timeout=0):
                continue
        except psycopg.Error:
            connection.close()
