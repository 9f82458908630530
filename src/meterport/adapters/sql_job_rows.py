"""A row of `jobs` as a Job, and the conditions on rows that several statements share."""

import uuid
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, func, or_, select
from sqlalchemy.sql.selectable import FromClause

from meterport.adapters.sql_database import db_now
from meterport.adapters.sql_tables import jobs
from meterport.domain.exports import ExportFile, ExportRequest
from meterport.domain.jobs import Job, JobError, JobId, JobStatus, Lane
from meterport.domain.period import Period

is_expired = func.coalesce(jobs.c.expires_at <= db_now(), False)
COLUMNS = (*jobs.c, is_expired.label("expired"))


def is_free(job: FromClause) -> ColumnElement[bool]:
    """Nobody holds it, and it need not wait any longer."""
    now = db_now()
    return and_(
        job.c.status == JobStatus.PENDING,
        or_(job.c.lease_until.is_(None), job.c.lease_until <= now),
        or_(job.c.not_before.is_(None), job.c.not_before <= now),
    )


def get_job(connection: Connection, job_id: str, *, lock: bool = False) -> Job | None:
    if not is_job_id(job_id):
        return None
    wanted = select(*COLUMNS).where(jobs.c.id == job_id)
    row = connection.execute(wanted.with_for_update() if lock else wanted).first()
    return None if row is None else job_of(row)


def is_job_id(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def job_of(row: Row[Any]) -> Job:
    """From a row of COLUMNS."""
    return Job(
        id=JobId(row.id),
        request=ExportRequest(
            row.smart_meter_id, Period(row.start_datetime, row.end_datetime), row.format
        ),
        status=JobStatus(row.status),
        created_at=row.created_at,
        updated_at=row.updated_at,
        lane=Lane(row.lane),
        attempt=row.attempt,
        crashes=row.crashes,
        retries=row.retries,
        cancel_requested=row.cancel_requested,
        started_at=row.started_at,
        rows_written=row.rows_written,
        rows_expected=row.rows_expected,
        source_version=row.source_version,
        file=file_of(row),
        expires_at=row.expires_at,
        expired=bool(row.expired),
        error=_error(row),
    )


def file_of(row: Row[Any]) -> ExportFile | None:
    if row.status != JobStatus.COMPLETED:
        return None
    return ExportFile(row.file_path, row.record_count, row.file_size_bytes, row.sha256)


def _error(row: Row[Any]) -> JobError | None:
    if row.status != JobStatus.FAILED:
        return None
    return JobError(row.error_code, row.error_message, row.error_details)
