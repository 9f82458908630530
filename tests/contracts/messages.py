"""Celery's messages as a worker would get them, and a broker that cannot be reached."""

import uuid
from contextlib import closing

import structlog

from meterport.adapters.celery_dispatch import TASK, broker, queue_of
from meterport.domain.jobs import JobId, Lane
from meterport.ports import Dispatcher
from tests.contracts.conftest import wait_until


def received(broker_url: str, lane: Lane) -> str:
    """The id in the next message of that lane's queue, once there is one."""
    with (
        broker(broker_url).connection_for_read() as connection,
        closing(connection.SimpleQueue(queue_of(lane))) as messages,
    ):
        message = messages.get(timeout=60)
        message.ack()
        (said, job_id), _, _ = message.payload
    assert message.headers["task"] == TASK
    assert said == lane
    return str(job_id)


def give_up(dispatcher: Dispatcher) -> None:
    """Send until a message was given up: what goes into a connection that just died is lost."""
    job_id = JobId(str(uuid.uuid4()))
    given_up = {"event": "broker_unreachable", "job": job_id}

    def told() -> bool:
        dispatcher.wake(job_id, Lane.SMALL)
        return any(given_up.items() <= event.items() for event in logged)

    with structlog.testing.capture_logs() as logged:
        wait_until(told)
