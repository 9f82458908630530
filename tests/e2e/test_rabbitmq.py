"""Messages through RabbitMQ, where it is installed: the same exports, and the same outages."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from meterport.adapters.celery_dispatch import CeleryDispatch
from meterport.domain.jobs import Lane
from tests import make, servers
from tests.brokers import Store
from tests.chaos.harness import spoilt
from tests.contracts.jobs import NOBODYS, OTHER
from tests.contracts.messages import give_up, received
from tests.e2e.machines import Machines, create, file_of, machines
from tests.e2e.service import csv_of
from tests.rabbitmq import RabbitMq, rabbitmq

ROWS = 2_000


@pytest.fixture
def broker() -> Iterator[RabbitMq]:
    with rabbitmq() as server:
        yield server


@pytest.fixture
def at(tmp_path: Path, postgres_url: str, s3: Store, broker: RabbitMq) -> Iterator[Machines]:
    readings = make.many_readings(ROWS)
    with (
        servers.database(postgres_url) as url,
        machines(tmp_path, s3, url, readings, broker_url=broker.url) as made,
    ):
        yield made


def test_an_export_goes_through_rabbitmq_and_outlives_it(at: Machines, broker: RabbitMq) -> None:
    at.celery("prefork")
    at.housekeeping(spoilt("hurried_housekeeping"))
    api = at.api()
    before = create(api, minutes=ROWS)
    assert file_of(api, before) == csv_of("123", first=0, rows=ROWS)

    broker.kill()
    meanwhile = create(api, minutes=ROWS)
    broker.start()

    after = create(api, minutes=ROWS)
    for job_id in (meanwhile, after):
        assert file_of(api, job_id) == csv_of("123", first=0, rows=ROWS)
        job = at.home.services.jobs.get(job_id)
        assert job is not None
        assert (job.attempt, job.crashes) == (1, 0)


def test_a_rabbitmq_that_is_back_gets_what_is_sent_from_then_on(broker: RabbitMq) -> None:
    dispatcher = CeleryDispatch(broker.url)
    dispatcher.wake(OTHER, Lane.SMALL)
    assert received(broker.url, Lane.SMALL) == OTHER
    broker.kill()
    give_up(dispatcher)
    broker.start()

    dispatcher.wake(NOBODYS, Lane.LARGE)

    assert received(broker.url, Lane.LARGE) == NOBODYS
