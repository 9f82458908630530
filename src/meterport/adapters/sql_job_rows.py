"""A row of `jobs` as a Job, and the conditions on rows that several statements share."""

import json
import uuid
from dataclasses import replace
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    Table,
    and_,
    case,
    cast,
    func,
    or_,
    select,
)
from sqlalchemy.sql.selectable import FromClause

from meterport.adapters.sql_database import db_now
from meterport.adapters.sql_tables import job_parts, jobs
from meterport.domain.errors import ExportCancelled, MeterportError
from meterport.domain.exports import ExportFile, ExportRequest
from meterport.domain.fleets import Part
from meterport.domain.jobs import Job, JobError, JobId, JobStatus, Lane, Phase
from meterport.domain.options import Compression, ExportOptions
from meterport.domain.period import Period

NO_LEASE: dict[str, None] = {"worker_id": None, "lease_until": None}

is_expired = func.coalesce(jobs.c.expires_at <= db_now(), False)

_in_parts = (
    select(cast(func.coalesce(func.sum(job_parts.c.rows_written), 0), BigInteger))
    .where(job_parts.c.job_id == jobs.c.id)
    .correlate(jobs)
    .scalar_subquery()
)
rows_written = case(
    (jobs.c.parts_left.is_(None), jobs.c.rows_written),
    (_in_parts > jobs.c.rows_written, _in_parts),
    else_=jobs.c.rows_written,
)
"""Of a job in parts the parts' own; never less than was told before."""

phase = case(
    (and_(jobs.c.status == JobStatus.COMPLETED, is_expired), str(Phase.EXPIRED)),
    (jobs.c.status == JobStatus.COMPLETED, str(Phase.COMPLETED)),
    (
        or_(jobs.c.cancel_requested, jobs.c.error_code == ExportCancelled.code),
        str(Phase.CANCELLED),
    ),
    (jobs.c.status == JobStatus.FAILED, str(Phase.FAILED)),
    (jobs.c.parts_left == 0, str(Phase.FINALIZING)),
    (or_(jobs.c.parts_left.is_not(None), jobs.c.lease_until > db_now()), str(Phase.RUNNING)),
    else_=str(Phase.QUEUED),
)

COLUMNS = (
    *(column for column in jobs.c if column is not jobs.c.rows_written),
    rows_written.label("rows_written"),
    is_expired.label("expired"),
    phase.label("phase"),
)


def is_free(row: FromClause) -> ColumnElement[bool]:
    """Of jobs or of parts: nobody holds it, and it need not wait any longer."""
    now = db_now()
    return and_(
        row.c.status == JobStatus.PENDING,
        or_(row.c.lease_until.is_(None), row.c.lease_until <= now),
        or_(row.c.not_before.is_(None), row.c.not_before <= now),
    )


def is_free_job(job: FromClause) -> ColumnElement[bool]:
    """Not while it waits for its parts."""
    return and_(is_free(job), or_(job.c.parts_left.is_(None), job.c.parts_left == 0))


def table_of(job: Job) -> Table:
    """Where the attempt stands: a part's beside the job's own."""
    return jobs if job.part is None else job_parts


def held_by(job: Job) -> ColumnElement[bool]:
    """The attempt still holds its lease; an expired lease never revives."""
    row = table_of(job)
    this = jobs.c.id == job.id
    if job.part is not None:
        this = and_(job_parts.c.job_id == job.id, job_parts.c.number == job.part.number)
    return and_(
        this,
        row.c.status == JobStatus.PENDING,
        row.c.attempt == job.attempt,
        row.c.lease_until > db_now(),
    )


def failed_with(error: MeterportError) -> dict[str, Any]:
    return {
        "status": JobStatus.FAILED,
        "error_code": error.code,
        "error_message": error.message,
        "error_details": error.details,
    }


def lock(connection: Connection, job_id: str) -> None:
    connection.execute(select(jobs.c.id).where(jobs.c.id == job_id).with_for_update())


def get_job(connection: Connection, job_id: str) -> Job | None:
    if not is_job_id(job_id):
        return None
    row = connection.execute(select(*COLUMNS).where(jobs.c.id == job_id)).first()
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
            row.smart_meter_id,
            Period(row.start_datetime, row.end_datetime),
            row.format,
            compression=Compression(row.compression),
            options=_options(row.options),
            label=row.label,
        ),
        status=JobStatus(row.status),
        created_at=row.created_at,
        updated_at=row.updated_at,
        owner=row.owner,
        phase=Phase(row.phase),
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
        parts_left=row.parts_left,
    )


def part_of(job: Job, row: Row[Any]) -> Job:
    """The job as an attempt at one of its parts sees it, from a row of `job_parts`."""
    period = Period(row.start_datetime, row.end_datetime)
    part = Part(
        row.number,
        row.first_meter,
        row.end_meter,
        period,
        row.rows_expected,
        is_last=row.is_last,
    )
    return replace(job, part=part, attempt=row.attempt, crashes=row.crashes, retries=row.retries)


def file_of(row: Row[Any]) -> ExportFile | None:
    """From a row of `jobs` or of `job_parts`."""
    if row.status != JobStatus.COMPLETED:
        return None
    return ExportFile(row.file_path, row.record_count, row.file_size_bytes, row.sha256)


def _options(text: str | None) -> ExportOptions:
    return ExportOptions() if text is None else ExportOptions.stored(json.loads(text))


def _error(row: Row[Any]) -> JobError | None:
    if row.status != JobStatus.FAILED:
        return None
    return JobError(row.error_code, row.error_message, row.error_details)
