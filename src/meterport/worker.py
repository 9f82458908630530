"""A worker process: claim, run, record, again; asleep until woken, or for a second."""

import os
import uuid
from collections.abc import Collection
from datetime import timedelta

import structlog

from meterport.bootstrap import Services, connect, wakeups
from meterport.domain.errors import MeterportError
from meterport.domain.jobs import Lane, Lease
from meterport.ports import Stopping
from meterport.processes import has_parent, stop_signals
from meterport.services.work_job import Workplace, work_job
from meterport.settings import Settings

POLL_S = 1.0
ABANDONED = 75
"""Exit code of a worker that hung in a job beyond its time."""

log = structlog.get_logger()


def run_worker(
    settings: Settings, *, wake_fd: int | None, parent: int | None, lanes: Collection[Lane]
) -> None:
    """Work until SIGTERM, or until the `parent` process is gone.

    On SIGTERM a running job is handed back; another worker takes it at once.
    """
    with stop_signals() as stopping:
        services = connect(settings)
        at = workplace(services, settings, stopping)
        woken = wakeups(settings, wake_fd)
        leave = services.presence.announce(at.lease.worker_id)
        log.info("worker_ready")
        while not stopping.is_set() and has_parent(parent):
            if not _worked(at, lanes):
                woken.wait(others=[stopping.fileno()], timeout_s=POLL_S)
        leave()
    log.info("worker_stopped")


def workplace(services: Services, settings: Settings, stopping: Stopping) -> Workplace:
    worker_id = f"{os.getpid()}-{uuid.uuid4().hex}"
    return Workplace(
        jobs=services.jobs,
        source=services.source,
        catalog=services.catalog,
        objects=services.objects,
        lease=Lease(worker_id, settings.job_lease),
        stopping=stopping,
        policy=settings.retry_policy,
        time_limit=settings.job_time_limit,
        keep_files=timedelta(days=settings.keep_files_days),
        part_rows=settings.part_rows,
        limits=services.limits,
        abandon=lambda: os._exit(ABANDONED),
        wake=services.dispatcher.wake,
    )


def _worked(at: Workplace, lanes: Collection[Lane]) -> bool:
    try:
        return work_job(at, lanes)
    except MeterportError as error:
        log.warning("worker_waits", code=error.code, reason=error.message)
        return False
