"""R11: half requests, stopped or trickling. All are cut off, and others are served meanwhile.

Full: two thousand of them at once against the deadlines as they are; else a hundred, and little
time.
"""

from pathlib import Path

import pytest

from tests import make
from tests.chaos.clients import Burden, Crowd, HalfRequest, Others, allow_sockets, warmed_up
from tests.chaos.harness import Chaos, spoilt, wait_until
from tests.e2e.service import Service, running

pytestmark = pytest.mark.promise("R11")

MOST_MIB = 200
"""Of the API's own memory."""
SPARE = 8
"""Files and threads that may be open at one time and not at another."""

GET = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: %b\r\n"
JSON = POST % (b"/api/export/csv", b"application/json") + b"Content-Length: 5000\r\n\r\n"
FILE = POST % (b"/api/readings", b"text/csv") + b"Transfer-Encoding: chunked\r\n\r\n"
HALF_REQUESTS = (
    HalfRequest(b""),
    HalfRequest(b"GET /api/exp"),
    HalfRequest(GET),
    HalfRequest(GET + b"X-Slow: ", b"x"),
    HalfRequest(b"GET /", b"x"),
    HalfRequest(JSON),
    HalfRequest(JSON + b'{"smart_meter_id": '),
    HalfRequest(JSON + b"{", b" "),
    HalfRequest(FILE + b"2\r\nti"),
    HalfRequest(FILE, b"1\r\nx\r\n"),
    HalfRequest(GET + b"\r\n" + GET),
    HalfRequest(GET + b"\r\n" + JSON, b" "),
    HalfRequest(GET + b"\r\n", b"\r\n"),
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    allow_sockets()
    return make.home(tmp_path, make.many_readings(1_000)).settings.data


def crowd_out(chaos: Chaos, data: Path, *variants: str, requests: int) -> None:
    with running(data, workers=1, **(spoilt(*variants) if variants else {})) as service:
        burden, others = warmed_up(service), Others(service)
        before = burden.open_files(), burden.threads()
        with others.served_meanwhile():
            cut_off = send_halves(chaos, service, burden, requests)
        chaos.count(half_requests=requests, cut_off=cut_off, exports_beside=len(others.exports))
        chaos.found += others.accidents
        if cut_off == requests:
            back_to(chaos, burden, before)


def send_halves(chaos: Chaos, service: Service, burden: Burden, requests: int) -> int:
    """How many were cut off."""
    peak_mib = 0
    with Crowd(service, every_s=1 if chaos.full else 0.1) as crowd:
        for number in range(requests):
            crowd.join(HALF_REQUESTS[number % len(HALF_REQUESTS)])

        def all_cut_off() -> bool:
            nonlocal peak_mib
            peak_mib = max(peak_mib, burden.private_mib())
            return crowd.all_cut_off()

        try:
            wait_until(all_cut_off, every_s=0.02, within_s=chaos.patience_s)
        except AssertionError:
            left = {request.begin[-40:] + request.piece for request in crowd.left.values()}
            chaos.found.append(f"not cut off: {left}")
    chaos.count(peak_MiB=peak_mib)
    chaos.expect(peak_mib <= MOST_MIB, f"the API had {peak_mib} MiB")
    return crowd.cut_off


def back_to(chaos: Chaos, burden: Burden, before: tuple[int, int]) -> None:
    files, threads = before
    try:
        wait_until(lambda: burden.open_files() <= files + SPARE, within_s=chaos.patience_s)
        wait_until(lambda: burden.threads() <= threads + SPARE, within_s=chaos.patience_s)
    except AssertionError:
        now = burden.open_files(), burden.threads()
        chaos.found.append(f"open files and threads: {before} before, {now} now")


@pytest.fixture
def hurried(chaos: Chaos) -> tuple[str, ...]:
    return () if chaos.full else ("hurried_deadlines",)


@pytest.mark.timeout(900)
def test_half_requests_are_cut_off_and_others_served(
    chaos: Chaos, data: Path, hurried: tuple[str, ...]
) -> None:
    crowd_out(chaos, data, *hurried, requests=chaos.size(130, full=2_000))

    assert chaos.found == []


@pytest.mark.parametrize(
    "variant",
    ["no_deadline_for_headers", "any_byte_of_a_body_will_do", "line_ends_are_waited_with"],
)
def test_a_service_that_waits_for_ever_is_caught(chaos: Chaos, data: Path, variant: str) -> None:
    broken = chaos.toothless(variant)

    crowd_out(broken, data, "hurried_deadlines", variant, requests=2 * len(HALF_REQUESTS))

    assert any("not cut off" in accident for accident in broken.found)
