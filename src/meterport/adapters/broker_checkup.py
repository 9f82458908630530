"""What doctor asks of the broker: does it answer. No error if not: jobs are accepted without it."""

from collections.abc import Iterator

from meterport.adapters.celery_dispatch import broker, broker_errors
from meterport.domain.findings import Finding, error, ok, warning

ANSWERS_WITHIN_S = 2


class BrokerCheckup:
    def __init__(self, broker_url: str) -> None:
        self._broker_url = broker_url

    def findings(self) -> Iterator[Finding]:
        app = broker(self._broker_url)
        quick = {
            "socket_connect_timeout": ANSWERS_WITHIN_S,
            "socket_timeout": ANSWERS_WITHIN_S,
        }
        try:
            failures = broker_errors(app)
        except (KeyError, ValueError, ImportError, AttributeError) as failed:
            yield error("broker", f"the URL cannot be used ({type(failed).__name__})", _URL)
            return
        try:
            with app.connection(
                connect_timeout=ANSWERS_WITHIN_S, transport_options=quick
            ) as connection:
                connection.connect()
        except failures as failed:
            yield warning("broker", f"it does not answer ({type(failed).__name__})", _START)
        else:
            yield ok("broker", "it answers")


_URL = "write METERPORT_BROKER_URL as redis://host/0 or amqp://user@host//"
_START = (
    "start it, or correct METERPORT_BROKER_URL; until then jobs are accepted and wait, "
    "and housekeeping sends again what was lost"
)
