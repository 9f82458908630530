"""R13: PostgreSQL stopped at once, again and again, while jobs are accepted and run."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import httpx2
import pytest

from meterport.domain.errors import LeaseTaken
from meterport.domain.jobs import Job, JobStatus
from tests import make, servers
from tests.brokers import Store
from tests.chaos.harness import Chaos, spoilt, wait_until
from tests.chaos.machines import check_leftovers, wait_for_ends
from tests.e2e.machines import Machines, machines
from tests.e2e.service import Service, body, csv_of, running

pytestmark = pytest.mark.promise("R13")

ROWS = 200_000
BEFORE, MEANWHILE = 3, 2
"""Jobs that are asked for before a stop, and while the database is away."""

LEASE_S = 3
MOST_JOBS = 100_000


@cache
def expected(minutes: int) -> bytes:
    return csv_of("123", first=0, rows=minutes)


@dataclass
class Client:
    """Posts and polls all the while; what is refused it asks for again, with the same key."""

    chaos: Chaos
    service: Service
    accepted: dict[str, int] = field(default_factory=dict)
    wanted: int = 0
    refused: int = 0
    asked_again: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        thread = threading.Thread(target=self._work)
        thread.start()
        try:
            yield
        finally:
            self.stop.set()
            thread.join()

    def wait_for_refusal(self) -> None:
        """Of a client that asked for an export; none if all were stored before the stop."""
        before = self.refused
        wait_until(lambda: self.refused > before or len(self.accepted) == self.wanted)

    def _work(self) -> None:
        while not self.stop.wait(0.02):
            if len(self.accepted) < self.wanted:
                self._post()
            for job_id in self._some():
                self._is_clean(self.service.http.get(f"/api/export/status/{job_id}"), 200)

    def _some(self) -> list[str]:
        return self.chaos.random.sample(sorted(self.accepted), min(2, len(self.accepted)))

    def _post(self) -> None:
        minutes = self.chaos.random.choice([1, 1440, ROWS])
        key = {"Idempotency-Key": f"job-{len(self.accepted)}"}
        asked = body("123", 0, minutes)

        def accepted() -> httpx2.Response | None:
            answer = self.service.http.post("/api/export/csv", json=asked, headers=key)
            clean = self._is_clean(answer, 202)
            self.refused += not clean
            return answer if clean or self.chaos.found else None

        answer = wait_until(accepted, every_s=0.05)
        if answer.status_code == 202:
            self.accepted[answer.json()["job_id"]] = minutes

    def _is_clean(self, answer: httpx2.Response, good: int) -> bool:
        if answer.status_code == good:
            return True
        to_be_tried_again = answer.status_code == 503 and "Retry-After" in answer.headers
        self.chaos.expect(to_be_tried_again, f"{answer.request.method}: {answer.text}")
        self.asked_again += 1
        return False


def stop_database(
    chaos: Chaos, at: Machines, server: servers.Server, service: Service, *, stops: int
) -> None:
    before = processes(at, service)
    client = Client(chaos, service)
    chaos.count(stops=stops)
    with client.at_work():
        for _ in range(stops):
            client.wanted += BEFORE
            chaos.count(stopped_at_work=wait_for_work(at))
            pause(chaos.random.uniform(0.0, 0.5))
            server.stop()
            client.wanted += MEANWHILE
            client.wait_for_refusal()
            pause(chaos.random.uniform(0.0, 0.5))
            server.start()
        wait_until(lambda: chaos.found or len(client.accepted) == client.wanted)
    wait_for_ends(chaos, at, client.accepted)
    check(chaos, at, client)
    ended = before - processes(at, service)
    chaos.expect(not ended, f"{len(ended)} processes did not outlive their database")
    chaos.count(posts_refused=client.refused, answers_503=client.asked_again)


def pause(seconds: float) -> None:
    """Chance, not waiting: whatever is going on then is met."""
    threading.Event().wait(seconds)


def processes(at: Machines, service: Service) -> set[int]:
    """The workers and housekeeping, once they are at work."""
    wait_until(lambda: len(service.events("worker_ready")) >= service.workers_wanted)
    wait_until(lambda: keeps_house(at))
    return service.workers() | service.children("housekeeping")


def keeps_house(at: Machines) -> bool:
    try:
        with at.home.services.leases.holding("housekeeping"):
            return False
    except LeaseTaken:
        return True


def wait_for_work(at: Machines) -> int:
    """How many jobs are at work; none only if they are done before anybody can see them."""

    def at_work() -> list[Job]:
        newest = at.home.services.archive.recent(2 * (BEFORE + MEANWHILE))
        return [job for job in newest if job.status is JobStatus.PENDING and job.attempt]

    with suppress(AssertionError):
        wait_until(at_work, every_s=0.005, within_s=2)
    return len(at_work())


def check(chaos: Chaos, at: Machines, client: Client) -> None:
    jobs = [at.home.services.jobs.get(job_id) for job_id in client.accepted]
    known = [job for job in jobs if job is not None]
    stuck = sum(job.status is JobStatus.PENDING for job in known)
    lost = len(jobs) - len(known)
    for job in known:
        if job.status is not JobStatus.PENDING:
            wanted = expected(client.accepted[job.id])
            whole = job.file is not None and client.service.download(job.id) == wanted
            lost += not whole
            chaos.expect(whole, f"{job.id} ended as {job.status}: {job.error}")
    doubled = len(at.home.services.archive.recent(MOST_JOBS)) - len(known)
    chaos.expect(len(jobs) == len(known), f"{len(jobs) - len(known)} jobs were never stored")
    chaos.expect(not stuck, f"{stuck} jobs are stuck")
    chaos.expect(not doubled, f"{doubled} jobs more than were asked for")
    check_leftovers(chaos, at)
    attempts = sum(job.attempt for job in known)
    chaos.count(jobs=len(jobs), attempts=attempts, stuck=stuck, lost=lost, doubled=doubled)


@pytest.fixture
def server() -> Iterator[servers.Server]:
    with servers.postgres_server() as started:
        yield started


@pytest.fixture
def at(tmp_path: Path, server: servers.Server, s3: Store) -> Iterator[Machines]:
    readings = make.many_readings(ROWS)
    with machines(tmp_path, s3, server.url, readings, job_lease_s=LEASE_S) as made:
        yield made


@contextmanager
def serving(at: Machines, *variants: str) -> Iterator[Service]:
    variables = at.variables | spoilt("hurried_housekeeping", *variants)
    with running(at.home.settings.data, workers=2, **variables) as service:
        yield service


def test_a_database_that_is_stopped_again_and_again_costs_no_job(
    chaos: Chaos, at: Machines, server: servers.Server
) -> None:
    with serving(at) as service:
        stop_database(chaos, at, server, service, stops=chaos.size(3, full=60))

    assert chaos.found == []


@pytest.mark.parametrize("variant", ["outages_are_defects", "accepts_without_a_database"])
def test_a_service_that_does_not_outlive_its_database_is_caught(
    chaos: Chaos, at: Machines, server: servers.Server, variant: str
) -> None:
    broken = chaos.toothless(variant)

    with serving(at, variant) as service:
        stop_database(broken, at, server, service, stops=1)

    assert broken.found
