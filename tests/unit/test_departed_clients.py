"""A client that goes away, or takes nothing, gives its key's place back; nothing is read for it."""

import asyncio
import io
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx2
import pytest
from starlette.types import Message

from meterport.web import deadlines, limits
from meterport.web.download import CHUNK_BYTES, FileResponse, Part
from tests import make
from tests.contracts.conftest import wait_until
from tests.unit import keyed, rich

ROWS = 200_000
"""More than the buffers between two sockets of one machine hold."""


@pytest.fixture
def key(home: make.Home) -> dict[str, str]:
    return keyed.key(home)


@pytest.fixture
def server(home: make.Home) -> Iterator[str]:
    """It sends a key one file and one event stream at a time."""
    home.load(make.many_readings(ROWS))
    with keyed.server_of(home, downloads_at_once=1, streams_at_once=1) as address:
        yield address


@contextmanager
def begun(address: str, path: str, key: dict[str, str]) -> Iterator[socket.socket]:
    """A request of which only the beginning is taken."""
    where = urlsplit(address)
    head = (
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {key['Authorization']}\r\n\r\n"
    )
    with socket.create_connection((where.hostname, where.port)) as connection:
        connection.sendall(head.encode())
        assert connection.recv(12) == b"HTTP/1.1 200"
        yield connection


def status(address: str, path: str, key: dict[str, str]) -> int:
    with (
        httpx2.Client(base_url=address, trust_env=False, timeout=60) as http,
        http.stream("GET", path, headers=key) as answer,
    ):
        return answer.status_code


def finished(home: make.Home, server: str, key: dict[str, str]) -> str:
    body = rich.body(start="2024-01-01", end="2024-06-01")
    with httpx2.Client(base_url=server, trust_env=False, timeout=60) as http:
        job_id = http.post("/api/exports", json=body, headers=key).json()["id"]
    home.work()
    return f"/api/export/download/{job_id}"


def pending(server: str, key: dict[str, str]) -> str:
    with httpx2.Client(base_url=server, trust_env=False, timeout=60) as http:
        made = http.post("/api/exports", json=rich.body(), headers=key)
    return f"{made.headers['Location']}/events"


def assert_given_back(server: str, path: str, key: dict[str, str], *, within_s: float = 60) -> None:
    wait_until(lambda: status(server, path, key) == 200, within_s=within_s)


def test_who_goes_away_in_a_download_gives_its_place_back(
    server: str, home: make.Home, key: dict[str, str]
) -> None:
    path = finished(home, server, key)
    with begun(server, path, key):
        assert status(server, path, key) == 429

    assert_given_back(server, path, key)


def test_who_takes_nothing_of_a_download_loses_its_place(
    server: str, home: make.Home, key: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = finished(home, server, key)
    monkeypatch.setattr(deadlines, "STALL_S", 0.5)
    with begun(server, path, key):
        assert_given_back(server, path, key)


def test_who_goes_away_from_an_event_stream_gives_its_place_back(
    server: str, key: dict[str, str]
) -> None:
    path = pending(server, key)
    with begun(server, path, key):
        assert status(server, path, key) == 429

    assert_given_back(server, path, key)


def test_a_place_that_is_not_given_back_is_noticed(
    server: str, home: make.Home, key: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broken variant of the three above."""
    path = finished(home, server, key)
    taken = limits.Places.taken

    @contextmanager
    def kept(self: limits.Places, key_id: str) -> Iterator[None]:
        holding = taken(self, key_id)
        holding.__enter__()
        monkeypatch.setattr(self, "_leaked", holding, raising=False)
        yield

    monkeypatch.setattr(limits.Places, "taken", kept)
    with begun(server, path, key):
        pass

    with pytest.raises(AssertionError, match="did not come true"):
        assert_given_back(server, path, key, within_s=2)


class Counted(io.BytesIO):
    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        return super().read(size)


def test_a_file_is_read_no_further_once_nobody_takes_it() -> None:
    chunks = 50
    file = Counted(bytes(chunks * CHUNK_BYTES))
    is_gone = asyncio.Event()

    async def receive() -> Message:
        await is_gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if file.reads == 3:
            is_gone.set()
            await asyncio.sleep(0.1)

    response = FileResponse(file, Part(0, chunks * CHUNK_BYTES), 200, {}, check=lambda: None)
    asyncio.run(response({"type": "http", "method": "GET"}, receive, send))

    assert file.closed
    assert file.reads == 3
