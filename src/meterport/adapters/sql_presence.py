"""Presence: a worker is there as long as it holds the lease of its own name."""

import threading
from collections.abc import Callable
from contextlib import suppress

from sqlalchemy import delete, func, select

from meterport.adapters.sql_database import Database, db_now
from meterport.adapters.sql_leases import DURATION, SqlLeases
from meterport.adapters.sql_tables import leases
from meterport.domain.errors import LeaseTaken, ServiceUnavailable

PREFIX = "worker-"
LOOK_S = DURATION.total_seconds()
"""A worker that slept past its lease, or whose database was away, shows up again within that."""
FAREWELL_S = 2.0
_OF_WORKERS = leases.c.name.startswith(PREFIX, autoescape=True)


class SqlPresence:
    def __init__(self, database: Database) -> None:
        self._database = database

    def announce(self, worker_id: str) -> Callable[[], None]:
        gone = threading.Event()
        name = PREFIX + worker_id
        thread = threading.Thread(target=self._stay, args=(name, gone), name=name, daemon=True)
        thread.start()

        def leave() -> None:
            gone.set()
            # Without a database its lease runs out all the same.
            thread.join(FAREWELL_S)

        return leave

    def workers(self) -> int:
        live = select(func.count()).where(_OF_WORKERS, leases.c.lease_until > db_now())
        with self._database.read() as connection:
            return connection.execute(live).scalar_one()

    def _stay(self, name: str, gone: threading.Event) -> None:
        while not gone.is_set():
            with suppress(LeaseTaken, ServiceUnavailable):
                self._forget_the_dead()
                with SqlLeases(self._database).holding(name) as lease:
                    while not gone.wait(LOOK_S):
                        lease.check()
            gone.wait(1)

    def _forget_the_dead(self) -> None:
        dead = delete(leases).where(_OF_WORKERS, leases.c.lease_until <= db_now())
        with self._database.write() as connection:
            connection.execute(dead)
