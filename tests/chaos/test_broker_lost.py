"""R16: the broker killed, started again, emptied under load. Every job still finishes, once."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from meterport.domain.jobs import JobStatus
from tests import brokers, make, servers
from tests.brokers import Store, Valkey
from tests.chaos.harness import Chaos, spoilt, wait_until
from tests.chaos.machines import check_leftovers, content, end_of_log, job_of, wait_for_ends
from tests.e2e.machines import Machines, machines
from tests.e2e.service import csv_of

pytestmark = pytest.mark.promise("R16")

ROWS = 40_000
BURST = 5
"""Jobs that are asked for before, and while, something happens to the broker."""


@cache
def expected(minutes: int) -> bytes:
    return csv_of("123", first=0, rows=minutes)


@dataclass
class Load:
    """Jobs that are asked for, whatever is the matter with the broker."""

    chaos: Chaos
    at: Machines
    wanted: dict[str, int] = field(default_factory=dict)

    def burst(self) -> None:
        for _ in range(BURST):
            minutes = self.chaos.random.choice([1, 1440, ROWS])
            self.wanted[self.at.home.submit(make.request(minutes=minutes)).id] = minutes

    def some_began(self) -> bool:
        """Of the newest ones a few, drawn, are at work or done."""
        newest = list(self.wanted)[-BURST:]
        begun = sum(job_of(self.at, job_id).attempt > 0 for job_id in newest)
        return begun >= self.chaos.random.randint(0, BURST)

    def all_done(self) -> bool:
        ends = {job_of(self.at, job_id).status for job_id in self.wanted}
        return ends == {JobStatus.COMPLETED}


def killed(broker: Valkey, load: Load) -> None:
    broker.kill()
    load.burst()
    broker.start()


def emptied(broker: Valkey, load: Load) -> None:
    broker.empty()
    load.burst()


def killed_at_once(broker: Valkey, load: Load) -> None:
    broker.kill()
    broker.start()


ACCIDENTS: Mapping[str, Callable[[Valkey, Load], None]] = {
    accident.__name__: accident for accident in (killed, emptied, killed_at_once)
}


def lose_broker(chaos: Chaos, at: Machines, broker: Valkey, *variants: str, accidents: int) -> None:
    hurried = spoilt("hurried_housekeeping", *variants)
    workers = {pool: at.celery(pool, hurried) for pool in ("prefork", "threads")}
    load = Load(chaos, at)
    load.burst()
    wait_until(load.all_done)  # they are at work, so what comes now is not a slow start
    at.housekeeping(hurried)
    for number in range(accidents):
        load.burst()
        wait_until(load.some_began, within_s=chaos.patience_s)
        # Each kind in turn, so that few accidents have them all.
        list(ACCIDENTS.values())[number % len(ACCIDENTS)](broker, load)
    load.burst()
    wait_for_ends(chaos, at, load.wanted)
    chaos.count(accidents=accidents, jobs=len(load.wanted))
    for pool, worker in workers.items():
        chaos.expect(worker.poll() is None, f"the worker of {pool} ended: {worker.poll()}")
    check(chaos, load)


def check(chaos: Chaos, load: Load) -> None:
    lost = twice = 0
    for job_id, minutes in load.wanted.items():
        job = job_of(load.at, job_id)
        whole = content(load.at, job) == expected(minutes)
        lost += not (job.status is JobStatus.COMPLETED and whole)
        twice += (job.attempt, job.crashes, job.retries) != (1, 0, 0)
    chaos.expect(not lost, f"{lost} jobs did not end with their file")
    chaos.expect(not twice, f"{twice} jobs ran more than once")
    check_leftovers(chaos, load.at)
    chaos.count(lost=lost, run_twice=twice)


@pytest.fixture
def broker() -> Iterator[Valkey]:
    with brokers.valkey() as server:
        yield server


@pytest.fixture
def at(tmp_path: Path, postgres_url: str, s3: Store, broker: Valkey) -> Iterator[Machines]:
    readings = make.many_readings(ROWS)
    with (
        servers.database(postgres_url) as url,
        machines(tmp_path, s3, url, readings, broker_url=broker.url) as made,
    ):
        yield made


def test_a_broker_that_is_killed_and_emptied_costs_no_job(
    chaos: Chaos, at: Machines, broker: Valkey
) -> None:
    lose_broker(chaos, at, broker, accidents=chaos.size(3, full=45))

    assert chaos.found == [], end_of_log(at)


def test_a_service_that_sends_no_message_again_is_caught(
    chaos: Chaos, at: Machines, broker: Valkey
) -> None:
    broken = chaos.toothless("nobody_hands_on")

    lose_broker(broken, at, broker, "nobody_hands_on", accidents=1)

    assert any("did not end with their file" in accident for accident in broken.found)
