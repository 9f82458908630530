"""Variants of what runs in a Celery worker; see tests/chaos/broken.py.

Celery is an extra: imported late.
"""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from meterport.encoders import csv

HELD = "METERPORT_TEST_HELD"


def held_exports() -> None:
    """No promise is taken out: a job stays at work while the file exists that HELD names."""
    rows, held = csv.rows, Path(os.environ[HELD])

    def when_let_go(*frame_and_sheet: Any) -> bytes:
        while held.exists():
            time.sleep(0.02)
        return rows(*frame_and_sheet)

    setattr(csv, "rows", when_let_go)  # noqa: B010


def celerys_own_consumer() -> None:
    """The worker listens as Celery does it, without what we put in its way."""
    from celery import Celery
    from kombu.connection import Connection

    from meterport.adapters import celery_dispatch

    ours = celery_dispatch.broker

    def as_it_comes(url: str) -> Celery:
        app = ours(url)
        app.conf.worker_consumer = "celery.worker.consumer:Consumer"
        app.amqp.Connection = Connection
        return app

    setattr(celery_dispatch, "broker", as_it_comes)  # noqa: B010


def failing_clean_up() -> None:
    """Celery does not manage to put away a connection that was lost."""
    from celery.worker.consumer import Consumer

    def fails(self: Any, error: Exception) -> None:
        self.connection = None
        raise AttributeError("it is gone")

    setattr(Consumer, "on_connection_error_after_connected", fails)  # noqa: B010


def failing_reader() -> None:
    """Celery does not take the end of a connection for one."""
    from kombu.transport.redis import MultiChannelPoller
    from redis.exceptions import ConnectionError as ConnectionLost

    read: Any = MultiChannelPoller.on_readable

    def fails(self: Any, descriptor: int) -> Any:
        try:
            return read(self, descriptor)
        except ConnectionLost as error:
            raise RuntimeError("what might that be") from error

    setattr(MultiChannelPoller, "on_readable", fails)  # noqa: B010


VARIANTS: Mapping[str, Callable[[], None]] = {
    variant.__name__: variant
    for variant in (held_exports, celerys_own_consumer, failing_clean_up, failing_reader)
}
