"""The same work, called by Celery:

    celery -A meterport.celery_app worker -Q meterport-small,meterport-large

A message only says that its lane has work; which job it is, the claim in the jobs table decides. So
a message that comes twice, or too late, or for a job that somebody else has, does no harm. Prefork
and threads both work: what a process works with is made after the fork, and nothing before it uses
Polars.
"""

import os
import threading
from functools import cache
from multiprocessing import get_context
from typing import Any

import structlog
from celery.signals import setup_logging, worker_process_init, worker_ready, worker_shutting_down

from meterport.adapters.celery_dispatch import TASK, broker, check_url
from meterport.domain.errors import MeterportError, StartRefused
from meterport.domain.jobs import Lane
from meterport.settings import Settings, load_settings
from meterport.telemetry import configure_logs, forward_logs


def _settings() -> Settings:
    """Celery would show a mistake in them as a traceback, and none as another broker."""
    try:
        settings = load_settings()
        check_url(settings.broker_url)
    except StartRefused as error:
        raise SystemExit(f"meterport: {error.code}: {error.message}") from error
    return settings


settings = _settings()
app = broker(settings.broker_url)
CONNECT_AGAIN_S = 5.0
# Shared with forked children: set in the parent, seen at work.
_stopping = get_context("fork").Event()
log = structlog.get_logger()


@setup_logging.connect  # type: ignore[untyped-decorator]
def _logs(**_: Any) -> None:
    configure_logs(settings.log_format, settings.log_level)
    forward_logs("celery", "kombu")


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _stop(**_: Any) -> None:
    _stopping.set()


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _show_up(**_: Any) -> None:
    """Beside what Celery does, which gives a new process seconds: this loads what jobs need."""
    threading.Thread(target=_announced, args=(os.getpid(),), daemon=True).start()


@worker_ready.connect  # type: ignore[untyped-decorator]
def _show_up_with_threads(sender: Any, **_: Any) -> None:
    if not type(sender.pool).__module__.endswith("prefork"):
        _show_up()


@app.task(name=TASK)  # type: ignore[untyped-decorator]
def work(lane: str, job_id: str) -> bool:
    """Whether there was a job."""
    from meterport.services.work_job import work_job

    try:
        return work_job(_workplace(os.getpid()), lanes=[Lane(lane)])
    except MeterportError as error:
        # The database does not answer. Housekeeping sends again once it does.
        log.warning("worker_waits", code=error.code, reason=error.message)
        return False


@cache
def _workplace(pid: int) -> Any:
    """One a process, however many threads it has."""
    from meterport.bootstrap import connect
    from meterport.worker import workplace

    services = connect(settings)
    at = workplace(services, settings, _stopping)
    services.presence.announce(at.lease.worker_id)
    return at


def _announced(pid: int) -> None:
    """Others see the process as soon as the database can be reached."""
    while not _stopping.is_set():
        try:
            _workplace(pid)
        except MeterportError as error:
            log.warning("worker_waits", code=error.code, reason=error.message)
            _stopping.wait(CONNECT_AGAIN_S)
        else:
            return
