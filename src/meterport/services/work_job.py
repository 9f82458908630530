"""Claim one job, run it, record how it ended. The one place that catches broadly."""

import random
import sys
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta

import structlog

from meterport.domain.completeness import Manifest
from meterport.domain.errors import (
    AskedVersionGone,
    ExportCancelled,
    ExportCrashed,
    ExportError,
    FileGenerationFailed,
    InternalError,
    ServiceUnavailable,
    StorageUnavailable,
    TimezoneUnknown,
)
from meterport.domain.exports import ExportFile
from meterport.domain.fleets import PART_ROWS, Part, parts
from meterport.domain.jobs import KEEP_FILES, Hold, Job, JobId, Lane, Lease, RetryPolicy
from meterport.domain.options import Layout
from meterport.domain.readings import MeterSummary
from meterport.domain.zones import is_zone
from meterport.encoders import FORMATS
from meterport.encoders.base import Cut
from meterport.encoders.compression import chosen
from meterport.ports import JobStore, MeterCatalog, ObjectStore, ReadingSource, Stopping
from meterport.services.choose_meters import Limits, check_written
from meterport.services.find_meters import find_meters, meters_at
from meterport.services.growing_wait import GrowingWait
from meterport.services.heartbeat import HandedBack, Heartbeat, LeaseLost
from meterport.services.join_parts import join_parts
from meterport.services.run_export import Fleet, run_export

WAKE_UPS = 500
"""For the parts of one job; of more than that housekeeping tells."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Workplace:
    """What a worker works with.

    `stopping` is set when the worker shall let go of its job; `abandon` ends the process when
    a job that ran out of time does not. `wake` tells other workers of what a job leaves to do.
    `unrecorded` is the wait after an attempt of which nothing could be recorded.
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
    part_rows: int = PART_ROWS
    limits: Limits = field(default_factory=Limits)
    abandon: Callable[[], None] = lambda: None
    unrecorded: GrowingWait = field(default_factory=GrowingWait)
    wake: Callable[[JobId, Lane], None] = lambda _job_id, _lane: None


def work_job(
    at: Workplace, lanes: Collection[Lane] = tuple(Lane), *, only: JobId | None = None
) -> bool:
    """Work on the fairest free job of those lanes, or `only` on that one; False: there is none."""
    job = at.jobs.claim(at.lease, lanes, only=only)
    if job is None:
        return False
    part = {} if job.part is None else {"part": job.part.number}
    with structlog.contextvars.bound_contextvars(job=job.id, attempt=job.attempt, **part):
        log.info("export_started")
        try:
            _attempt(job, at)
        except ServiceUnavailable as error:
            log.warning("export_without_database", error=error.message)
            _hand_back_later(job, at)
        else:
            at.unrecorded.reset()
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
        if file is not None:
            log.info("export_completed", rows=file.rows, size_bytes=file.size_bytes)


def _run(job: Job, at: Workplace, heartbeat: Heartbeat) -> ExportFile | None:
    """What was written; None where that is left to others."""
    if job.cancel_requested:
        raise ExportCancelled
    if job.crashes >= at.policy.crashes:
        raise ExportCrashed(job.crashes)
    if not is_zone(job.request.options.shape.zone):
        raise TimezoneUnknown(job.request.options.shape.zone)
    if job.parts_left == 0:
        return _join(job, at, heartbeat)
    if job.part is not None:
        if not _is_readable(job, at):
            _replan(job, at)
            return None
        return _write(job, at, heartbeat)
    return _begin(job, at, heartbeat)


def _is_readable(job: Job, at: Workplace) -> bool:
    return job.source_version is None or at.source.keeps(job.source_version)


def _replan(job: Job, at: Workplace) -> None:
    """The version that all parts read has gone: an erasure went by while they were planned."""
    if not at.jobs.replan(job):
        raise LeaseLost
    log.info("export_planned_anew", source_version=job.source_version)
    at.wake(job.id, job.lane)


def _begin(job: Job, at: Workplace, heartbeat: Heartbeat) -> ExportFile | None:
    found = find_meters(at.jobs.meters(job), source=at.source, catalog=at.catalog)
    request = job.request
    planned = _parts(job, found, at.part_rows)
    compression = chosen(
        request.compression,
        FORMATS[request.format],
        sum(part.rows_expected for part in planned),
    )
    begun = replace(
        job, source_version=_version(job, at), request=replace(request, compression=compression)
    )
    if len(planned) > 1:
        _split(begun, planned, at)
        return None
    if not at.jobs.begin(
        job,
        source_version=begun.source_version,
        rows_expected=planned[0].rows_expected,
        compression=compression,
    ):
        raise LeaseLost
    return _write(begun, at, heartbeat)


def _version(job: Job, at: Workplace) -> int | None:
    """Which the file is to be made of. Raises AskedVersionGone."""
    asked = job.request.options.as_of
    if asked is not None:
        if not at.source.keeps(asked):
            raise AskedVersionGone(asked, newest=at.source.version())
        return asked
    # Not kept: an erasure went by since an earlier attempt.
    kept = job.source_version is not None and _is_readable(job, at)
    return job.source_version if kept else at.source.version()


def _parts(job: Job, found: Sequence[MeterSummary], part_rows: int) -> list[Part]:
    """One, where the file cannot be made in parts."""
    request, shape = job.request, job.request.options.shape
    cut = FORMATS[request.format].cut
    in_parts = request.is_fleet and cut > Cut.NEVER and request.options.layout is Layout.ONE_FILE
    return parts(
        found,
        request.period,
        part_rows=part_rows if in_parts else sys.maxsize,
        # A bucket, or a gap, may reach over the border of days.
        whole_meters=cut < Cut.ROWS or not shape.keeps_rows,
        step_s=shape.step_s,
    )


def _split(job: Job, planned: Sequence[Part], at: Workplace) -> None:
    if not at.jobs.split(
        job,
        planned,
        source_version=job.source_version,
        compression=job.request.compression,
    ):
        raise _called_off_or_lost(job, at)
    log.info("export_split", parts=len(planned))
    for _ in planned[:WAKE_UPS]:
        at.wake(job.id, job.lane)


def _write(job: Job, at: Workplace, heartbeat: Heartbeat) -> ExportFile:
    written = run_export(
        job,
        _fleet(job, at),
        source=at.source,
        objects=at.objects,
        report=heartbeat.report,
        limits=at.limits,
    )
    _complete(job, written.file, at, written.manifest)
    if job.part is not None:
        whole = at.jobs.get(job.id)
        if whole is not None and whole.parts_left == 0:
            at.wake(job.id, job.lane)
    return written.file


def _fleet(job: Job, at: Workplace) -> Fleet:
    own = at.jobs.meters(job)
    known = meters_at(job.source_version, own, source=at.source, catalog=at.catalog)
    # The head of a file, which its first part writes, may name them all.
    heads = job.part is not None and job.part.number == 1
    return Fleet(tuple(at.jobs.meters(replace(job, part=None)) if heads else own), known)


def _join(job: Job, at: Workplace, heartbeat: Heartbeat) -> ExportFile | None:
    pieces = at.jobs.pieces(job)
    check_written(sum(piece.rows for piece in pieces), job.request.options.shape, at.limits)
    joined = join_parts(job, pieces, objects=at.objects, report=heartbeat.report)
    if not joined.damaged:
        _complete(job, joined.file, at)
        return joined.file
    if job.retries >= at.policy.retries:
        raise FileGenerationFailed("parts of the file were damaged again and again")
    log.warning("parts_damaged", keys=joined.damaged)
    if not at.jobs.redo(job, joined.damaged):
        raise _called_off_or_lost(job, at, joined.file.rows)
    for _ in joined.damaged:
        at.wake(job.id, job.lane)
    return None


def _complete(job: Job, file: ExportFile, at: Workplace, manifest: Manifest | None = None) -> None:
    if not at.jobs.complete(job, file, manifest, keep=at.keep_files):
        raise _called_off_or_lost(job, at, file.rows)


def _called_off_or_lost(job: Job, at: Workplace, rows: int = 0) -> Exception:
    hold = at.jobs.renew(job, at.lease, rows_written=rows)
    return ExportCancelled() if hold is Hold.CANCELLED else LeaseLost()


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
    lease_s = at.lease.duration.total_seconds()
    give_up = time.monotonic() + lease_s
    while time.monotonic() < give_up and not at.stopping.wait(_wait_s(at, lease_s)):
        with suppress(ServiceUnavailable):
            at.jobs.hand_back(job)
            return


def _wait_s(at: Workplace, lease_s: float) -> float:
    """Several within a lease, however long it has grown: beyond it the outage would be a crash."""
    return min(at.unrecorded.next_s(jitter=random.random()), lease_s / 4)  # noqa: S311 - no secret


def _remove(job: Job, at: Workplace) -> None:
    """What cannot be removed now is left to the sweep."""
    try:
        at.objects.delete(job.key)
    except (OSError, StorageUnavailable) as error:
        log.warning("leftover_not_removed", reason=str(error))
