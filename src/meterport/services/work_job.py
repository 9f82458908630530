"""Claim one job, run it, record how it ended. The one place that catches broadly."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import structlog

from meterport.domain.errors import ExportCrashed, ExportError, InternalError, ServiceUnavailable
from meterport.domain.jobs import CRASH_BUDGET, Job, Lease
from meterport.ports import JobStore, MeterCatalog, ObjectStore, ReadingSource
from meterport.services.run_export import expected_rows, find_meter, run_export

log = structlog.get_logger()

BEAT_S = 1.0
"""How often a running job's row is renewed; far within the lease."""


@dataclass(frozen=True)
class Workplace:
    """What a worker works with. `stopping` is set when the worker shall let go of its job."""

    jobs: JobStore
    source: ReadingSource
    catalog: MeterCatalog
    objects: ObjectStore
    lease: Lease
    stopping: threading.Event


class LeaseLost(Exception):
    pass


class HandedBack(Exception):
    pass


class _Heartbeat:
    """Renews the lease from a thread of its own, since a frame may take long to read."""

    def __init__(self, job: Job, at: Workplace) -> None:
        self._job = job
        self._at = at
        self._rows = 0
        self._lost = False
        self._done = threading.Event()

    @contextmanager
    def beating(self) -> Iterator[None]:
        thread = threading.Thread(target=self._beat, name=f"heartbeat-{self._job.id}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._done.set()
            thread.join()

    def report(self, rows: int) -> None:
        self._rows = rows
        if self._lost:
            raise LeaseLost
        if self._at.stopping.is_set():
            raise HandedBack

    def _beat(self) -> None:
        while not self._lost and not self._done.wait(BEAT_S):
            try:
                lost = not self._at.jobs.renew(self._job, self._at.lease, rows_written=self._rows)
            except ServiceUnavailable:
                continue  # the lease may still be there when the database is back
            self._lost = lost


def work_job(at: Workplace) -> bool:
    """Work on the oldest free job; False if there is none."""
    job = at.jobs.claim(at.lease)
    if job is None:
        return False
    with structlog.contextvars.bound_contextvars(job=job.id, attempt=job.attempt):
        log.info("export_started")
        _attempt(job, at)
    return True


def _attempt(job: Job, at: Workplace) -> None:
    heartbeat = _Heartbeat(job, at)
    try:
        with heartbeat.beating():
            _run(job, at, heartbeat)
    except LeaseLost:
        log.warning("export_lost_lease")
        _remove(job, at)
    except HandedBack:
        at.jobs.hand_back(job)
        log.info("export_handed_back")
    except ServiceUnavailable as error:
        # The row keeps its lease; when that runs out, the job is claimed again.
        log.warning("export_without_database", error=error.message)
    except ExportError as error:
        _fail(job, at, error)
    except Exception:
        log.exception("export_crashed")
        _fail(job, at, InternalError())


def _run(job: Job, at: Workplace, heartbeat: _Heartbeat) -> None:
    if job.crashes >= CRASH_BUDGET:
        raise ExportCrashed(job.crashes)
    meter = find_meter(job.request, source=at.source, catalog=at.catalog)
    if job.source_version is None:
        job = replace(job, source_version=at.source.version())
    expected = expected_rows(job.request, meter)
    if not at.jobs.begin(job, source_version=job.source_version, rows_expected=expected):
        raise LeaseLost
    file = run_export(job, source=at.source, objects=at.objects, report=heartbeat.report)
    if not at.jobs.complete(job, file):
        raise LeaseLost
    log.info("export_completed", rows=file.rows, size_bytes=file.size_bytes)


def _remove(job: Job, at: Workplace) -> None:
    """What cannot be removed now is left to the sweep."""
    try:
        at.objects.delete(job.key)
    except OSError as error:
        log.warning("leftover_not_removed", reason=error.strerror)


def _fail(job: Job, at: Workplace, error: ExportError) -> None:
    if at.jobs.fail(job, error):
        log.info("export_failed", code=error.code, cause=repr(error.__cause__))
    _remove(job, at)
