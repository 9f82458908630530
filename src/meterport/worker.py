"""A worker process: claim, run, record, again; asleep until woken, or for a second."""

import os
import signal
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from meterport.adapters.local_dispatch import wait
from meterport.bootstrap import connect
from meterport.domain.errors import MeterportError
from meterport.domain.jobs import Lease
from meterport.services.work_job import Workplace, work_job
from meterport.settings import Settings

POLL_S = 1.0

log = structlog.get_logger()


def run_worker(settings: Settings, *, wake_fd: int | None, parent: int | None) -> None:
    """Work until SIGTERM, or until the `parent` process is gone.

    On SIGTERM a running job is handed back; another worker takes it at once.
    """
    stopping = threading.Event()
    services = connect(settings)
    at = Workplace(
        jobs=services.jobs,
        source=services.source,
        catalog=services.catalog,
        objects=services.objects,
        lease=Lease(f"{os.getpid()}-{uuid.uuid4().hex}", settings.job_lease),
        stopping=stopping,
    )
    receiver = None if wake_fd is None else socket.socket(fileno=wake_fd)
    with _signals(stopping.set) as signalled:
        log.info("worker_ready")
        while not stopping.is_set() and _has_parent(parent):
            if not _worked(at):
                wait(receiver, others=[signalled], timeout_s=POLL_S)
    log.info("worker_stopped")


def _worked(at: Workplace) -> bool:
    try:
        return work_job(at)
    except MeterportError as error:
        log.warning("worker_waits", code=error.code, reason=error.message)
        return False


def _has_parent(parent: int | None) -> bool:
    return parent is None or os.getppid() == parent


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[int]:
    """Yields a descriptor that becomes readable when a signal has arrived."""
    readable, writable = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def handle(number: int, frame: object) -> None:
        stop()
        os.write(writable, b"!")

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    yield readable
