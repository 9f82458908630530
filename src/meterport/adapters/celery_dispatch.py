"""Wake-up through Celery: a message is a token for its lane, and says a job's id as a hint.

Sent from a thread of its own with short time-outs and no retry, so that nobody waits for a broker
that is down. What is lost is found in the jobs table by housekeeping, and sent again.
"""

import queue
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import structlog

from meterport.domain.errors import StartRefused
from meterport.domain.jobs import JobId, Lane

if TYPE_CHECKING:
    from celery import Celery

TASK = "meterport.work"
UNSENT = 1000
"""Messages that may wait for a slow broker; more are dropped."""

TRANSPORT = {
    "socket_connect_timeout": 2,
    # A worker whose connection died without a word works again within 10 s: it looks every so
    # often whether an answer is overdue, and may then wait for one in another connection.
    "socket_timeout": 3,
    "health_check_interval": 2,
    # For a sender: else it would try to connect until the broker is back, at a growing pace.
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0,
    "interval_max": 0,
}

log = structlog.get_logger()


class CeleryDispatch:
    def __init__(self, broker_url: str) -> None:
        # Here, and not in the thread: what is not installed shall be told at the start.
        self._app = broker(broker_url)
        self._unsent: queue.Queue[tuple[JobId, Lane]] = queue.Queue(UNSENT)
        self._lock = threading.Lock()
        self._sender: threading.Thread | None = None

    def wake(self, job_id: JobId, lane: Lane) -> None:
        self._start()
        try:
            self._unsent.put_nowait((job_id, lane))
        except queue.Full:
            log.warning("wake_up_dropped", job=job_id)

    def remind(self, stranded: Sequence[tuple[JobId, Lane]]) -> None:
        """As many messages as are missing: those that wait in a lane's queue will do for the rest.

        So the length of a queue is that of the work, however often this is said.
        """
        try:
            with self._app.connection_for_write() as connection:
                waiting = {lane: _waiting(connection, lane) for lane in Lane}
        except broker_errors(self._app) as error:
            log.warning("broker_unreachable", reason=type(error).__name__)
            return
        for lane in Lane:
            of_lane = [job_id for job_id, its_lane in stranded if its_lane is lane]
            for job_id in of_lane[waiting[lane] :]:
                self.wake(job_id, lane)

    def _start(self) -> None:
        # Late, and not before a fork: a thread does not survive one.
        with self._lock:
            if self._sender is None:
                self._sender = threading.Thread(target=self._send, name="celery", daemon=True)
                self._sender.start()

    def _send(self) -> None:
        while True:
            job_id, lane = self._unsent.get()
            try:
                self._app.send_task(TASK, (lane.value, job_id), queue=queue_of(lane), retry=False)
            except Exception as error:  # noqa: BLE001 - whatever it is, the next one may be sent
                log.warning("broker_unreachable", job=job_id, reason=type(error).__name__)


def _waiting(connection: Any, lane: Lane) -> int:
    """The messages that no worker has taken yet."""
    with connection.channel() as channel:
        try:
            return int(channel.queue_declare(queue_of(lane), passive=True).message_count)
        except connection.channel_errors:
            return 0  # nobody has asked for the queue yet


def broker(url: str) -> "Celery":
    """Celery's application, as sender and worker share it."""
    from celery import Celery

    app = Celery("meterport", broker=url, set_as_current=False)
    app.amqp.Connection = _reconnecting()
    app.conf.update(
        task_acks_late=True,
        task_default_queue=queue_of(Lane.SMALL),
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_consumer="meterport.adapters.celery_consumer:LastingConsumer",
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # else a worker ends itself in a long outage
        broker_connection_timeout=2,
        broker_transport_options=TRANSPORT,
    )
    return app


def broker_errors(app: "Celery") -> tuple[type[Exception], ...]:
    """What a broker that is down, or refuses, makes its driver raise.

    Raises KeyError, ValueError, ImportError or AttributeError where the URL names none, or one
    without a driver.
    """
    from kombu.exceptions import OperationalError

    connection = app.connection()
    return (
        OSError,
        OperationalError,
        *connection.connection_errors,
        *connection.channel_errors,
    )


def check_url(url: str) -> None:
    """Raises StartRefused where the URL names no broker."""
    if not url:
        raise StartRefused("METERPORT_BROKER_URL is empty; write one such as redis://host/0")
    try:
        broker_errors(broker(url))
    except (KeyError, ValueError, AttributeError) as error:
        raise StartRefused(
            f"METERPORT_BROKER_URL cannot be used ({type(error).__name__}); write one such as "
            "redis://host/0 or amqp://user@host//"
        ) from error


def _reconnecting() -> type:
    """A connection that asks a broker which is away again after 1 to 6 s; Celery's pace is 30 s.

    When it is lost, it is closed to the end.
    """
    from kombu.connection import Connection

    class Reconnecting(Connection):
        def ensure_connection(self, *arguments: Any, **given: Any) -> Any:
            pace = {"interval_start": 1, "interval_step": 1, "interval_max": 5}
            again: Any = super().ensure_connection
            return again(*arguments, **given | pace)

        def _do_close_self(self) -> None:
            # Kombu's own stops at the first channel that fails to close. The others stay open, and
            # whoever closes them later, or acknowledges to them, gets an AttributeError.
            close: Any = self.maybe_close_channel
            for channel in [*(getattr(self._transport, "channels", None) or ())]:
                close(channel)
            rest: Any = super()._do_close_self
            rest()

    return Reconnecting


def queue_of(lane: Lane) -> str:
    return f"meterport-{lane.value}"
