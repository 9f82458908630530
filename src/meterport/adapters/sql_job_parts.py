"""The parts of fleets: each is claimed, renewed and ended like a job, by the same columns.

Locks: whoever changes a job and its parts locks the job's row first.
"""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    delete,
    func,
    insert,
    select,
    update,
)

from meterport.adapters.sql_database import db_now
from meterport.adapters.sql_job_rows import (
    NO_LEASE,
    file_of,
    held_by,
    is_free,
    lock,
    rows_written,
)
from meterport.adapters.sql_tables import job_meters, job_parts, jobs
from meterport.domain.exports import ExportFile
from meterport.domain.fleets import Part
from meterport.domain.jobs import Job, JobId, JobStatus


def insert_meters(connection: Connection, job_id: JobId, meters: Sequence[str]) -> None:
    rows = [
        {"job_id": job_id, "position": position, "smart_meter_id": meter}
        for position, meter in enumerate(meters)
    ]
    if rows:
        connection.execute(insert(job_meters), rows)


def meters_of(connection: Connection, job: Job) -> list[str]:
    wanted = select(job_meters.c.smart_meter_id).where(job_meters.c.job_id == job.id)
    if job.part is not None:
        first, end = job.part.first_meter, job.part.end_meter
        wanted = wanted.where(job_meters.c.position >= first, job_meters.c.position < end)
    return list(connection.execute(wanted.order_by(job_meters.c.position)).scalars())


def has_free_part() -> ColumnElement[bool]:
    """Of a job in the statement around it."""
    free = select(job_parts.c.number).where(job_parts.c.job_id == jobs.c.id, is_free(job_parts))
    return and_(jobs.c.status == JobStatus.PENDING, jobs.c.parts_left > 0, free.exists())


def free_parts(*columns: Any) -> Select[Any]:
    """Of the parts that anybody may take, those columns."""
    return (
        select(*columns)
        .select_from(job_parts.join(jobs, jobs.c.id == job_parts.c.job_id))
        .where(jobs.c.status == JobStatus.PENDING, jobs.c.parts_left > 0, is_free(job_parts))
    )


def insert_parts(connection: Connection, job: Job, parts: Sequence[Part]) -> None:
    rows = [_values(job.id, part) for part in parts]
    connection.execute(delete(job_parts).where(job_parts.c.job_id == job.id))
    connection.execute(insert(job_parts).values(updated_at=db_now()), rows)


def complete_part(connection: Connection, job: Job, file: ExportFile) -> bool:
    lock(connection, job.id)
    done = connection.execute(
        update(job_parts)
        .where(held_by(job))
        .values(
            status=JobStatus.COMPLETED,
            updated_at=db_now(),
            file_path=file.key,
            record_count=file.rows,
            rows_written=file.rows,
            file_size_bytes=file.size_bytes,
            sha256=file.sha256,
            **NO_LEASE,
        )
    )
    if done.rowcount:
        connection.execute(
            update(jobs)
            .where(jobs.c.id == job.id)
            .values(parts_left=jobs.c.parts_left - 1, updated_at=db_now())
        )
    return done.rowcount == 1


def reopen(connection: Connection, job: Job, keys: Collection[str]) -> None:
    """Let those parts be written anew, by a next attempt under another key."""
    of_it = and_(job_parts.c.job_id == job.id, job_parts.c.file_path.in_(keys))
    connection.execute(
        update(job_parts)
        .where(of_it)
        .values(status=JobStatus.PENDING, updated_at=db_now(), file_path=None)
    )


def forget_parts(connection: Connection, of_jobs: ColumnElement[bool]) -> None:
    """Of unfinished jobs: they begin anew. The rows that they told of stay told."""
    connection.execute(update(jobs).where(of_jobs).values(rows_written=rows_written))
    ids = select(jobs.c.id).where(of_jobs)
    connection.execute(delete(job_parts).where(job_parts.c.job_id.in_(ids)))
    connection.execute(update(jobs).where(of_jobs).values(parts_left=None, source_version=None))


def end_parts(connection: Connection, job_id: str) -> None:
    """Of a job that has ended without a file; whoever is at one of them has lost it."""
    connection.execute(delete(job_parts).where(job_parts.c.job_id == job_id))


def files_of(connection: Connection, job_id: str) -> list[ExportFile]:
    """Those of its finished parts, in order."""
    finished = select(job_parts).where(
        job_parts.c.job_id == job_id, job_parts.c.status == JobStatus.COMPLETED
    )
    rows = connection.execute(finished.order_by(job_parts.c.number))
    return [file for row in rows if (file := file_of(row)) is not None]


def needed_parts(connection: Connection, ids: Collection[str]) -> set[str]:
    """The keys of finished parts, and of those that a live attempt may still publish.

    A job that failed or was forgotten has no parts; of an expired one none is needed.
    """
    live = (job_parts.c.lease_until > db_now()).label("live")
    kept = func.coalesce(jobs.c.expires_at > db_now(), True)
    rows = connection.execute(
        select(job_parts.c.job_id, job_parts.c.number, job_parts.c.attempt)
        .add_columns(job_parts.c.file_path, live)
        .join_from(job_parts, jobs, jobs.c.id == job_parts.c.job_id)
        .where(job_parts.c.job_id.in_(ids), kept)
        .with_for_update(of=job_parts)
    ).all()
    published = {row.file_path for row in rows if row.file_path}
    return published | {f"{row.job_id}/{row.number}-{row.attempt}" for row in rows if row.live}


def _values(job_id: JobId, part: Part) -> dict[str, Any]:
    return {
        "job_id": job_id,
        "number": part.number,
        "first_meter": part.first_meter,
        "end_meter": part.end_meter,
        "start_datetime": part.period.start,
        "end_datetime": part.period.end,
        "rows_expected": part.rows_expected,
        "status": JobStatus.PENDING,
        "attempt": 0,
        "crashes": 0,
        "retries": 0,
        "rows_written": 0,
    }
