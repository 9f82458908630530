"""What listens to the broker in a Celery worker, and outlives each of the broker's ends.

Celery's own ends its process at whatever it does not take for the end of a connection, also where
that happens while it cleans up after one. Nobody would work any more, though the broker is back.
"""

from typing import Any

import structlog
from celery.bootsteps import CLOSE, TERMINATE
from celery.exceptions import WorkerLostError
from celery.worker.consumer import Consumer

log = structlog.get_logger()


class LastingConsumer(Consumer):  # type: ignore[misc]
    """Connects anew after any failure, once it was ready; one that stays comes about once a second.

    What fails before that is a mistake in the start, and ends the process.
    """

    connection: Any
    _was_ready = False

    def on_ready(self) -> None:
        self._was_ready = True
        super().on_ready()

    def start(self) -> None:
        while self.blueprint.state not in (CLOSE, TERMINATE):
            try:
                super().start()
            except WorkerLostError:
                raise  # there are no processes to work in
            except Exception as error:
                if not self._was_ready:
                    raise
                log.exception("consumer_crashed")
                self._let_go(error)

    def _let_go(self, error: Exception) -> None:
        """As Celery does where it knows the error for the end of a connection."""
        try:
            if self.connection:
                self.on_connection_error_after_connected(error)
        except Exception:
            log.exception("broker_connection_not_closed")
            self.connection = None
        self.on_close()
        self._cancel_connection_timer_entries()
        self.blueprint.restart(self)
