"""Erasures: which meters must be forgotten, and what becomes of their jobs."""

from collections.abc import Hashable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    delete,
    false,
    func,
    insert,
    or_,
    select,
    update,
)

from meterport.adapters.sql_database import Database, db_now
from meterport.adapters.sql_import_keys import drop_claims, forget_quotes
from meterport.adapters.sql_job_parts import chunks, end_parts, forget_parts, lock_pending
from meterport.adapters.sql_job_rows import NO_LEASE, failed_with
from meterport.adapters.sql_links import drop_links
from meterport.adapters.sql_manifests import drop_manifests
from meterport.adapters.sql_tables import erasures, job_meters, jobs, leases
from meterport.domain.errors import ExportCancelled
from meterport.domain.jobs import JobStatus

ERASED_REASON = {
    "error_message": "Why this export failed is no longer told: readings of its meters were erased",
    "error_details": "Ask for the export again",
}
"""An error may quote a reading, and say of which meter and when."""


class SqlErasures:
    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, smart_meter_id: str, *, version: int | None = None) -> None:
        with self._database.write() as connection:
            _record(connection, smart_meter_id)
            forget_quotes(connection)
            of_it = _of_it(smart_meter_id)
            outdated = false() if version is None else jobs.c.source_version < version
            # All at once, in the one order of locks.
            lock_pending(connection, or_(of_it, outdated))
            _call_off(connection, of_it)
            forget_parts(connection, outdated)

    def finish(self, smart_meter_id: str) -> None:
        with self._database.write() as connection:
            this = erasures.c.smart_meter_id == smart_meter_id
            connection.execute(update(erasures).where(this).values(finished_at=db_now()))

    def unfinished(self) -> Sequence[str]:
        with self._database.read() as connection:
            ids = select(erasures.c.smart_meter_id).where(erasures.c.finished_at.is_(None))
            return list(connection.execute(ids.order_by(erasures.c.smart_meter_id)).scalars())

    def all(self) -> Mapping[str, datetime]:
        with self._database.read() as connection:
            rows = connection.execute(select(erasures).order_by(erasures.c.smart_meter_id))
            return {row.smart_meter_id: row.requested_at for row in rows}

    def mark(self) -> Hashable:
        asked, finished = erasures.c.requested_at, erasures.c.finished_at
        newest = select(
            func.count(asked), func.max(asked), func.count(finished), func.max(finished)
        )
        with self._database.read() as connection:
            return tuple(connection.execute(newest).one())

    def state(self, smart_meter_id: str) -> tuple[datetime | None, datetime | None]:
        times = select(erasures.c.requested_at, erasures.c.finished_at)
        this = times.where(erasures.c.smart_meter_id == smart_meter_id)
        with self._database.read() as connection:
            row = connection.execute(this).first()
        return (None, None) if row is None else (row.requested_at, row.finished_at)


def detach(database: Database, *, version: int) -> None:
    """Make a restored database's unfinished jobs free, and let them read the restored version."""
    with database.write() as connection:
        pending = jobs.c.status == JobStatus.PENDING
        other = and_(pending, jobs.c.source_version != version)
        connection.execute(update(jobs).where(pending).values(**NO_LEASE))
        # A backup has no files of unfinished jobs, so parts begin anew.
        forget_parts(connection, or_(other, and_(pending, jobs.c.parts_left.is_not(None))))
        connection.execute(delete(leases))
        drop_claims(connection)


def _record(connection: Connection, smart_meter_id: str) -> None:
    """An erasure that is under way keeps the time at which it was asked for."""
    this = erasures.c.smart_meter_id == smart_meter_id
    connection.execute(delete(erasures).where(this, erasures.c.finished_at.is_not(None)))
    if connection.execute(select(erasures).where(this)).first() is None:
        new = {"smart_meter_id": smart_meter_id, "requested_at": db_now()}
        connection.execute(insert(erasures).values(**new))


def _call_off(connection: Connection, of_it: ColumnElement[bool]) -> None:
    """Also a job at work, whose attempt thereby loses it: it may not become a file any more."""
    ended = failed_with(ExportCancelled()) | NO_LEASE | {"updated_at": db_now()}
    connection.execute(
        update(jobs).where(of_it, jobs.c.status == JobStatus.COMPLETED).values(expires_at=db_now())
    )
    drop_manifests(connection, of_it)
    drop_links(connection, of_it)
    # What a user wrote of the meter may name who lives there.
    connection.execute(update(jobs).where(of_it).values(label=None))
    connection.execute(
        update(jobs).where(of_it, jobs.c.error_message.is_not(None)).values(**ERASED_REASON)
    )
    for ids in chunks(lock_pending(connection, of_it)):
        connection.execute(update(jobs).where(jobs.c.id.in_(ids)).values(**ended))
        end_parts(connection, ids)


def _of_it(smart_meter_id: str) -> ColumnElement[bool]:
    fleets = select(job_meters.c.job_id).where(job_meters.c.smart_meter_id == smart_meter_id)
    return or_(jobs.c.smart_meter_id == smart_meter_id, jobs.c.id.in_(fleets))
