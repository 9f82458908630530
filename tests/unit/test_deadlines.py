"""Clients that do not get on with it, against a real server on loopback."""

import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn

from meterport import serve
from meterport.web import deadlines
from tests import make
from tests.contracts.conftest import wait_until

REQUEST = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
POST = (
    b"POST /api/export/csv HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: 100\r\n\r\n"
)


@pytest.fixture
def server(
    home: make.Home, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[uvicorn.Server, tuple[str, int]]]:
    monkeypatch.setattr(deadlines, "HEADERS_S", 0.5)
    monkeypatch.setattr(deadlines, "STALL_S", 0.5)
    server = uvicorn.Server(serve.api_config(home.services, home.settings))
    with serve.bound("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield server, listener.getsockname()
        finally:
            server.should_exit = True
            thread.join(60)


@pytest.fixture
def address(server: tuple[uvicorn.Server, tuple[str, int]]) -> tuple[str, int]:
    return server[1]


def closed(connection: socket.socket) -> bytes:
    """What comes until the service closes the connection."""
    connection.settimeout(60)
    found = b""
    try:
        while block := connection.recv(65536):
            found += block
    except ConnectionResetError:
        pass
    return found


@pytest.mark.parametrize(
    "sent",
    [b"", b"G", REQUEST, REQUEST + b"X-Never: ", POST, POST + b'{"smart'],
    ids=["nothing", "a byte", "half the headers", "half a header", "no body", "half the body"],
)
def test_half_a_request_is_not_waited_for(address: tuple[str, int], sent: bytes) -> None:
    with socket.create_connection(address) as connection:
        connection.sendall(sent)

        assert closed(connection) == b""


def answer(connection: socket.socket) -> bytes:
    """All of it: head and body may come one after the other."""
    seen = b""
    while not seen.endswith(b'{"status":"ok"}'):
        more = connection.recv(65536)
        assert more, seen
        seen += more
    return seen


def test_a_further_request_has_a_deadline_of_its_own(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as connection:
        connection.sendall(REQUEST + b"\r\n")
        assert answer(connection).startswith(b"HTTP/1.1 200 OK")
        connection.sendall(REQUEST)

        assert closed(connection) == b""


def test_others_are_served_meanwhile(address: tuple[str, int]) -> None:
    slow = [socket.create_connection(address) for _ in range(50)]
    for connection in slow:
        connection.sendall(REQUEST)
    with socket.create_connection(address) as connection:
        connection.sendall(REQUEST + b"Connection: close\r\n\r\n")

        assert closed(connection).startswith(b"HTTP/1.1 200 OK")

    for connection in slow:
        assert closed(connection) == b""
        connection.close()


def test_who_takes_nothing_of_an_answer_is_left(
    server: tuple[uvicorn.Server, tuple[str, int]], home: make.Home
) -> None:
    home.load(make.many_readings(200_000))
    job = home.submit(make.request(minutes=200_000))
    home.work()
    running, address = server
    with socket.create_connection(address) as connection:
        connection.sendall(
            f"GET /api/export/download/{job.id} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        )
        wait_until(lambda: bool(running.server_state.connections))
        wait_until(lambda: not running.server_state.connections)

        came = closed(connection)

    assert came.startswith(b"HTTP/1.1 200 OK")
    assert len(came) < 200_000 * 40
