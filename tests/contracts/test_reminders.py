"""Housekeeping reminds of what nobody took: the broker holds as many messages as there is work."""

from collections.abc import Iterator

import pytest
import redis

from meterport.adapters.celery_dispatch import CeleryDispatch, check_url
from meterport.domain.errors import StartRefused
from meterport.domain.jobs import JobId, Lane
from tests.brokers import Valkey
from tests.contracts.conftest import wait_until

STRANDED = [(JobId(f"00000000-0000-4000-8000-{n:012}"), Lane.SMALL) for n in range(5)]
ONE_LARGE = (JobId("00000000-0000-4000-8000-000000000009"), Lane.LARGE)


@pytest.fixture
def queues(broker: Valkey) -> Iterator[redis.Redis]:
    with redis.Redis(port=broker.port) as client:
        client.flushall()
        yield client


def waiting(queues: redis.Redis) -> tuple[int, int]:
    """In the small and in the large lane."""
    return queues.llen("meterport-small"), queues.llen("meterport-large")


def test_a_reminder_sends_a_message_for_each(broker: Valkey, queues: redis.Redis) -> None:
    CeleryDispatch(broker.url).remind([*STRANDED, ONE_LARGE])

    wait_until(lambda: waiting(queues) == (5, 1))


def test_repeated_reminders_do_not_pile_up(broker: Valkey, queues: redis.Redis) -> None:
    dispatcher = CeleryDispatch(broker.url)
    dispatcher.remind(STRANDED)
    wait_until(lambda: waiting(queues) == (5, 0))

    for _ in range(3):
        dispatcher.remind(STRANDED)
    dispatcher.remind([*STRANDED, ONE_LARGE])  # sent after whatever the others sent

    wait_until(lambda: waiting(queues)[1] == 1)
    assert waiting(queues) == (5, 1)


def test_only_what_is_missing_is_sent_again(broker: Valkey, queues: redis.Redis) -> None:
    dispatcher = CeleryDispatch(broker.url)
    dispatcher.remind(STRANDED)
    wait_until(lambda: waiting(queues) == (5, 0))
    queues.ltrim("meterport-small", 0, 1)

    dispatcher.remind(STRANDED)

    wait_until(lambda: waiting(queues) == (5, 0))


def test_a_broker_that_is_away_is_passed_over() -> None:
    CeleryDispatch("redis://127.0.0.1:1/0").remind(STRANDED)


@pytest.mark.parametrize("url", ["nonsense://host", "redis://host:port"])
def test_a_url_that_names_no_broker_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(StartRefused, match="METERPORT_BROKER_URL cannot be used"):
        check_url(url)
