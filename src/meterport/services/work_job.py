"""Claim one job, run it, record how it ended. The one place that catches broadly."""

import random
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta

import structlog

from meterport.domain.errors import (
    ExportCancelled,
    ExportCrashed,
    ExportError,
    InternalError,
    ServiceUnavailable,
)
from meterport.domain.exports import ExportFile
from meterport.domain.jobs import KEEP_FILES, Hold, Job, Lane, Lease, RetryPolicy
from meterport.ports import JobStore, MeterCatalog, ObjectStore, ReadingSource, Stopping
from meterport.services.heartbeat import BEAT_S, HandedBack, Heartbeat, LeaseLost
from meterport.services.run_export import expected_rows, find_meter, run_export

log = structlog.get_logger()


@dataclass(frozen=True)
class Workplace:
    """What a worker works with.

    `stopping` is set when the worker shall let go of its job; `abandon` ends the process when
    a job that ran out of time does not.
    """

    jobs: JobStore
    source: ReadingSource
    catalog: MeterCatalog
    objects: ObjectStore
    lease: Lease
    stopping: Stopping
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    time_limit: timedelta = timedelta(hours=2)
    keep_files: timedelta = KEEP_FILES
    abandon: Callable[[], None] = lambda: None


def work_job(at: Workplace, lanes: Collection[Lane] = tuple(Lane)) -> bool:
    """Work on the fairest free job of those lanes; False if there is none."""
    job = at.jobs.claim(at.lease, lanes)
    if job is None:
        return False
    with structlog.contextvars.bound_contextvars(job=job.id, attempt=job.attempt):
        log.info("export_started")
        try:
            _attempt(job, at)
        except ServiceUnavailable as error:
            log.warning("export_without_database", error=error.message)
            _hand_back_later(job, at)
    return True


def _attempt(job: Job, at: Workplace) -> None:
    heartbeat = Heartbeat(
        job,
        jobs=at.jobs,
        lease=at.lease,
        stopping=at.stopping,
        time_limit=at.time_limit,
        abandon=at.abandon,
    )
    try:
        with heartbeat.beating():
            file = _run(job, at, heartbeat)
    except LeaseLost:
        log.warning("export_lost_lease")
        _remove(job, at)
    except HandedBack:
        at.jobs.hand_back(job)
        log.info("export_handed_back")
    except ServiceUnavailable:
        raise  # as does an ending below that cannot be recorded
    except ExportError as error:
        _end(job, at, error)
    except Exception:
        log.exception("export_crashed")
        _end(job, at, InternalError())
    else:
        log.info("export_completed", rows=file.rows, size_bytes=file.size_bytes)


def _run(job: Job, at: Workplace, heartbeat: Heartbeat) -> ExportFile:
    if job.cancel_requested:
        raise ExportCancelled
    if job.crashes >= at.policy.crashes:
        raise ExportCrashed(job.crashes)
    meter = find_meter(job.request, source=at.source, catalog=at.catalog)
    if job.source_version is None or not at.source.keeps(job.source_version):
        # Not kept: an erasure went by since an earlier attempt.
        job = replace(job, source_version=at.source.version())
    expected = expected_rows(job.request, meter)
    if not at.jobs.begin(job, source_version=job.source_version, rows_expected=expected):
        raise LeaseLost
    file = run_export(job, source=at.source, objects=at.objects, report=heartbeat.report)
    if not at.jobs.complete(job, file, keep=at.keep_files):
        # Called off while it was published, or lost.
        called_off = at.jobs.renew(job, at.lease, rows_written=file.rows) is Hold.CANCELLED
        raise ExportCancelled if called_off else LeaseLost
    return file


def _end(job: Job, at: Workplace, error: ExportError) -> None:
    """Remove what was written, then retry or fail: nobody sees an end before its leftovers go."""
    _remove(job, at)
    after = _retry_after(job, at.policy, error)
    if after is None:
        done, event = at.jobs.fail(job, error), "export_failed"
    else:
        done, event = at.jobs.retry(job, after=after), "export_to_be_retried"
    if done:
        log.info(event, code=error.code, cause=repr(error.__cause__))


def _retry_after(job: Job, policy: RetryPolicy, error: ExportError) -> timedelta | None:
    if not error.retryable:
        return None
    return policy.delay(job.retries, jitter=random.random())  # noqa: S311 - no secret


def _hand_back_later(job: Job, at: Workplace) -> None:
    """Let go as soon as the database answers: its outage is no crash of ours.

    What was written stays: if the answer alone was lost, it is the job's result; else it is swept.
    """
    give_up = time.monotonic() + at.lease.duration.total_seconds()
    while time.monotonic() < give_up and not at.stopping.wait(BEAT_S):
        with suppress(ServiceUnavailable):
            at.jobs.hand_back(job)
            return


def _remove(job: Job, at: Workplace) -> None:
    """What cannot be removed now is left to the sweep."""
    try:
        at.objects.delete(job.key)
    except OSError as error:
        log.warning("leftover_not_removed", reason=error.strerror)
