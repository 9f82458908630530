"""Fifty clients, four workers and one SQLite file: nobody is ever told that it is locked."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from tests import make
from tests.e2e.service import Service, body, csv_of, running

CLIENTS, ROUNDS = 50, 4
LOCKED = ("worker_waits", "export_without_database", "housekeeping_waits", "chore_failed")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> make.Home:
    return make.home(tmp_path_factory.mktemp("many"), make.many_readings(1_000))


@pytest.fixture(scope="module")
def service(home: make.Home) -> Iterator[Service]:
    with running(home.settings.data, workers=4) as started:
        yield started


def test_fifty_clients_at_once_are_all_accepted_and_served(
    service: Service, home: make.Home
) -> None:
    barrier = Barrier(CLIENTS)

    def client(number: int) -> list[tuple[int, int]]:
        barrier.wait(60)
        return [post_and_poll(service, 1 + number) for _ in range(ROUNDS)]

    with ThreadPoolExecutor(CLIENTS) as threads:
        answers = [one for some in threads.map(client, range(CLIENTS)) for one in some]
    jobs = home.services.archive.recent(CLIENTS * ROUNDS + 1)
    files = [service.completed(job.id) for job in jobs]

    assert answers == [(202, 200)] * CLIENTS * ROUNDS
    assert len(files) == CLIENTS * ROUNDS
    assert [event for name in LOCKED for event in service.events(name)] == []
    assert "locked" not in service.log.read_text()
    newest = jobs[0]
    rows = round((newest.request.period.end - newest.request.period.start).total_seconds() / 60)
    assert service.download(newest.id) == csv_of("123", first=0, rows=rows)


def post_and_poll(service: Service, minutes: int) -> tuple[int, int]:
    """The two status codes."""
    created = service.http.post("/api/export/csv", json=body("123", 0, minutes))
    status = service.http.get(created.headers.get("Location", "/"))
    return created.status_code, status.status_code


def test_the_database_waits_for_its_turn_rather_than_fail(tmp_path: Path) -> None:
    """Writers that start together, each with connections of its own, as processes have."""
    home = make.home(tmp_path, make.many_readings(10))
    others = [make.home(tmp_path) for _ in range(8)]
    barrier = Barrier(len(others))

    def write(other: make.Home) -> int:
        barrier.wait(60)
        for _ in range(25):
            other.services.jobs.add(make.request(), owner="owner")
        return 25

    with ThreadPoolExecutor(len(others)) as threads:
        written = sum(threads.map(write, others))

    assert written == len(home.services.archive.recent(1000)) == 200
