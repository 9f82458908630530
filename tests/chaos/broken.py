"""Variants of the product with one promise taken out: each must turn its chaos test red."""

import os
import queue
import signal
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import func, select

import meterport.restore
from meterport import children, durable, housekeeping, settings, worker
from meterport.adapters import (
    local_files,
    sql_claims,
    sql_database,
    sql_job_parts,
    sql_jobs,
    sql_tables,
)
from meterport.adapters.local_disk import LocalDisk
from meterport.adapters.local_files import LocalFiles
from meterport.adapters.sql_job_rows import is_free, is_free_job
from meterport.adapters.sql_jobs import SqlJobs
from meterport.adapters.sqlite_backup import SqliteBackup
from meterport.domain.errors import ServiceUnavailable
from meterport.domain.exports import ExportFile
from meterport.domain.jobs import Job, JobId, RetryPolicy, Submission
from meterport.domain.period import Period
from meterport.domain.sheets import Sheet
from meterport.encoders import csv
from meterport.processes import StopFlag
from meterport.services import back_up, run_export, submit_export
from meterport.services.unerased import Unerased
from meterport.settings import Settings
from meterport.sources import delta_store, delta_table
from meterport.sources.delta import DeltaSource
from meterport.sources.delta_upkeep import DeltaUpkeep
from tests.chaos import broken_celery, broken_edge


def apply(name: str = "") -> None:
    """Spoil this process. An empty name leaves it whole."""
    if name:
        VARIANTS[name]()


def _patch(owner: object, name: str, value: object) -> None:
    setattr(owner, name, value)


def commit_before_rename() -> None:
    """The row says `completed` before the file has its name."""
    late: list[tuple[Path, Path]] = []
    complete = SqlJobs.complete

    def publish(self: Any) -> None:
        aside = self._part.with_name(f"{self._part.name}.aside")
        os.link(self._part, aside)
        late.append((aside, self._final))

    def complete_first(self: SqlJobs, job: Job, file: ExportFile, *rest: Any, **how: Any) -> bool:
        done = complete(self, job, file, *rest, **how)
        for aside, final in late:
            final.parent.mkdir(exist_ok=True)
            aside.rename(final)
        late.clear()
        return done

    _patch(local_files._LocalDraft, "publish", publish)
    _patch(SqlJobs, "complete", complete_first)


def written_in_place() -> None:
    """A file has its final name from its first byte on."""

    def in_place(self: LocalFiles, key: str) -> Path:
        path = self._file(key)
        path.parent.mkdir(exist_ok=True)
        return path

    def publish(self: Any) -> None:
        self._part = Path(os.devnull) / "nothing"

    _patch(LocalFiles, "_part", in_place)
    _patch(local_files._LocalDraft, "publish", publish)


def no_attempt_check() -> None:
    """Whoever once held a job may change its row for ever."""

    def whoever(job: Job) -> Any:
        if job.part is None:
            return sql_tables.jobs.c.id == job.id
        parts = sql_tables.job_parts
        return (parts.c.job_id == job.id) & (parts.c.number == job.part.number)

    _patch(sql_jobs, "held_by", whoever)
    _patch(sql_job_parts, "held_by", whoever)


def no_renewed_claims() -> None:
    """A job whose worker died is taken by nobody."""

    def never_held(job: Any) -> Any:
        return is_free_job(job) & job.c.lease_until.is_(None)

    _patch(sql_claims, "is_free_job", never_held)


def no_renewed_parts() -> None:
    """A part whose worker died is taken by nobody."""

    def never_held(part: Any) -> Any:
        return is_free(part) & part.c.lease_until.is_(None)

    _patch(sql_job_parts, "is_free", never_held)


def parts_unchecked() -> None:
    """Parts are joined in the order in which they were finished, and not read through."""
    files_of = sql_job_parts.files_of

    def as_finished(connection: Any, job_id: str) -> list[ExportFile]:
        by_time = select(sql_tables.job_parts.c.file_path).order_by(
            sql_tables.job_parts.c.updated_at, sql_tables.job_parts.c.number
        )
        order = list(connection.execute(by_time).scalars())
        return sorted(files_of(connection, job_id), key=lambda file: order.index(file.key))

    _patch(sql_jobs, "files_of", as_finished)


def answer_before_commit() -> None:
    """The client has its id before the row is on the disk."""
    add = SqlJobs.add

    def later(self: SqlJobs, request: Any, **how: Any) -> Submission:
        job_id = JobId(str(uuid.uuid4()))
        threading.Timer(0.05, lambda: add(self, request, **how)).start()
        waiting = Job(job_id, request, *_JUST_NOW)
        return Submission(replace(waiting, id=job_id), replayed=False)

    _patch(SqlJobs, "add", later)


def keys_are_not_kept() -> None:
    """An Idempotency-Key is forgotten as soon as the answer is given."""
    _patch(sql_jobs, "_insert_key", lambda *arguments: None)


def all_at_once() -> None:
    """An export holds all its readings before it writes the first."""
    counted = run_export.Rows.counted

    def collected(self: run_export.Rows, frames: Iterable[Any]) -> Iterable[Any]:
        return counted(self, list(frames))

    _patch(run_export.Rows, "counted", collected)


def log_before_data() -> None:
    """The log of the readings names a data file before the file has its name."""
    late: list[tuple[Path, Path]] = []
    publish, commit = durable.publish, delta_table.commit

    def put_off(part: Path, final: Path) -> None:
        if final.parent.name.startswith("month="):
            aside = part.with_name(f".{final.name}")
            part.rename(aside)
            late.append((aside, final))
        else:
            publish(part, final)

    def commit_first(*table_and_change: Any) -> int:
        version = commit(*table_and_change)
        for aside, final in late:
            publish(aside, final)
        late.clear()
        return version

    _patch(durable, "publish", put_off)
    _patch(delta_store, "commit", commit_first)


def ignores_eio() -> None:
    """A failed fsync is taken for a good one."""
    fsync = os.fsync

    def ignoring(descriptor: int) -> None:
        with suppress(OSError):
            fsync(descriptor)

    _patch(os, "fsync", ignoring)


def no_sync_in_database() -> None:
    """SQLite leaves it to the system when a commit reaches the disk."""
    prepare = sql_database._prepare_sqlite

    def unsynced(connection: sqlite3.Connection, record: object) -> None:
        prepare(connection, record)
        connection.execute("PRAGMA synchronous=OFF")

    _patch(sql_database, "_prepare_sqlite", unsynced)


def no_fsync() -> None:
    """Nothing that Python writes is synced; SQLite syncs for itself."""
    _patch(os, "fsync", lambda descriptor: None)


def reads_the_newest() -> None:
    """Each frame comes from the version that is the newest when it is read."""
    scan = DeltaSource.scan

    def in_days(self: DeltaSource, meters: Any, period: Period, **how: Any) -> Iterator[Any]:
        start = period.start
        while start < period.end:
            end = min(start + timedelta(days=5), period.end)
            yield from scan(self, meters, Period(start, end), **how | {"version": None})
            start = end

    _patch(DeltaSource, "scan", in_days)


def backup_named_first() -> None:
    """A backup's folder has its final name from the beginning."""

    @contextmanager
    def in_place(target: Path) -> Iterator[Path]:
        target.mkdir()
        yield target

    _patch(back_up, "_unfinished", in_place)


def backup_of_the_readings_first() -> None:
    """The jobs are copied when some of them have read newer readings than those in the backup."""
    late: list[Callable[[], None]] = []
    copy_jobs, copy_readings = SqliteBackup.copy, DeltaUpkeep.copy

    def later(self: SqliteBackup, target: Path) -> None:
        late.append(lambda: _copied_after_an_import(self, target))

    def _copied_after_an_import(self: SqliteBackup, target: Path) -> None:
        begin = _newest_exported(self)
        while _newest_exported(self) == begin:
            time.sleep(0.01)
        copy_jobs(self, target)

    def readings_first(self: DeltaUpkeep, target: Path, version: int) -> list[str]:
        damaged = copy_readings(self, target, version)
        late.pop()()
        return damaged

    _patch(SqliteBackup, "copy", later)
    _patch(DeltaUpkeep, "copy", readings_first)


def _newest_exported(copier: Any) -> Any:
    completed = sql_tables.jobs.c.status == "completed"
    newest = select(func.max(sql_tables.jobs.c.source_version)).where(completed)
    with copier._database.read() as connection:
        return connection.execute(newest).scalar()


def restore_without_a_mark() -> None:
    """Nothing tells that an exchange was cut off."""
    exchange = meterport.restore._exchange

    def unmarked(marker: Path, places: Any) -> list[Path]:
        return exchange(marker.with_name("no-mark"), places)

    _patch(meterport.restore, "_exchange", unmarked)


def poison_kills_its_worker() -> None:
    """No promise is taken out: the readings of one meter end whatever process encodes them."""
    rows = csv.rows

    def killed(frame: pl.DataFrame, sheet: Sheet) -> bytes:
        if "poison" in frame["smart_meter_id"]:
            os.kill(os.getpid(), signal.SIGKILL)
        return rows(frame, sheet)

    _patch(csv, "rows", killed)


def crashes_without_end() -> None:
    """A job may take down any number of workers."""
    endless = RetryPolicy(crashes=1_000_000)
    _patch(Settings, "retry_policy", property(lambda self: endless))


def deaf_to_the_order_to_stop() -> None:
    """Workers go on when they are told to stop, until they are killed."""

    @contextmanager
    def deaf() -> Iterator[StopFlag]:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        yield StopFlag()

    _patch(worker, "stop_signals", deaf)
    _patch(children, "STOP_GRACE_S", 0.5)


def leases_kept_to_the_end() -> None:
    """A worker that stops keeps the job that it did not finish."""
    _patch(SqlJobs, "hand_back", lambda self, job: True)


def parts_left_behind() -> None:
    """An attempt that fails leaves what it has written."""
    _patch(local_files._LocalDraft, "close", lambda self: self._file.close())
    _patch(LocalFiles, "delete", lambda self, key: None)


def full_disk_overlooked() -> None:
    """What finds no space is as good as written."""

    def write(self: Any, data: bytes) -> None:
        with suppress(OSError):
            self._file.write(data)

    def publish(self: Any) -> None:
        durable.publish(self._part, self._final)

    _patch(local_files._LocalDraft, "write", write)
    _patch(local_files._LocalDraft, "publish", publish)
    _patch(LocalDisk, "check", lambda self: None)


def hurried_housekeeping() -> None:
    """No promise is taken out: the quick chores come ten times as often, to save the test time."""
    _patch(housekeeping, "TICK_S", 0.5)


def nobody_hands_on() -> None:
    """A message that was lost is not sent again."""
    _patch(housekeeping, "hand_on", lambda **services: None)


def outages_are_defects() -> None:
    """A database that does not answer is an error like any other."""
    _patch(sql_database, "_translated", nullcontext)


def accepts_without_a_database() -> None:
    """A job that could not be stored is as good as accepted."""
    from meterport.web import contract  # late: only the API needs it

    submit = submit_export.submit_export

    def accepted(request: Any, **how: Any) -> Submission:
        try:
            return submit(request, **how)
        except ServiceUnavailable:
            job_id = JobId(str(uuid.uuid4()))
            return Submission(Job(job_id, request, *_JUST_NOW), replayed=False)

    _patch(contract, "submit_export", accepted)


def failed_uploads_overlooked() -> None:
    """What the store did not take is as good as written."""
    from meterport.adapters import object_store  # late: it needs an extra that others do without

    def put(self: Any, data: bytes | None) -> None:
        with suppress(queue.Full):
            self._queue.put(data, timeout=0.5)

    _patch(object_store._Upload, "_put", put)
    _patch(object_store._Upload, "_check", lambda self: None)


def commit_before_upload() -> None:
    """The row says `completed` before the store has the whole file."""
    from meterport.adapters import object_store

    late: list[Callable[[], None]] = []
    publish, complete = object_store._Upload.publish, SqlJobs.complete

    def put_off(self: Any) -> None:
        late.append(lambda: publish(self))
        self._published = True

    def complete_first(self: SqlJobs, job: Job, file: ExportFile, *rest: Any, **how: Any) -> bool:
        done = complete(self, job, file, *rest, **how)
        late.pop()()
        return done

    _patch(object_store._Upload, "publish", put_off)
    _patch(SqlJobs, "complete", complete_first)


def uploads_left_behind() -> None:
    """Nobody looks for uploads that were begun and not finished."""
    from meterport.adapters.s3_uploads import S3Uploads

    _patch(S3Uploads, "keys", lambda self: iter(()))


def polars_before_the_fork() -> None:
    """Whoever reads the settings at import, as Celery's parent does, makes a call of Polars."""
    load = settings.load_settings

    def counted(**given: Any) -> Settings:
        pl.LazyFrame({"number": [1]}).select(pl.col("number").sum()).collect()
        return load(**given)

    _patch(settings, "load_settings", counted)


def sends_what_was_erased() -> None:
    """A download goes on to its end, whatever is erased meanwhile."""
    _patch(Unerased, "check", lambda self, job_id: None)


def logs_tell_all() -> None:
    """The line of a request has its path and headers, and that of a job its meter."""
    from meterport.services import work_job
    from meterport.web import edge

    attempt = work_job._attempt

    def whole(scope: Any, exchange: Any) -> None:
        edge.log.info("request", asked=repr((scope["path"], scope["query_string"])))
        edge.log.debug("headers", headers=repr(scope["headers"]))

    def told(job: Job, at: Any) -> None:
        work_job.log.info("export_begins", meter=job.request.smart_meter_id)
        attempt(job, at)

    _patch(edge, "_log", whole)
    _patch(work_job, "_attempt", told)


def _just_now() -> tuple[Any, ...]:
    from datetime import UTC, datetime

    from meterport.domain.jobs import JobStatus

    now = datetime.now(UTC)
    return JobStatus.PENDING, now, now


_JUST_NOW = _just_now()

VARIANTS: Mapping[str, Callable[[], None]] = {
    **broken_celery.VARIANTS,
    **broken_edge.VARIANTS,
    **{
        variant.__name__: variant
        for variant in (
            commit_before_rename,
            written_in_place,
            no_attempt_check,
            no_renewed_claims,
            no_renewed_parts,
            parts_unchecked,
            answer_before_commit,
            keys_are_not_kept,
            all_at_once,
            no_fsync,
            log_before_data,
            ignores_eio,
            no_sync_in_database,
            reads_the_newest,
            backup_named_first,
            backup_of_the_readings_first,
            restore_without_a_mark,
            poison_kills_its_worker,
            crashes_without_end,
            deaf_to_the_order_to_stop,
            leases_kept_to_the_end,
            parts_left_behind,
            full_disk_overlooked,
            hurried_housekeeping,
            nobody_hands_on,
            outages_are_defects,
            accepts_without_a_database,
            failed_uploads_overlooked,
            commit_before_upload,
            polars_before_the_fork,
            uploads_left_behind,
            sends_what_was_erased,
            logs_tell_all,
        )
    },
}
