"""JobStore over SQLAlchemy Core; one set of statements for SQLite and PostgreSQL."""

import hashlib
import uuid
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, case, func, or_, select, update
from sqlalchemy import insert as insert_into
from sqlalchemy.exc import IntegrityError

from meterport.adapters.sql_database import Database, db_now
from meterport.adapters.sql_tables import idempotency_keys, jobs
from meterport.domain.errors import IdempotencyKeyReused, MeterportError
from meterport.domain.exports import ExportFile, ExportRequest
from meterport.domain.jobs import Job, JobError, JobId, JobStatus, Lease
from meterport.domain.period import Period, iso_utc
from meterport.ports import Submission

IDEMPOTENCY_WINDOW = timedelta(hours=24)


class SqlJobs:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self, request: ExportRequest, *, owner: str, idempotency_key: str | None = None
    ) -> Submission:
        try:
            return self._add(request, owner, idempotency_key)
        except IntegrityError:
            # Another request with this key committed between our look and our insert.
            return self._add(request, owner, idempotency_key)

    def _add(self, request: ExportRequest, owner: str, key: str | None) -> Submission:
        with self._database.write() as connection:
            if key is not None:
                earlier = _earlier_job(connection, owner, key, request)
                if earlier is not None:
                    return Submission(earlier, replayed=True)
            job = _insert_job(connection, request, owner)
            if key is not None:
                _insert_key(connection, owner, key, request, job.id)
            return Submission(job, replayed=False)

    def get(self, job_id: str) -> Job | None:
        if not _is_job_id(job_id):
            return None
        with self._database.read() as connection:
            return _get(connection, job_id)

    def claim(self, lease: Lease) -> Job | None:
        # A look without the write lock first: idle workers poll every second.
        with self._database.read() as connection:
            if connection.execute(_oldest_claimable()).first() is None:
                return None
        oldest = _oldest_claimable().with_for_update(skip_locked=True).scalar_subquery()
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
                .returning(*jobs.c)
            ).first()
        return None if row is None else _job(row)

    def begin(self, job: Job, *, source_version: int | None, rows_expected: int) -> bool:
        return self._change(job, source_version=source_version, rows_expected=rows_expected)

    def renew(self, job: Job, lease: Lease, *, rows_written: int) -> bool:
        return self._change(
            job,
            lease_until=db_now(lease.duration),
            rows_written=case(
                (jobs.c.rows_written < rows_written, rows_written), else_=jobs.c.rows_written
            ),
        )

    def complete(self, job: Job, file: ExportFile) -> bool:
        return self._change(
            job,
            status=JobStatus.COMPLETED,
            file_path=file.key,
            record_count=file.rows,
            rows_written=file.rows,
            file_size_bytes=file.size_bytes,
            sha256=file.sha256,
            **_NO_LEASE,
        )

    def fail(self, job: Job, error: MeterportError) -> bool:
        return self._change(
            job,
            status=JobStatus.FAILED,
            error_code=error.code,
            error_message=error.message,
            error_details=error.details,
            **_NO_LEASE,
        )

    def hand_back(self, job: Job) -> bool:
        return self._change(job, **_NO_LEASE)

    def needs(self, job_id: JobId, attempt: int) -> bool:
        if not _is_job_id(job_id):
            return False
        key = f"{job_id}/{attempt}"
        live = (jobs.c.lease_until > db_now()).label("live")
        wanted = select(jobs.c.attempt, jobs.c.file_path, live).where(jobs.c.id == job_id)
        with self._database.read() as connection:
            row = connection.execute(wanted).first()
        # Compared here: an attempt from a stray file's name may be more than a column holds.
        return row is not None and (
            row.file_path == key or (bool(row.live) and row.attempt == attempt)
        )

    def _change(self, job: Job, **values: Any) -> bool:
        """Change the row if the attempt still holds its lease; an expired lease never revives."""
        mine = and_(
            jobs.c.id == job.id,
            jobs.c.status == JobStatus.PENDING,
            jobs.c.attempt == job.attempt,
            jobs.c.lease_until > db_now(),
        )
        with self._database.write() as connection:
            done = connection.execute(
                update(jobs).where(mine).values(updated_at=db_now(), **values)
            )
        return done.rowcount == 1


_NO_LEASE: dict[str, None] = {"worker_id": None, "lease_until": None}


def _oldest_claimable() -> Select[Any]:
    job = jobs.alias()  # not correlated with the UPDATE that it stands in
    free = or_(job.c.lease_until.is_(None), job.c.lease_until <= db_now())
    return (
        select(job.c.id)
        .where(job.c.status == JobStatus.PENDING, free)
        .order_by(job.c.created_at, job.c.id)
        .limit(1)
    )


def _get(connection: Connection, job_id: str) -> Job | None:
    row = connection.execute(select(jobs).where(jobs.c.id == job_id)).first()
    return None if row is None else _job(row)


def _is_job_id(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def _insert_job(connection: Connection, request: ExportRequest, owner: str) -> Job:
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
            rows_written=0,
        )
        .returning(*jobs.c)
    ).one()
    return _job(row)


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
    return _get(connection, row.job_id)


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


def _job(row: Row[Any]) -> Job:
    return Job(
        id=JobId(row.id),
        request=ExportRequest(
            row.smart_meter_id, Period(row.start_datetime, row.end_datetime), row.format
        ),
        status=JobStatus(row.status),
        created_at=row.created_at,
        updated_at=row.updated_at,
        attempt=row.attempt,
        crashes=row.crashes,
        started_at=row.started_at,
        rows_written=row.rows_written,
        rows_expected=row.rows_expected,
        source_version=row.source_version,
        file=_file(row),
        error=_error(row),
    )


def _file(row: Row[Any]) -> ExportFile | None:
    if row.status != JobStatus.COMPLETED:
        return None
    return ExportFile(row.file_path, row.record_count, row.file_size_bytes, row.sha256)


def _error(row: Row[Any]) -> JobError | None:
    if row.status != JobStatus.FAILED:
        return None
    return JobError(row.error_code, row.error_message, row.error_details)
