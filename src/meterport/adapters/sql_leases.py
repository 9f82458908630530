"""Named leases: what only one process may do at a time, on the database's own clock."""

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import and_, delete, insert, update
from sqlalchemy.exc import IntegrityError

from meterport.adapters.sql_database import Database, db_now
from meterport.adapters.sql_tables import leases
from meterport.domain.errors import LeaseTaken, ServiceUnavailable
from meterport.ports import HeldLease

DURATION = timedelta(seconds=15)


class SqlLeases:
    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def holding(
        self, name: str, *, patience: timedelta = timedelta(0), readings_version: int | None = None
    ) -> Iterator[HeldLease]:
        lease = _SqlLease(self._database, name, readings_version)
        lease.acquire(time.monotonic() + patience.total_seconds())
        try:
            with lease.kept():
                yield lease
        finally:
            lease.release()


class _SqlLease:
    def __init__(self, database: Database, name: str, readings_version: int | None) -> None:
        self._database = database
        self._name = name
        self._readings_version = readings_version
        self._holder = uuid.uuid4().hex
        self._done = threading.Event()

    def acquire(self, deadline: float) -> None:
        while not (self._take_over() or self._insert()):
            if time.monotonic() >= deadline:
                raise LeaseTaken(f"the lease '{self._name}' is held by another process")
            time.sleep(0.2)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Renew in the background. A failed renewal is left to `check`, which tells the holder."""
        keeper = threading.Thread(target=self._keep, name=f"lease-{self._name}", daemon=True)
        keeper.start()
        try:
            yield
        finally:
            self._done.set()
            keeper.join()

    def check(self) -> None:
        if not self._renew():
            raise LeaseTaken(f"the lease '{self._name}' ran out")

    def release(self) -> None:
        with self._database.write() as connection:
            connection.execute(delete(leases).where(self._mine()))

    def _keep(self) -> None:
        while not self._done.wait(DURATION.total_seconds() / 3):
            try:
                self._renew()
            except ServiceUnavailable:
                continue  # the next beat, or check(), will see

    def _renew(self) -> bool:
        live = leases.c.lease_until > db_now()
        return self._change(and_(self._mine(), live))

    def _take_over(self) -> bool:
        return self._change(and_(leases.c.name == self._name, leases.c.lease_until <= db_now()))

    def _insert(self) -> bool:
        try:
            with self._database.write() as connection:
                connection.execute(insert(leases).values(name=self._name, **self._values()))
        except IntegrityError:
            return False
        return True

    def _mine(self) -> Any:
        return and_(leases.c.name == self._name, leases.c.holder == self._holder)

    def _values(self) -> dict[str, Any]:
        return {
            "holder": self._holder,
            "lease_until": db_now(DURATION),
            "readings_version": self._readings_version,
        }

    def _change(self, where: Any) -> bool:
        with self._database.write() as connection:
            done = connection.execute(update(leases).where(where).values(**self._values()))
        return done.rowcount == 1
