"""R12: a flood of clients for server-sent events, of which some never read.

Full: two thousand, five hundred of them deaf, against the thousand places and the deadlines as they
are; else eighty against forty places, and little time.
"""

import json
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from meterport.domain.exports import ExportRequest
from meterport.web.watch import MOST_WAITING
from tests import make
from tests.chaos.broken_edge import FEW_PLACES
from tests.chaos.clients import Burden, Others, allow_sockets, connected, is_dropped, warmed_up
from tests.chaos.harness import Chaos, spoilt, wait_until
from tests.e2e.service import Service, running

pytestmark = pytest.mark.promise("R12")

METERS = tuple(f"meter-{number:02}-{'x' * 50}" for number in range(90))
"""Their names alone fill the buffer of who does not read."""
MOST_MIB = 200
SPARE = 8
HEAD_BYTES = 4096


@dataclass
class Flood:
    """Clients of one export's events: who has a place, and who was refused."""

    service: Service
    job_id: str
    deaf: list[socket.socket] = field(default_factory=list)
    reading: list[socket.socket] = field(default_factory=list)
    refused: int = 0
    accidents: list[str] = field(default_factory=list)

    def come(self, clients: int, *, deaf: bool = False) -> None:
        """All at once; then each has its answer."""
        came = [connected(self.service, deaf=deaf) for _ in range(clients)]
        for one in came:
            path = f"/api/exports/{self.job_id}/events"
            one.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        for one in came:
            self._answered(one, deaf=deaf)

    def _answered(self, one: socket.socket, *, deaf: bool) -> None:
        # The deaf do not read even now: what came stays where it is.
        head = one.recv(HEAD_BYTES, socket.MSG_PEEK if deaf else 0)
        if head.startswith(b"HTTP/1.1 200 "):
            (self.deaf if deaf else self.reading).append(one)
            return
        self.refused += 1
        if not deaf and not is_clear_refusal(one, head):
            self.accidents.append(f"refused with {head!r}")
        one.close()

    def deaf_ones_are_dropped(self) -> bool:
        return all(map(is_dropped, self.deaf))

    def go(self) -> None:
        for one in (*self.deaf, *self.reading):
            one.close()
        self.deaf, self.reading = [], []


def is_clear_refusal(one: socket.socket, head: bytes) -> bool:
    """503, when to come again, and the envelope."""
    answer = head
    while b"request_id" not in answer and (more := one.recv(HEAD_BYTES)):
        answer += more
    headers, _, body = answer.partition(b"\r\n\r\n")
    is_503 = headers.startswith(b"HTTP/1.1 503 ") and b"\r\nretry-after: 5" in headers.lower()
    return is_503 and json.loads(body)["error"]["code"] == "SERVICE_UNAVAILABLE"


def flood(chaos: Chaos, home: make.Home, job_id: str, *variants: str) -> None:
    places = MOST_WAITING if chaos.full else FEW_PLACES
    hurried = () if chaos.full else ("hurried_deadlines", "few_places")
    spoiling = spoilt(*hurried, *variants) if hurried or variants else {}
    with running(home.settings.data, workers=1, **spoiling) as service:
        burden, others = warmed_up(service), Others(service)
        clients = Flood(service, job_id)
        before = burden.open_files()
        with others.served_meanwhile():
            come_and_go(chaos, clients, burden, before, places)
        chaos.found += clients.accidents + others.accidents
        code = service.stop()
        chaos.expect(code == 0, f"told to stop under streams it ended with {code}")
        chaos.count(stops=1, exports_beside=len(others.exports))
        clients.go()


def come_and_go(chaos: Chaos, clients: Flood, burden: Burden, before: int, places: int) -> None:
    clients.come(places // 2, deaf=True)
    chaos.expect(not clients.refused, "the first were refused")
    clients.come(places + places // 2)
    chaos.count(clients=2 * places, deaf=len(clients.deaf), refused=clients.refused)
    had = len(clients.reading)
    chaos.expect(had <= places, f"{had} have a place, of {places}")
    chaos.expect(had + clients.refused == places + places // 2, "some have no answer")
    expect_soon(chaos, clients.deaf_ones_are_dropped, "the deaf keep their places")
    chaos.expect(not any(map(is_dropped, clients.reading)), "who reads was dropped")
    note_memory(chaos, burden)
    clients.go()
    expect_soon(chaos, lambda: burden.open_files() <= before + SPARE, "sockets stay open")
    expect_soon(chaos, lambda: all_places_are_free(clients, places), "places stay taken")
    note_memory(chaos, burden)


def all_places_are_free(clients: Flood, places: int) -> bool:
    """Then they are taken."""
    clients.go()
    clients.come(places)
    return len(clients.reading) == places


def expect_soon(chaos: Chaos, promise: Callable[[], bool], otherwise: str) -> None:
    try:
        wait_until(promise, every_s=0.1, within_s=chaos.patience_s)
    except AssertionError:
        chaos.found.append(otherwise)


def note_memory(chaos: Chaos, burden: Burden) -> None:
    mib = burden.private_mib()
    chaos.count(peak_MiB=mib)
    chaos.expect(mib <= MOST_MIB, f"the API had {mib} MiB")


@pytest.fixture
def home(tmp_path: Path) -> make.Home:
    allow_sockets()
    fleet = (make.many_readings(2, meter=meter) for meter in METERS)
    return make.home(tmp_path, make.many_readings(1_000), *fleet)


@pytest.fixture
def job_id(home: make.Home) -> str:
    """Of an export that is always at work, and never gets on."""
    job = home.submit(ExportRequest.of_fleet(METERS, make.period()))
    claimed = home.services.jobs.claim(make.lease(timedelta(hours=2)))
    assert claimed is not None
    assert claimed.id == job.id
    return job.id


@pytest.mark.timeout(900)
def test_a_flood_of_streams_has_an_end(chaos: Chaos, home: make.Home, job_id: str) -> None:
    flood(chaos, home, job_id)

    assert chaos.found == []


@pytest.mark.parametrize(
    ("variant", "accident"),
    [
        ("places_without_number", "have a place"),
        ("patient_with_the_deaf", "the deaf keep their places"),
        ("places_taken_for_ever", "places stay taken"),
    ],
)
def test_a_service_that_holds_on_to_streams_is_caught(
    chaos: Chaos, home: make.Home, job_id: str, variant: str, accident: str
) -> None:
    broken = chaos.toothless(variant)

    flood(broken, home, job_id, variant)

    assert any(accident in found for found in broken.found)
