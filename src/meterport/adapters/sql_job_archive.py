"""JobArchive: what housekeeping, doctor and backup ask of the jobs table."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Select, delete, func, or_, select, union_all

from meterport.adapters.sql_database import Database, db_now
from meterport.adapters.sql_import_keys import is_spent
from meterport.adapters.sql_job_parts import chunks, files_of, free_parts, needed_parts
from meterport.adapters.sql_job_rows import COLUMNS, is_expired, is_free_job, is_job_id, job_of
from meterport.adapters.sql_manifests import drop_manifests_of, expired_with_manifest
from meterport.adapters.sql_tables import (
    idempotency_keys,
    import_keys,
    job_manifests,
    job_meters,
    job_parts,
    jobs,
    leases,
    links,
)
from meterport.domain.exports import FLEET, ExportFile
from meterport.domain.idempotency import WINDOW
from meterport.domain.jobs import Job, JobId, JobStatus, Lane

ROWS_PER_STATEMENT = 500  # below the oldest SQLite's limit of 999 variables
FLEETS_PER_BATCH = 20


class SqlJobArchive:
    def __init__(self, database: Database) -> None:
        self._database = database

    def recent(self, limit: int) -> Sequence[Job]:
        newest = select(*COLUMNS).order_by(jobs.c.created_at.desc(), jobs.c.id).limit(limit)
        with self._database.read() as connection:
            return [job_of(row) for row in connection.execute(newest)]

    def some(self, ids: Collection[JobId]) -> Mapping[JobId, Job]:
        found: dict[JobId, Job] = {}
        with self._database.read() as connection:
            for some in chunks(sorted(ids)):
                rows = connection.execute(select(*COLUMNS).where(jobs.c.id.in_(some)))
                found |= {job.id: job for job in map(job_of, rows)}
        return found

    def stranded(self, *, since: timedelta) -> Sequence[tuple[JobId, Lane]]:
        found: list[tuple[JobId, Lane]] = []
        with self._database.read() as connection:
            for lane in Lane:  # each by itself: a fleet's parts must not hide small jobs
                rows = connection.execute(_stranded(lane, since)).scalars()
                found += [(JobId(job_id), lane) for job_id in rows]
        return found

    def needed(self, keys: Collection[str]) -> set[str]:
        wanted: set[str] = set()
        # As a writer: an attempt that had its lease when it began to complete commits before us.
        with self._database.write() as connection:
            for some in chunks(_jobs_of(keys)):
                wanted |= _needed_by(connection, some)
            of_jobs = [key for key in sorted(keys) if is_job_id(key.partition("/")[0])]
            for some in chunks(of_jobs):
                wanted |= needed_parts(connection, some)
        return wanted & set(keys)

    def results(self, keys: Collection[str]) -> set[str]:
        results: set[str] = set()
        with self._database.read() as connection:
            for some in chunks(_jobs_of(keys)):
                of_jobs = select(jobs.c.file_path).where(jobs.c.id.in_(some))
                of_parts = select(job_parts.c.file_path).where(job_parts.c.job_id.in_(some))
                results |= set(connection.execute(union_all(of_jobs, of_parts)).scalars())
        return results & set(keys)

    def kept_files(self) -> Iterator[tuple[JobId, ExportFile]]:
        last = None
        while rows := self._kept_files_after(last):
            yield from rows
            last = rows[-1][0]

    def oldest_version_in_use(self) -> int | None:
        unfinished = select(func.min(jobs.c.source_version)).where(
            jobs.c.status == JobStatus.PENDING
        )
        held = select(func.min(leases.c.readings_version)).where(leases.c.lease_until > db_now())
        with self._database.read() as connection:
            found = connection.execute(union_all(unfinished, held)).scalars()
            return min((version for version in found if version is not None), default=None)

    def drop_manifests(self) -> int:
        with self._database.read() as connection:
            ids = expired_with_manifest(connection)
        if ids:
            with self._database.write() as connection:
                drop_manifests_of(connection, ids)
        return len(ids)

    def forget(self, *, older_than: timedelta) -> int:
        """One batch; files that are still kept keep their records."""
        ended_long_ago = (
            select(jobs.c.id, jobs.c.smart_meter_id)
            .where(
                jobs.c.status.in_([JobStatus.COMPLETED, JobStatus.FAILED]),
                jobs.c.created_at <= db_now(-older_than),
                or_(jobs.c.expires_at.is_(None), is_expired),
            )
            .limit(ROWS_PER_STATEMENT)
        )
        spent = idempotency_keys.c.created_at <= db_now(-WINDOW)
        with self._database.read() as connection:
            ids = _a_batch(connection.execute(ended_long_ago).all())
            spent_keys = (select(idempotency_keys.c.key).where(spent), _spent_import_keys)
            has_spent_keys = connection.execute(union_all(*spent_keys)).first()
        if not ids and has_spent_keys is None:
            return 0
        with self._database.write() as connection:
            connection.execute(delete(import_keys).where(is_spent))
            of_them = idempotency_keys.c.job_id.in_(ids)
            connection.execute(delete(idempotency_keys).where(or_(spent, of_them)))
            for table in (job_meters, job_parts, job_manifests, links):
                connection.execute(delete(table).where(table.c.job_id.in_(ids)))
            connection.execute(delete(jobs).where(jobs.c.id.in_(ids)))
        return len(ids)

    def _kept_files_after(self, last: JobId | None) -> list[tuple[JobId, ExportFile]]:
        kept = (
            select(*COLUMNS)
            .where(jobs.c.status == JobStatus.COMPLETED, ~is_expired)
            .order_by(jobs.c.id)
            .limit(ROWS_PER_STATEMENT)
        )
        with self._database.read() as connection:
            page = kept if last is None else kept.where(jobs.c.id > last)
            rows = [job_of(row) for row in connection.execute(page)]
            return [(job.id, file) for job in rows for file in _pieces(connection, job)]


_spent_import_keys = select(import_keys.c.key).where(is_spent)


def _pieces(connection: Connection, job: Job) -> list[ExportFile]:
    if job.file is None:
        return []
    return files_of(connection, job.id) if job.file.key == job.key_of_parts else [job.file]


def _stranded(lane: Lane, since: timedelta) -> Select[Any]:
    columns, before = (jobs.c.id, jobs.c.created_at), db_now(-since)
    whole = select(*columns).where(is_free_job(jobs), jobs.c.updated_at <= before)
    part = free_parts(*columns).where(job_parts.c.updated_at <= before)
    free = union_all(*(some.where(jobs.c.lane == lane) for some in (whole, part))).subquery()
    return select(free.c.id).order_by(free.c.created_at).limit(ROWS_PER_STATEMENT)


def _a_batch(rows: Sequence[Any]) -> list[str]:
    """Each fleet among them may have ten thousand meters."""
    fleets = [row.id for row in rows if row.smart_meter_id == FLEET]
    return [row.id for row in rows if row.smart_meter_id != FLEET] + fleets[:FLEETS_PER_BATCH]


def _jobs_of(keys: Collection[str]) -> list[str]:
    ids = sorted({key.rpartition("/")[0] for key in keys})
    return [id_ for id_ in ids if is_job_id(id_)]


def _needed_by(connection: Connection, ids: Collection[str]) -> set[str]:
    """The keys that those jobs point at, or that a live attempt of theirs may still publish."""
    live = (jobs.c.lease_until > db_now()).label("live")
    expired = is_expired.label("expired")
    states = select(jobs.c.id, jobs.c.attempt, jobs.c.file_path, live, expired)
    in_order = states.where(jobs.c.id.in_(ids)).order_by(jobs.c.id)
    rows = connection.execute(in_order.with_for_update()).all()
    published = {row.file_path for row in rows if row.file_path and not row.expired}
    return published | {f"{row.id}/{row.attempt}" for row in rows if row.live}
