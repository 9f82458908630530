"""MeterCatalog: the meters table, and the lease of the one writer of readings."""

import threading
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, insert, or_, select, update

from meterport.adapters.sql_database import Database, db_now
from meterport.adapters.sql_tables import meters, readings_state
from meterport.domain.errors import ImportBusy, ServiceUnavailable
from meterport.domain.readings import MeterSummary
from meterport.ports import WriterLease

LEASE = timedelta(seconds=15)
IDS_PER_STATEMENT = 500  # below the oldest SQLite's limit of 999 variables


class SqlMeters:
    def __init__(self, database: Database) -> None:
        self._database = database

    def version(self) -> int | None:
        with self._database.read() as connection:
            return connection.execute(select(readings_state.c.version)).scalar()

    def get(self, smart_meter_id: str) -> MeterSummary | None:
        with self._database.read() as connection:
            found = _rows(connection, [smart_meter_id])
        return found.get(smart_meter_id)

    def all(self) -> Sequence[MeterSummary]:
        with self._database.read() as connection:
            rows = connection.execute(select(meters).order_by(meters.c.smart_meter_id))
            return [_summary(row) for row in rows]

    def intervals(self, ids: Collection[str]) -> Mapping[str, int]:
        with self._database.read() as connection:
            return {id_: meter.interval_s for id_, meter in _rows(connection, ids).items()}

    def add(self, added: Iterable[MeterSummary], *, version: int) -> None:
        new = {meter.smart_meter_id: meter for meter in added}
        with self._database.write() as connection:
            old = _rows(connection, new)
            merged = [old[id_].plus(meter) if id_ in old else meter for id_, meter in new.items()]
            _delete(connection, list(old))
            _insert(connection, merged)
            _set_version(connection, version)

    def replace(self, all_meters: Iterable[MeterSummary], *, version: int) -> None:
        counted = list(all_meters)  # before the transaction: counting may take long
        with self._database.write() as connection:
            connection.execute(delete(meters))
            _insert(connection, counted)
            _set_version(connection, version)

    @contextmanager
    def writing(self, *, patience: timedelta) -> Iterator[WriterLease]:
        lease = _SqlWriterLease(self._database)
        lease.acquire(time.monotonic() + patience.total_seconds())
        try:
            with lease.kept():
                yield lease
        finally:
            lease.release()


class _SqlWriterLease:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._writer_id = uuid.uuid4().hex
        self._done = threading.Event()

    def acquire(self, deadline: float) -> None:
        free = or_(readings_state.c.lease_until.is_(None), readings_state.c.lease_until <= db_now())
        while not self._change(free, writer_id=self._writer_id, lease_until=db_now(LEASE)):
            if time.monotonic() >= deadline:
                raise ImportBusy("another import is writing readings; try again when it is done")
            time.sleep(0.2)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Renew in the background. A failed renewal is left to `check`, which tells the writer."""
        keeper = threading.Thread(target=self._keep, name="writer-lease", daemon=True)
        keeper.start()
        try:
            yield
        finally:
            self._done.set()
            keeper.join()

    def check(self) -> None:
        if not self._renew():
            raise ImportBusy("the writer's lease ran out while importing; nothing was imported")

    def release(self) -> None:
        self._change(self._mine(), writer_id=None, lease_until=None)

    def _keep(self) -> None:
        while not self._done.wait(LEASE.total_seconds() / 3):
            try:
                self._renew()
            except ServiceUnavailable:
                continue  # the next beat, or check(), will see

    def _renew(self) -> bool:
        live = readings_state.c.lease_until > db_now()
        return self._change(and_(self._mine(), live), lease_until=db_now(LEASE))

    def _mine(self) -> Any:
        return readings_state.c.writer_id == self._writer_id

    def _change(self, where: Any, **values: Any) -> bool:
        with self._database.write() as connection:
            done = connection.execute(update(readings_state).where(where).values(**values))
        return done.rowcount == 1


def _rows(connection: Connection, ids: Collection[str]) -> dict[str, MeterSummary]:
    found = {}
    for some in _chunks(ids):
        rows = connection.execute(select(meters).where(meters.c.smart_meter_id.in_(some)))
        found.update({row.smart_meter_id: _summary(row) for row in rows})
    return found


def _delete(connection: Connection, ids: Collection[str]) -> None:
    for some in _chunks(ids):
        connection.execute(delete(meters).where(meters.c.smart_meter_id.in_(some)))


def _insert(connection: Connection, new: Sequence[MeterSummary]) -> None:
    if new:
        connection.execute(insert(meters), [_values(meter) for meter in new])


def _set_version(connection: Connection, version: int) -> None:
    connection.execute(update(readings_state).values(version=version))


def _chunks(ids: Collection[str]) -> Iterator[list[str]]:
    all_ids = list(ids)
    for at in range(0, len(all_ids), IDS_PER_STATEMENT):
        yield all_ids[at : at + IDS_PER_STATEMENT]


def _values(meter: MeterSummary) -> dict[str, Any]:
    return {
        "smart_meter_id": meter.smart_meter_id,
        "first_timestamp": meter.first,
        "last_timestamp": meter.last,
        "interval_s": meter.interval_s,
        "row_count": meter.rows,
    }


def _summary(row: Row[Any]) -> MeterSummary:
    return MeterSummary(
        row.smart_meter_id,
        row.first_timestamp,
        row.last_timestamp,
        row.interval_s,
        row.row_count,
    )
