"""The parts of fleets: each is claimed, renewed and ended like a job, by the same columns.

Locks: whoever changes a job and its parts locks the job's row first; several in order of their ids.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    case,
    delete,
    func,
    insert,
    literal,
    select,
    tuple_,
    update,
)

from meterport.adapters.sql_database import db_now
from meterport.adapters.sql_job_rows import (
    NO_LEASE,
    file_of,
    held_by,
    is_free,
    rows_written,
)
from meterport.adapters.sql_keys import is_among
from meterport.adapters.sql_manifests import drop_manifests_of, keep_manifest
from meterport.adapters.sql_tables import job_meters, job_parts, jobs
from meterport.domain.access import Meters
from meterport.domain.completeness import Manifest
from meterport.domain.exports import ExportFile
from meterport.domain.fleets import Part
from meterport.domain.jobs import Job, JobId, JobStatus

ROWS_PER_STATEMENT = 500  # below the oldest SQLite's limit of 999 variables


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


def is_of_others(connection: Connection, job: Job, meters: Meters) -> bool:
    """Whether the fleet has a meter besides those; of ten thousand none leaves the database."""
    other = ~is_among(job_meters.c.smart_meter_id, meters)
    found = select(literal(1)).where(job_meters.c.job_id == job.id, other).limit(1)
    return connection.execute(found).first() is not None


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
    rows = [_values(job, part) for part in parts]
    connection.execute(delete(job_parts).where(job_parts.c.job_id == job.id))
    connection.execute(insert(job_parts).values(updated_at=db_now()), rows)


def complete_part(
    connection: Connection, job: Job, file: ExportFile, manifest: Manifest | None
) -> bool:
    if not lock_pending(connection, jobs.c.id == job.id):
        return False
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
        if manifest is not None:
            keep_manifest(connection, job, manifest)
        connection.execute(
            update(jobs)
            .where(jobs.c.id == job.id)
            .values(parts_left=jobs.c.parts_left - 1, updated_at=db_now())
        )
    return done.rowcount == 1


def reopen(connection: Connection, job: Job, keys: Collection[str]) -> int:
    """Let those parts be written anew, by a next attempt under another key; how many."""
    of_it = and_(job_parts.c.job_id == job.id, job_parts.c.file_path.in_(keys))
    again = {"status": JobStatus.PENDING, "updated_at": db_now(), "file_path": None}
    return connection.execute(update(job_parts).where(of_it).values(**again)).rowcount


def forget_parts(connection: Connection, of_jobs: ColumnElement[bool]) -> None:
    """Of unfinished jobs, which begin anew. The rows that they told of stay told.

    Whoever plans, joins or is at a part has lost it, and no attempt's number comes twice.
    """
    for ids in chunks(lock_pending(connection, of_jobs)):
        these, parts_of_them = jobs.c.id.in_(ids), job_parts.c.job_id.in_(ids)
        # Before the sum is taken: a part may be telling of rows just now.
        _lock_parts(connection, parts_of_them)
        in_parts = and_(these, jobs.c.parts_left.is_not(None))
        anew = {"rows_written": rows_written, "attempt": _newest_attempt, **NO_LEASE}
        connection.execute(update(jobs).where(in_parts).values(**anew))
        connection.execute(delete(job_parts).where(parts_of_them))
        drop_manifests_of(connection, ids)
        connection.execute(update(jobs).where(these).values(parts_left=None, source_version=None))


_of_parts = (
    select(func.coalesce(func.max(job_parts.c.attempt), 0))
    .where(job_parts.c.job_id == jobs.c.id)
    .correlate(jobs)
    .scalar_subquery()
)
_newest_attempt = case((_of_parts > jobs.c.attempt, _of_parts), else_=jobs.c.attempt)


def lock_pending(connection: Connection, of_jobs: ColumnElement[bool]) -> list[str]:
    """The ids of those that are unfinished, locked in the order in which everybody locks."""
    wanted = select(jobs.c.id).where(of_jobs, jobs.c.status == JobStatus.PENDING)
    return list(connection.execute(wanted.order_by(jobs.c.id).with_for_update()).scalars())


def chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for at in range(0, len(ids), ROWS_PER_STATEMENT):
        yield ids[at : at + ROWS_PER_STATEMENT]


def _lock_parts(connection: Connection, parts: ColumnElement[bool]) -> None:
    in_order = (job_parts.c.job_id, job_parts.c.number)
    connection.execute(select(*in_order).where(parts).order_by(*in_order).with_for_update())


def end_parts(connection: Connection, ids: Sequence[str]) -> None:
    """Of jobs that have ended without a file; whoever is at one of the parts has lost it."""
    connection.execute(delete(job_parts).where(job_parts.c.job_id.in_(ids)))
    drop_manifests_of(connection, ids)


def files_of(connection: Connection, job_id: str) -> list[ExportFile]:
    """Those of its finished parts, in order."""
    finished = select(job_parts).where(
        job_parts.c.job_id == job_id, job_parts.c.status == JobStatus.COMPLETED
    )
    rows = connection.execute(finished.order_by(job_parts.c.number))
    return [file for row in rows if (file := file_of(row)) is not None]


def needed_parts(connection: Connection, keys: Collection[str]) -> set[str]:
    """Of those keys the ones of finished parts, and of those that a live attempt may yet publish.

    A job that failed or was forgotten has no parts; of an expired one none is needed.
    """
    live = (job_parts.c.lease_until > db_now()).label("live")
    kept = func.coalesce(jobs.c.expires_at > db_now(), True)
    in_order = (job_parts.c.job_id, job_parts.c.number)
    rows = connection.execute(
        select(*in_order, job_parts.c.attempt, job_parts.c.file_path, live)
        .join_from(job_parts, jobs, jobs.c.id == job_parts.c.job_id)
        .where(tuple_(*in_order).in_(_parts_in(keys)), kept)
        .order_by(*in_order)
        .with_for_update(of=job_parts)
    ).all()
    published = {row.file_path for row in rows if row.file_path}
    return published | {f"{row.job_id}/{row.number}-{row.attempt}" for row in rows if row.live}


def _parts_in(keys: Collection[str]) -> list[tuple[str, int]]:
    found = []
    for key in keys:
        job_id, _, name = key.partition("/")
        number, dash, _ = name.partition("-")
        if dash and number.isdecimal():
            found.append((job_id, int(number)))
    return found


def _values(job: Job, part: Part) -> dict[str, Any]:
    return {
        "job_id": job.id,
        "number": part.number,
        "first_meter": part.first_meter,
        "end_meter": part.end_meter,
        "start_datetime": part.period.start,
        "end_datetime": part.period.end,
        "rows_expected": part.rows_expected,
        "is_last": part.is_last,
        "status": JobStatus.PENDING,
        # Beyond what the attempts of an earlier plan were called.
        "attempt": job.attempt - 1,
        "crashes": 0,
        "retries": 0,
        "rows_written": 0,
    }
