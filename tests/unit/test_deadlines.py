"""Clients that do not get on with it, against a real server on loopback."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

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
CHUNKED = (
    b"POST /api/readings HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
ROUNDS = 10_000
"""More than any of these connections lives for."""


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


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (REQUEST, b"X"),
        (POST, b" "),
        (CHUNKED, b"1\r\nx\r\n"),
        (CHUNKED, b"0"),
        (REQUEST + b"\r\n", b"\r\n"),
    ],
    ids=["headers", "body", "chunks", "size of a chunk", "line ends after a request"],
)
def test_who_sends_a_little_now_and_then_is_not_waited_for(
    address: tuple[str, int], begin: bytes, piece: bytes
) -> None:
    with socket.create_connection(address) as connection:
        connection.sendall(begin)

        assert is_cut_off(connection, piece, every_s=0.05)


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (REQUEST, b"X-More: " + b"x" * 1000 + b"\r\n"),
        (REQUEST + b"X-Long: ", b"x" * 1000),
        (b"GET /", b"x" * 1000),
        (CHUNKED + b"1\r\nx\r\n0\r\n", b"X-More: " + b"x" * 1000 + b"\r\n"),
        (CHUNKED + b"1;", b"x" * 1000),
    ],
    ids=["headers", "a header", "a path", "trailers", "an extension of a chunk"],
)
def test_what_is_no_body_may_not_be_endless(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch, begin: bytes, piece: bytes
) -> None:
    monkeypatch.setattr(deadlines, "HEADERS_S", 3600)
    monkeypatch.setattr(deadlines, "STALL_S", 3600)
    with socket.create_connection(address) as connection:
        connection.sendall(begin)

        assert is_cut_off(connection, piece, every_s=0)


def test_headers_that_come_at_once_may_not_be_too_large_either(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as connection:
        connection.sendall(REQUEST + b"X-Long: " + b"x" * 17_000 + b"\r\n\r\n")

        assert not closed(connection).startswith(b"HTTP/1.1 200")


def test_a_body_that_goes_on_after_its_answer_is_cut_off(address: tuple[str, int]) -> None:
    piece = b"%x\r\n%b\r\n" % (70_000, b"x" * 70_000)
    with socket.create_connection(address) as connection:
        connection.sendall(CHUNKED.replace(b"/api/readings", b"/api/export/csv"))

        assert is_cut_off(connection, piece, every_s=0.01)


def is_cut_off(connection: socket.socket, piece: bytes, *, every_s: float) -> bool:
    """While such pieces are sent."""
    for _ in range(ROUNDS):
        try:
            connection.sendall(piece)
        except OSError:
            return True
        time.sleep(every_s)
    return False


def test_a_body_that_comes_slowly_but_surely_is_waited_for(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "LEAST_BYTES", 1)
    monkeypatch.setattr(deadlines, "STALL_S", 2)
    body = b'{"smart_meter_id": "123"}'.ljust(60)
    with socket.create_connection(address) as connection:
        connection.sendall(POST.replace(b"100", b"%d" % len(body)))
        for byte in body:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)

        assert connection.recv(65536).startswith(b"HTTP/1.1 422")


def test_a_further_request_has_a_deadline_of_its_own(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as connection:
        connection.sendall(REQUEST + b"\r\n")
        found = b""
        while not found.endswith(b'{"status":"ok"}'):
            found += connection.recv(65536)
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


def test_who_keeps_us_waiting_longest_gives_way_when_all_places_are_taken(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "HEADERS_S", 3600)
    monkeypatch.setattr(deadlines, "MOST_CONNECTIONS", 10)
    slow = [socket.create_connection(address) for _ in range(30)]
    for connection in slow:
        with suppress(ConnectionError):  # some have given way already
            connection.sendall(REQUEST)
    with socket.create_connection(address) as connection:
        connection.sendall(REQUEST + b"\r\n")

        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")

    assert [closed(connection) for connection in slow[:20]] == [b""] * 20
    for connection in slow:
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
