"""JobStore over SQLAlchemy Core; one set of statements for SQLite and PostgreSQL."""

import hashlib
import json
import uuid
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, false, func, or_, select, update
from sqlalchemy import insert as insert_into
from sqlalchemy.exc import IntegrityError

from meterport.adapters.sql_claims import claim
from meterport.adapters.sql_database import Database, db_now
from meterport.adapters.sql_job_parts import (
    complete_part,
    end_parts,
    files_of,
    forget_parts,
    insert_meters,
    insert_parts,
    is_of_others,
    lock_pending,
    meters_of,
    reopen,
)
from meterport.adapters.sql_job_rows import (
    NO_LEASE,
    failed_with,
    get_job,
    held_by,
    is_job_id,
    lock,
    table_of,
)
from meterport.adapters.sql_manifests import completeness_of, keep_manifest, manifests_of
from meterport.adapters.sql_room import lack_of_room
from meterport.adapters.sql_tables import idempotency_keys, jobs
from meterport.domain.access import Meters
from meterport.domain.completeness import Completeness, Manifest
from meterport.domain.errors import (
    ExportCancelled,
    ExportNotCancellable,
    IdempotencyKeyReused,
    JobNotFound,
    MeterportError,
)
from meterport.domain.exports import ExportFile, ExportRequest
from meterport.domain.fleets import Part
from meterport.domain.idempotency import WINDOW
from meterport.domain.jobs import (
    KEEP_FILES,
    Hold,
    Job,
    JobId,
    JobStatus,
    Lane,
    Lease,
    Room,
    Submission,
)
from meterport.domain.options import Compression
from meterport.domain.period import iso_utc


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
        room: Room | None = None,
    ) -> Submission:
        further = {
            "source_version": source_version,
            "lane": lane,
            "compression": request.compression,
            "options": _options(request),
            "label": request.label,
        }
        try:
            return self._add(request, owner, idempotency_key, further, room or Room())
        except IntegrityError:
            # Another request with this key committed between our look and our insert.
            return self._add(request, owner, idempotency_key, further, room or Room())

    def _add(
        self,
        request: ExportRequest,
        owner: str,
        key: str | None,
        further: dict[str, Any],
        room: Room,
    ) -> Submission:
        with self._database.write() as connection:
            # First: where it counted the job of another request with this key, that key is there.
            full = lack_of_room(connection, owner, room)
            if key is not None:
                earlier = _earlier_job(connection, owner, key, request)
                if earlier is not None:
                    return Submission(earlier, replayed=True)
            if full is not None:
                raise full
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

    def meters(self, job: Job) -> Sequence[str]:
        if not job.request.is_fleet:
            return [job.request.smart_meter_id]
        with self._database.read() as connection:
            return meters_of(connection, job)

    def has_others(self, job: Job, *, than: Meters) -> bool:
        if not job.request.is_fleet:
            return job.request.smart_meter_id not in than
        with self._database.read() as connection:
            return is_of_others(connection, job, than)

    def pieces(self, job: Job) -> Sequence[ExportFile]:
        if job.file is not None and job.file.key != job.key_of_parts:
            return [job.file]
        with self._database.read() as connection:
            return files_of(connection, job.id)

    def manifests(self, job: Job) -> Sequence[Manifest]:
        with self._database.read() as connection:
            return manifests_of(connection, job)

    def completeness(self, job: Job) -> Sequence[Completeness]:
        with self._database.read() as connection:
            return completeness_of(connection, job)

    def claim(
        self, lease: Lease, lanes: Collection[Lane] = tuple(Lane), *, only: JobId | None = None
    ) -> Job | None:
        return claim(self._database, lease, lanes, only)

    def begin(
        self,
        job: Job,
        *,
        source_version: int | None,
        rows_expected: int,
        compression: Compression | None = None,
    ) -> bool:
        return self._change(
            job,
            source_version=source_version,
            rows_expected=_expected(rows_expected),
            compression=compression or job.request.compression,
        )

    def renew(self, job: Job, lease: Lease, *, rows_written: int) -> Hold:
        row = table_of(job)
        most = case((row.c.rows_written < rows_written, rows_written), else_=row.c.rows_written)
        renewed = {"updated_at": db_now(), "lease_until": db_now(lease.duration)}
        # A job that is called off has no parts any more.
        called_off = row.c.cancel_requested if row is jobs else false()
        with self._database.write() as connection:
            found = connection.execute(
                update(row)
                .where(held_by(job))
                .values(rows_written=most, **renewed)
                .returning(called_off.label("called_off"))
            ).first()
        if found is None:
            return Hold.LOST
        return Hold.CANCELLED if found.called_off else Hold.HELD

    def split(
        self,
        job: Job,
        parts: Sequence[Part],
        *,
        source_version: int | None,
        compression: Compression | None = None,
    ) -> bool:
        planned = {
            "parts_left": len(parts),
            "rows_expected": _expected(sum(part.rows_expected for part in parts)),
            "compression": compression or job.request.compression,
        }
        with self._database.write() as connection:
            done = _change(
                connection,
                job,
                ~jobs.c.cancel_requested,
                source_version=source_version,
                **planned,
                **NO_LEASE,
            )
            if done:
                insert_parts(connection, job, parts)
        return done

    def redo(self, job: Job, keys: Collection[str]) -> bool:
        again = {"parts_left": len(keys), "retries": jobs.c.retries + 1}
        with self._database.write() as connection:
            done = _change(connection, job, ~jobs.c.cancel_requested, **again, **NO_LEASE)
            if done and reopen(connection, job, keys) != len(keys):
                raise AssertionError("a part that was to be joined is gone")
        return done

    def replan(self, job: Job) -> bool:
        with self._database.write() as connection:
            locked = lock_pending(connection, jobs.c.id == job.id)
            if not locked or not _change(connection, job, **NO_LEASE):
                return False
            forget_parts(connection, jobs.c.id == job.id)
        return True

    def complete(
        self,
        job: Job,
        file: ExportFile,
        manifest: Manifest | None = None,
        *,
        keep: timedelta = KEEP_FILES,
    ) -> bool:
        with self._database.write() as connection:
            if job.part is not None:
                return complete_part(connection, job, file, manifest)
            done = _change(
                connection,
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
            if done and manifest is not None:
                keep_manifest(connection, job, manifest)
        return done

    def fail(self, job: Job, error: MeterportError) -> bool:
        with self._database.write() as connection:
            locked = lock_pending(connection, jobs.c.id == job.id)
            if not locked or not _change(connection, job, **NO_LEASE):
                return False
            failed = failed_with(error) | {"updated_at": db_now()}
            connection.execute(update(jobs).where(jobs.c.id == job.id).values(**failed))
            end_parts(connection, [job.id])
        return True

    def retry(self, job: Job, *, after: timedelta) -> bool:
        once_more = table_of(job).c.retries + 1
        return self._change(job, retries=once_more, not_before=db_now(after), **NO_LEASE)

    def hand_back(self, job: Job) -> bool:
        return self._change(job, **NO_LEASE)

    def cancel(self, job_id: str) -> Job:
        with self._database.write() as connection:
            job = _locked(connection, job_id)
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
                raise ExportNotCancellable(f"the export {job_id} is {job.phase} already")
            if ended.rowcount:
                end_parts(connection, [job.id])
            changed = get_job(connection, job_id)
        assert changed is not None  # noqa: S101 - changed a line above, in the same transaction
        return changed

    def _change(self, job: Job, *conditions: ColumnElement[bool], **values: Any) -> bool:
        with self._database.write() as connection:
            return _change(connection, job, *conditions, **values)


def _expected(rows: int) -> ColumnElement[int]:
    """Not what a later attempt finds, so that no percentage goes back."""
    return func.coalesce(jobs.c.rows_expected, rows)


def _change(
    connection: Connection, job: Job, *conditions: ColumnElement[bool], **values: Any
) -> bool:
    done = connection.execute(
        update(table_of(job))
        .where(held_by(job), *conditions)
        .values({"updated_at": db_now()} | values)
    )
    return done.rowcount == 1


def _locked(connection: Connection, job_id: str) -> Job:
    if is_job_id(job_id):
        lock(connection, job_id)
    job = get_job(connection, job_id)
    if job is None:
        raise JobNotFound(job_id)
    return job


def _insert_job(
    connection: Connection, request: ExportRequest, owner: str, further: dict[str, Any]
) -> Job:
    job_id = JobId(str(uuid.uuid4()))
    connection.execute(
        insert_into(jobs).values(
            id=job_id,
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
    )
    insert_meters(connection, job_id, request.fleet)
    job = get_job(connection, job_id)
    assert job is not None  # noqa: S101 - inserted above, in the same transaction
    return job


def _earlier_job(
    connection: Connection, owner: str, key: str, request: ExportRequest
) -> Job | None:
    fresh = idempotency_keys.c.created_at > db_now(-WINDOW)
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
    # What was asked for, and not what "all" happened to be then.
    fleet = ("all",) if request.wants_all else request.fleet
    # What goes without saying is left out: keys of an earlier release still know their requests.
    # No meter's name has a "=" or a "#".
    compression = "" if request.compression is Compression.NONE else f"={request.compression}"
    label = "" if request.label is None else f"#{request.label}"
    looks = [word for word in (compression, _options(request), label) if word]
    said = "\n".join((request.smart_meter_id, start, end, request.format, *looks, *fleet))
    return hashlib.sha256(said.encode()).hexdigest()


def _options(request: ExportRequest) -> str | None:
    words = request.options.words()
    return json.dumps(words, sort_keys=True) if words else None
