"""JobStore over SQLAlchemy Core; one set of statements for SQLite and PostgreSQL."""

import hashlib
import uuid
from collections.abc import Collection
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, or_, select, update
from sqlalchemy import insert as insert_into
from sqlalchemy.exc import IntegrityError

from meterport.adapters.sql_database import Database, db_now
from meterport.adapters.sql_job_rows import COLUMNS, get_job, is_free, job_of
from meterport.adapters.sql_tables import idempotency_keys, jobs
from meterport.domain.errors import (
    ExportCancelled,
    ExportNotCancellable,
    IdempotencyKeyReused,
    JobNotFound,
    MeterportError,
)
from meterport.domain.exports import ExportFile, ExportRequest
from meterport.domain.jobs import KEEP_FILES, Hold, Job, JobId, JobStatus, Lane, Lease
from meterport.domain.period import iso_utc
from meterport.ports import Submission

IDEMPOTENCY_WINDOW = timedelta(hours=24)
CLAIM_TRIES = 5
"""Another worker may take the owner's last job between our look and our claim."""

NO_LEASE: dict[str, None] = {"worker_id": None, "lease_until": None}


class SqlJobs:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        request: ExportRequest,
        *,
        owner: str,
        idempotency_key: str | None = None,
        source_version: int | None = None,
        lane: Lane = Lane.SMALL,
    ) -> Submission:
        further = {"source_version": source_version, "lane": lane}
        try:
            return self._add(request, owner, idempotency_key, further)
        except IntegrityError:
            # Another request with this key committed between our look and our insert.
            return self._add(request, owner, idempotency_key, further)

    def _add(
        self, request: ExportRequest, owner: str, key: str | None, further: dict[str, Any]
    ) -> Submission:
        with self._database.write() as connection:
            if key is not None:
                earlier = _earlier_job(connection, owner, key, request)
                if earlier is not None:
                    return Submission(earlier, replayed=True)
            job = _insert_job(connection, request, owner, further)
            if key is not None:
                _insert_key(connection, owner, key, request, job.id)
            return Submission(job, replayed=False)

    def earlier(self, request: ExportRequest, *, owner: str, idempotency_key: str) -> Job | None:
        with self._database.write() as connection:
            return _earlier_job(connection, owner, idempotency_key, request)

    def get(self, job_id: str) -> Job | None:
        with self._database.read() as connection:
            return get_job(connection, job_id)

    def claim(self, lease: Lease, lanes: Collection[Lane] = tuple(Lane)) -> Job | None:
        for _ in range(CLAIM_TRIES):
            # A look without the write lock first: idle workers poll every second.
            with self._database.read() as connection:
                owner = connection.execute(_least_served_owner(lanes)).scalar()
            if owner is None:
                return None
            job = self._claim_of(owner, lease, lanes)
            if job is not None:
                return job
        return None

    def _claim_of(self, owner: str, lease: Lease, lanes: Collection[Lane]) -> Job | None:
        oldest = _oldest_free(owner, lanes).with_for_update(skip_locked=True).scalar_subquery()
        with self._database.write() as connection:
            row = connection.execute(
                update(jobs)
                .where(jobs.c.id == oldest)
                .values(
                    attempt=jobs.c.attempt + 1,
                    # A lease that is still there has run out: its worker died or was cut off.
                    crashes=jobs.c.crashes + case((jobs.c.lease_until.is_(None), 0), else_=1),
                    worker_id=lease.worker_id,
                    lease_until=db_now(lease.duration),
                    started_at=func.coalesce(jobs.c.started_at, db_now()),
                    updated_at=db_now(),
                )
                .returning(*COLUMNS)
            ).first()
        return None if row is None else job_of(row)

    def begin(self, job: Job, *, source_version: int | None, rows_expected: int) -> bool:
        return self._change(job, source_version=source_version, rows_expected=rows_expected)

    def renew(self, job: Job, lease: Lease, *, rows_written: int) -> Hold:
        most = case((jobs.c.rows_written < rows_written, rows_written), else_=jobs.c.rows_written)
        with self._database.write() as connection:
            row = connection.execute(
                update(jobs)
                .where(_held_by(job))
                .values(updated_at=db_now(), lease_until=db_now(lease.duration), rows_written=most)
                .returning(jobs.c.cancel_requested)
            ).first()
        if row is None:
            return Hold.LOST
        return Hold.CANCELLED if row.cancel_requested else Hold.HELD

    def complete(self, job: Job, file: ExportFile, *, keep: timedelta = KEEP_FILES) -> bool:
        return self._change(
            job,
            ~jobs.c.cancel_requested,
            status=JobStatus.COMPLETED,
            file_path=file.key,
            record_count=file.rows,
            rows_written=file.rows,
            file_size_bytes=file.size_bytes,
            sha256=file.sha256,
            expires_at=db_now(keep),
            **NO_LEASE,
        )

    def fail(self, job: Job, error: MeterportError) -> bool:
        return self._change(job, **failed_with(error), **NO_LEASE)

    def retry(self, job: Job, *, after: timedelta) -> bool:
        return self._change(job, retries=jobs.c.retries + 1, not_before=db_now(after), **NO_LEASE)

    def hand_back(self, job: Job) -> bool:
        return self._change(job, **NO_LEASE)

    def cancel(self, job_id: str) -> Job:
        with self._database.write() as connection:
            job = get_job(connection, job_id, lock=True)
            if job is None:
                raise JobNotFound(job_id)
            mine = and_(jobs.c.id == job.id, jobs.c.status == JobStatus.PENDING)
            held = and_(mine, jobs.c.lease_until > db_now())
            free = and_(mine, or_(jobs.c.lease_until.is_(None), jobs.c.lease_until <= db_now()))
            called_off = {"cancel_requested": True, "updated_at": db_now()}
            told = connection.execute(update(jobs).where(held).values(**called_off))
            ended = connection.execute(
                update(jobs)
                .where(free)
                .values(**called_off, **failed_with(ExportCancelled()), **NO_LEASE)
            )
            if not told.rowcount and not ended.rowcount:
                raise ExportNotCancellable(f"the export {job_id} is {job.status} already")
            changed = get_job(connection, job_id)
        assert changed is not None  # noqa: S101 - changed a line above, in the same transaction
        return changed

    def _change(self, job: Job, *conditions: ColumnElement[bool], **values: Any) -> bool:
        with self._database.write() as connection:
            done = connection.execute(
                update(jobs)
                .where(_held_by(job), *conditions)
                .values({"updated_at": db_now()} | values)
            )
        return done.rowcount == 1


def _held_by(job: Job) -> ColumnElement[bool]:
    """The attempt still holds its lease; an expired lease never revives."""
    return and_(
        jobs.c.id == job.id,
        jobs.c.status == JobStatus.PENDING,
        jobs.c.attempt == job.attempt,
        jobs.c.lease_until > db_now(),
    )


def _least_served_owner(lanes: Collection[Lane]) -> Select[Any]:
    """Whose jobs are free, and of them who has the fewest running; then who has waited longest."""
    free, running = jobs.alias(), jobs.alias()
    at_work = (
        select(func.count())
        .where(
            running.c.owner == free.c.owner,
            running.c.status == JobStatus.PENDING,
            running.c.lease_until > db_now(),
        )
        .correlate(free)
        .scalar_subquery()
    )
    return (
        select(free.c.owner)
        .where(is_free(free), free.c.lane.in_(lanes))
        .group_by(free.c.owner)
        .order_by(at_work, func.min(free.c.created_at))
        .limit(1)
    )


def _oldest_free(owner: str, lanes: Collection[Lane]) -> Select[Any]:
    job = jobs.alias()  # not correlated with the UPDATE that it stands in
    return (
        select(job.c.id)
        .where(is_free(job), job.c.owner == owner, job.c.lane.in_(lanes))
        .order_by(job.c.created_at, job.c.id)
        .limit(1)
    )


def failed_with(error: MeterportError) -> dict[str, Any]:
    return {
        "status": JobStatus.FAILED,
        "error_code": error.code,
        "error_message": error.message,
        "error_details": error.details,
    }


def _insert_job(
    connection: Connection, request: ExportRequest, owner: str, further: dict[str, Any]
) -> Job:
    row = connection.execute(
        insert_into(jobs)
        .values(
            id=str(uuid.uuid4()),
            smart_meter_id=request.smart_meter_id,
            start_datetime=request.period.start,
            end_datetime=request.period.end,
            format=request.format,
            owner=owner,
            status=JobStatus.PENDING,
            created_at=db_now(),
            updated_at=db_now(),
            attempt=0,
            crashes=0,
            retries=0,
            cancel_requested=False,
            rows_written=0,
            **further,
        )
        .returning(*COLUMNS)
    ).one()
    return job_of(row)


def _earlier_job(
    connection: Connection, owner: str, key: str, request: ExportRequest
) -> Job | None:
    fresh = idempotency_keys.c.created_at > db_now(-IDEMPOTENCY_WINDOW)
    same = and_(idempotency_keys.c.owner == owner, idempotency_keys.c.key == key)
    connection.execute(idempotency_keys.delete().where(same, ~fresh))
    row = connection.execute(select(idempotency_keys).where(same)).first()
    if row is None:
        return None
    if row.request_sha256 != _digest(request):
        raise IdempotencyKeyReused(
            "this Idempotency-Key came with another request within 24 hours; use a new key"
        )
    return get_job(connection, row.job_id)


def _insert_key(
    connection: Connection, owner: str, key: str, request: ExportRequest, job_id: JobId
) -> None:
    connection.execute(
        insert_into(idempotency_keys).values(
            owner=owner,
            key=key,
            request_sha256=_digest(request),
            job_id=job_id,
            created_at=db_now(),
        )
    )


def _digest(request: ExportRequest) -> str:
    start, end = iso_utc(request.period.start), iso_utc(request.period.end)
    said = "\n".join((request.smart_meter_id, start, end, request.format))
    return hashlib.sha256(said.encode()).hexdigest()
