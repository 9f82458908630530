"""A worker process: claim, run, record, again; asleep until woken, or for a second."""

import os
import socket
import uuid
from datetime import timedelta

import structlog

from meterport.adapters.local_dispatch import wait
from meterport.bootstrap import connect
from meterport.domain.errors import MeterportError
from meterport.domain.jobs import Lease
from meterport.processes import has_parent, stop_signals
from meterport.services.work_job import Workplace, work_job
from meterport.settings import Settings

POLL_S = 1.0
ABANDONED = 75
"""Exit code of a worker that hung in a job beyond its time."""

log = structlog.get_logger()


def run_worker(settings: Settings, *, wake_fd: int | None, parent: int | None) -> None:
    """Work until SIGTERM, or until the `parent` process is gone.

    On SIGTERM a running job is handed back; another worker takes it at once.
    """
    with stop_signals() as stopping:
        services = connect(settings)
        at = Workplace(
            jobs=services.jobs,
            source=services.source,
            catalog=services.catalog,
            objects=services.objects,
            lease=Lease(f"{os.getpid()}-{uuid.uuid4().hex}", settings.job_lease),
            stopping=stopping,
            policy=settings.retry_policy,
            time_limit=settings.job_time_limit,
            keep_files=timedelta(days=settings.keep_files_days),
            abandon=lambda: os._exit(ABANDONED),
        )
        receiver = None if wake_fd is None else socket.socket(fileno=wake_fd)
        log.info("worker_ready")
        while not stopping.is_set() and has_parent(parent):
            if not _worked(at):
                wait(receiver, others=[stopping.fileno()], timeout_s=POLL_S)
    log.info("worker_stopped")


def _worked(at: Workplace) -> bool:
    try:
        return work_job(at)
    except MeterportError as error:
        log.warning("worker_waits", code=error.code, reason=error.message)
        return False
