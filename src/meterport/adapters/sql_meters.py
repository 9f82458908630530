"""MeterCatalog: the meters table, and who may write readings."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, insert, select, update

from meterport.adapters.sql_database import Database
from meterport.adapters.sql_keys import is_among
from meterport.adapters.sql_leases import SqlLeases
from meterport.adapters.sql_tables import meters, readings_state
from meterport.domain.access import Meters
from meterport.domain.errors import ImportBusy, LeaseTaken
from meterport.domain.readings import MeterSummary
from meterport.ports import HeldLease

WRITER = "readings-writer"
BEHIND_ALL = "{"
"""Sorts behind every character that an id may have."""
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

    def some(self, ids: Collection[str]) -> Mapping[str, MeterSummary]:
        with self._database.read() as connection:
            return _rows(connection, ids)

    def all(self) -> Sequence[MeterSummary]:
        with self._database.read() as connection:
            rows = connection.execute(select(meters).order_by(meters.c.smart_meter_id))
            return [_summary(row) for row in rows]

    def page(
        self, *, prefix: str, after: str, limit: int, within: Meters
    ) -> Sequence[MeterSummary]:
        id_ = self._by_bytes(meters.c.smart_meter_id)
        asked = [id_ > after, id_ >= prefix, id_ < prefix + BEHIND_ALL]
        if not within.are_all:
            asked.append(is_among(meters.c.smart_meter_id, within))
        with self._database.read() as connection:
            rows = connection.execute(select(meters).where(*asked).order_by(id_).limit(limit))
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

    def remove(self, smart_meter_id: str, *, version: int) -> None:
        with self._database.write() as connection:
            _delete(connection, [smart_meter_id])
            _set_version(connection, version)

    def replace(self, all_meters: Iterable[MeterSummary], *, version: int) -> None:
        counted = list(all_meters)  # before the transaction: counting may take long
        with self._database.write() as connection:
            connection.execute(delete(meters))
            _insert(connection, counted)
            _set_version(connection, version)

    @contextmanager
    def writing(self, *, patience: timedelta) -> Iterator[HeldLease]:
        with _busy(), SqlLeases(self._database).holding(WRITER, patience=patience) as lease:
            yield _Writer(lease)

    def _by_bytes(self, text: ColumnElement[str]) -> ColumnElement[str]:
        """As SQLite compares anyway; a server may sort as people of its country do."""
        return text.collate("C") if self._database.engine.dialect.name == "postgresql" else text


@dataclass(frozen=True)
class _Writer:
    lease: HeldLease

    def check(self) -> None:
        with _busy():
            self.lease.check()


@contextmanager
def _busy() -> Iterator[None]:
    try:
        yield
    except LeaseTaken as error:
        raise ImportBusy(
            "another process writes readings, or took over meanwhile; nothing was changed, "
            "so try again when it is done"
        ) from error


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
