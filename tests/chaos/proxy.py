"""A proxy in front of an S3 store that fails requests as a store on a bad day does.

It listens on loopback. Signatures cover the Host header, which is passed on as it came.
"""

import http.client
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.servers import WITHIN_S

ABORTIVE = struct.pack("ii", 1, 0)
"""SO_LINGER, so that closing sends RST."""

OF_ONE_HOP = {"connection", "keep-alive", "transfer-encoding"}
Chooser = Callable[[str, str], str]


class Proxy(ThreadingHTTPServer):
    """`choose` names for each method and path the fault that befalls the request; empty: none."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, endpoint: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.store = urlsplit(endpoint).netloc
        self.choose: Chooser = lambda method, path: ""
        self.cut_at: Callable[[int], int] = lambda size: size // 2
        self.faults: Counter[str] = Counter()
        self._counting = threading.Lock()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def count(self, fault: str) -> None:
        with self._counting:
            self.faults[fault] += 1

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is none of ours."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def do(self) -> None:
        # Read first: a client that is still sending would miss the answer.
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.choose(self.command, self.path)
        if fault:
            self.server.count(fault)
        FAULTS.get(fault, _Handler.passed_on)(self, body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do  # noqa: N815 - the base's own words

    def passed_on(self, body: bytes) -> None:
        status, headers, content = self._asked(body)
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in OF_ONE_HOP | {"content-length"}:
                self.send_header(name, value)
        length = dict(headers).get("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def internal_error(self, body: bytes) -> None:
        self._refuse(500, "InternalError")

    def slow_down(self, body: bytes) -> None:
        self._refuse(503, "SlowDown")

    def forbidden(self, body: bytes) -> None:
        self._refuse(403, "AccessDenied")

    def reset(self, body: bytes) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORTIVE)
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RD)
        self.connection.close()

    def reply_lost(self, body: bytes) -> None:
        """The store did what it was asked to, and nobody hears of it."""
        self._asked(body)
        self.reset(body)

    def cut_off(self, body: bytes) -> None:
        """The answer begins, and breaks off somewhere."""
        status, headers, content = self._asked(body)
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in OF_ONE_HOP:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[: self.server.cut_at(len(content))])
        self.wfile.flush()
        self.close_connection = True

    def _asked(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.server.store, timeout=WITHIN_S)
        try:
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _refuse(self, status: int, code: str) -> None:
        said = f"<Error><Code>{code}</Code><Message>a bad day</Message></Error>".encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's own word
        return


FAULTS: Mapping[str, Callable[[_Handler, bytes], None]] = {
    fault.__name__: fault
    for fault in (
        _Handler.internal_error,
        _Handler.slow_down,
        _Handler.forbidden,
        _Handler.reset,
        _Handler.reply_lost,
        _Handler.cut_off,
    )
}


@contextmanager
def proxy(endpoint: str) -> Iterator[Proxy]:
    with Proxy(endpoint) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
