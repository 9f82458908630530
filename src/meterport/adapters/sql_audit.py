"""The audit log over SQLAlchemy Core. Entries are appended one after the other, whoever writes:
under SQLite's write lock, or an advisory lock of PostgreSQL."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    exists,
    func,
    insert,
    literal,
    select,
    text,
    tuple_,
)

from meterport.adapters.sql_database import Database, db_now
from meterport.adapters.sql_tables import audit, audit_meters
from meterport.domain.audit import (
    AuditPage,
    Deed,
    Entry,
    Head,
    Seen,
    Sought,
    digest_of,
    set_of,
    time_text,
)

AT_ONCE = 1_000
"""So many rows a statement reads while all of them are walked."""
_COLUMNS = tuple(audit.c)
"""In the order of the fields of Entry."""


class SqlAudit:
    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, deed: Deed) -> Head:
        meters = set_of(deed.meters)
        meters_sha256 = digest_of(meters) if meters else None
        with self._database.write() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(
                    text("SELECT pg_advisory_xact_lock(hashtext('meterport audit'))")
                )
            before = _head(connection)
            # The database's clock, which is one for all machines, and under the lock: in order.
            at: datetime = connection.execute(select(db_now())).scalar_one()
            entry = _entry(deed, before.seq + 1, time_text(at), meters_sha256).sealed(before)
            connection.execute(insert(audit).values(_values(entry)))
            if meters_sha256 is not None:
                _keep_set(connection, meters_sha256, meters)
        return entry.head

    def page(self, sought: Sought, *, limit: int, before: int | None = None) -> AuditPage:
        wanted = list(_conditions(sought))
        if before is not None:
            wanted.append(audit.c.seq < before)
        newest = select(*_COLUMNS).where(*wanted).order_by(audit.c.seq.desc()).limit(limit + 1)
        with self._database.read() as connection:
            found = [_entry_of(row) for row in connection.execute(newest)]
            told = found[:limit]
            sets = _sets_of(connection, told)
        entries = [Seen(entry, *sets.get(entry.meters_sha256, (0, None))) for entry in told]
        return AuditPage(entries, told[-1].seq if len(found) > limit else None)

    def entries(self) -> Iterator[Entry]:
        in_order = select(*_COLUMNS).order_by(audit.c.seq)
        for row in self._walked(in_order, [audit.c.seq]):
            yield _entry_of(row)

    def sets(self) -> Iterator[tuple[str, str]]:
        key: list[ColumnElement[Any]] = [
            audit_meters.c.meters_sha256,
            audit_meters.c.smart_meter_id,
        ]
        for row in self._walked(select(*key).order_by(*key), key):
            yield row[0], row[1]

    def first_with(self, meters_sha256: str) -> int | None:
        return self._first(audit.c.meters_sha256 == meters_sha256)

    def first_without_set(self) -> int | None:
        its_set = exists().where(audit_meters.c.meters_sha256 == audit.c.meters_sha256)
        return self._first(audit.c.meters_sha256.is_not(None) & ~its_set)

    def _first(self, where: ColumnElement[bool]) -> int | None:
        with self._database.read() as connection:
            return connection.execute(select(func.min(audit.c.seq)).where(where)).scalar()

    def _walked(self, in_order: Select[Any], key: Sequence[ColumnElement[Any]]) -> Iterator[Any]:
        """The rows of a statement that begins with the key and is in its order."""
        after: ColumnElement[bool] | None = None
        while True:
            page = in_order if after is None else in_order.where(after)
            with self._database.read() as connection:
                rows = connection.execute(page.limit(AT_ONCE)).all()
            yield from rows
            if len(rows) < AT_ONCE:
                return
            last = [
                literal(value, column.type) for column, value in zip(key, rows[-1], strict=False)
            ]
            after = tuple_(*key) > tuple_(*last)


def _head(connection: Connection) -> Head:
    last = select(audit.c.seq, audit.c.sha256).order_by(audit.c.seq.desc()).limit(1)
    row = connection.execute(last).first()
    return Head() if row is None else Head(row.seq, row.sha256)


def _entry(deed: Deed, seq: int, at: str, meters_sha256: str | None) -> Entry:
    return Entry(
        seq=seq,
        at=at,
        owner=deed.by.owner,
        key_id=deed.by.key_id,
        action=str(deed.action),
        result=str(deed.result),
        job_id=deed.job_id,
        meters_sha256=meters_sha256,
        rows=deed.rows,
        size_bytes=deed.size_bytes,
        request_id=deed.by.request_id,
        details=deed.told,
    )


def _keep_set(connection: Connection, meters_sha256: str, meters: Sequence[str]) -> None:
    known = exists().where(audit_meters.c.meters_sha256 == meters_sha256)
    if not connection.execute(select(known)).scalar():
        connection.execute(
            insert(audit_meters),
            [{"meters_sha256": meters_sha256, "smart_meter_id": meter} for meter in meters],
        )


def _sets_of(
    connection: Connection, entries: Sequence[Entry]
) -> Mapping[str | None, tuple[int, str | None]]:
    """How many meters each set has, and which, if it is one."""
    sets = {entry.meters_sha256 for entry in entries} - {None}
    counted = (
        select(
            audit_meters.c.meters_sha256,
            func.count().label("count"),
            func.min(audit_meters.c.smart_meter_id).label("first"),
        )
        .where(audit_meters.c.meters_sha256.in_(sorted(filter(None, sets))))
        .group_by(audit_meters.c.meters_sha256)
    )
    rows = connection.execute(counted)
    return {row[0]: (row[1], row[2] if row[1] == 1 else None) for row in rows}


def _conditions(sought: Sought) -> Iterator[ColumnElement[bool]]:
    if sought.smart_meter_id is not None:
        sets = select(audit_meters.c.meters_sha256).where(
            audit_meters.c.smart_meter_id == sought.smart_meter_id
        )
        yield audit.c.meters_sha256.in_(sets)
    for column, value in (
        (audit.c.job_id, sought.job_id),
        (audit.c.owner, sought.owner),
        (audit.c.key_id, sought.key_id),
    ):
        if value is not None:
            yield column == value
    if sought.since is not None:
        yield audit.c.at >= time_text(sought.since)


def _values(entry: Entry) -> dict[str, Any]:
    return dict(zip((column.name for column in _COLUMNS), astuple(entry), strict=True))


def _entry_of(row: Any) -> Entry:
    return Entry(*row)
