"""R29, downloads: what had begun when a meter was erased is not sent on from the open file."""

import socket
from contextlib import closing, suppress
from pathlib import Path

import pytest

from meterport.bootstrap import erase
from tests import make
from tests.chaos.harness import WITHIN_S, Chaos, zygote
from tests.chaos.lone_api import LoneApi

pytestmark = pytest.mark.promise("R29")

ROWS = 600_000
RECEIVE_BYTES = 1 << 15
ON_THE_WAY_BYTES = 8 << 20
"""What the system may hold of a download that nobody reads: twice what Linux gives a socket."""
QUIET_S = 5.0


def erase_under_a_slow_download(chaos: Chaos, folder: Path, variant: str = "") -> None:
    """The client has read a little of a long file when its meter is erased, and then the rest."""
    home = make.home(folder / "home", make.many_readings(ROWS))
    job = home.submit(make.request(minutes=ROWS))
    home.work()
    ended = home.services.jobs.get(job.id)
    assert ended is not None
    assert ended.file is not None
    assert ended.file.size_bytes > 2 * ON_THE_WAY_BYTES
    with (
        zygote(folder, variant) as processes,
        closing(LoneApi(processes, home)) as api,
        api.running(),
        closing(asked(api.port, f"/api/export/download/{job.id}")) as client,
    ):
        assert client.recv(RECEIVE_BYTES).startswith(b"HTTP/1.1 200 ")
        erase(home.services, "123")
        after = rest_of(client)
        again = api.http.get(f"/api/export/download/{job.id}").status_code
        logged = processes.log.read_text()
    chaos.count(downloads_cut=1)
    chaos.expect(again == 410, f"asked again: {again}")
    chaos.expect("request_crashed" not in logged, "the API takes the cut for a crash")
    chaos.expect(after <= ON_THE_WAY_BYTES, f"{after:,} bytes came after the erasure")


def asked(port: int, path: str) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    client.settimeout(WITHIN_S)
    client.connect(("127.0.0.1", port))
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return client


def rest_of(client: socket.socket) -> int:
    """How many bytes come until the service closes the connection, or falls silent."""
    size = 0
    client.settimeout(QUIET_S)
    with suppress(ConnectionResetError, TimeoutError):
        while block := client.recv(1 << 20):
            size += len(block)
    return size


def test_a_download_ends_where_its_meter_is_erased(chaos: Chaos, tmp_path: Path) -> None:
    for n in range(chaos.size(1, full=10)):
        erase_under_a_slow_download(chaos, tmp_path / str(n))

    assert chaos.found == []


def test_a_download_that_goes_on_is_caught(chaos: Chaos, tmp_path: Path) -> None:
    broken = chaos.toothless("sends_what_was_erased")

    erase_under_a_slow_download(broken, tmp_path, "sends_what_was_erased")

    assert any("after the erasure" in accident for accident in broken.found)
