"""What our client does with its key: the service is told, and nobody to whom it may be sent on."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from meterport.client import Client

KEY = f"mp_{'a' * 12}_{'b' * 43}"


class Heard(ThreadingHTTPServer):
    """Notes who shows which key; leads on where there is somebody to lead to."""

    def __init__(self, status: int = 200, target: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.target = status, target
        self.keys: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Heard

    def do_GET(self) -> None:
        self.server.keys.append(self.headers["Authorization"])
        self.send_response(self.server.status)
        if self.server.target:
            self.send_header("Location", self.server.target + self.path)
        body = b'{"status": "pending"}'
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass


@contextmanager
def listening(status: int = 200, target: str = "") -> Iterator[Heard]:
    with Heard(status, target) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_the_service_is_shown_the_key() -> None:
    with listening() as service:
        Client(service.url, key=KEY).status("1")

    assert service.keys == [f"Bearer {KEY}"]


@pytest.mark.parametrize("status", [301, 302, 303, 308])
def test_whoever_the_service_leads_to_is_not(status: int) -> None:
    with listening() as other, listening(status, other.url) as service:
        Client(service.url, key=KEY).status("1")

    assert service.keys == [f"Bearer {KEY}"]
    assert other.keys == [None]


def test_no_key_is_no_header() -> None:
    with listening() as service:
        Client(service.url).status("1")

    assert service.keys == [None]


@pytest.mark.parametrize("key", ["a\nb", "é", "a\r\nHost: b"])
def test_what_would_break_a_header_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="the key is none that"):
        Client("http://localhost", key=key)
