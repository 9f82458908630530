"""The audit log as an administrator of its database can change it: past the triggers."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, insert, text, update
from sqlalchemy.exc import DatabaseError

from meterport.adapters.sql_audit import SqlAudit
from meterport.adapters.sql_database import Database
from meterport.adapters.sql_tables import audit, audit_meters
from meterport.domain.access import ALL_METERS, Access, Scope
from meterport.domain.audit import Action, Deed

JOB = "11111111-1111-4111-8111-111111111111"
ACME = Access("acme", frozenset({Scope.READ}), ALL_METERS, "k3v9x2m7q1pz", "request-1")


def download(*meters: str, by: Access = ACME, job_id: str | None = JOB) -> Deed:
    return Deed(
        Action.FILE_DOWNLOADED,
        by,
        meters,
        job_id=job_id,
        rows=44_640,
        size_bytes=5_000_000_000,
        details={"format": "csv"},
    )


@contextmanager
def as_administrator(database: Database) -> Iterator[Connection]:
    with database.write() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            yield connection
            return
        triggers = connection.execute(
            text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        ).all()
        assert triggers
        for name, _ in triggers:
            connection.execute(text(f"DROP TRIGGER {name}"))
        yield connection
        for _, sql in triggers:
            connection.execute(text(sql))


def change(database: Database, statement: str, **values: object) -> None:
    with as_administrator(database) as connection:
        connection.execute(text(statement), values)


def refused(database: Database, statement: str) -> bool:
    """By the database itself, for whoever keeps to it."""
    with pytest.raises(DatabaseError, match="only added to"), database.write() as connection:
        connection.execute(text(statement))
    return True


def exchange(database: Database, one: int, other: int) -> None:
    with as_administrator(database) as connection:
        for here, there in ((one, -1), (other, one), (-1, other)):
            connection.execute(update(audit).where(audit.c.seq == here).values(seq=there))


def forged_as(database: Database, audit_log: SqlAudit, seq: int) -> None:
    """The tail from that entry on is written anew, with a chain that is right again."""
    kept = [entry for entry in audit_log.entries() if entry.seq < seq]
    with as_administrator(database) as connection:
        connection.execute(audit.delete().where(audit.c.seq >= seq))
    audit_log.record(download("B"))
    assert [entry for entry in audit_log.entries() if entry.seq < seq] == kept


def add_to_set(database: Database, meters_sha256: str, smart_meter_id: str) -> None:
    with as_administrator(database) as connection:
        connection.execute(
            insert(audit_meters).values(meters_sha256=meters_sha256, smart_meter_id=smart_meter_id)
        )
