"""What a client gets that does not speak HTTP: our envelope, and the end of the connection."""

import json
import socket

import pytest

from tests import make
from tests.unit import keyed


def told(address: str, sent: bytes) -> bytes:
    """All that comes until the service closes the connection."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(sent)
        seen = b""
        while more := connection.recv(65536):
            seen += more
    return seen


@pytest.mark.parametrize(
    "sent",
    [
        b"NONSENSE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # the beginning of TLS
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    ],
    ids=["nonsense", "tls", "version", "length", "space"],
)
def test_what_is_no_request_gets_the_envelope(home: make.Home, sent: bytes) -> None:
    with keyed.server_of(home) as address:
        head, _, body = told(address, sent).partition(b"\r\n\r\n")

    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    said = json.loads(body)
    assert status == "HTTP/1.1 400 Bad Request"
    assert headers["content-type"] == "application/json"
    assert headers["content-length"] == str(len(body))
    assert headers["connection"] == "close"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-error-code"] == said["error"]["code"] == "INVALID_HTTP"
    assert headers["x-request-id"] == said["request_id"]
    assert sorted(headers) == sorted({line.split(": ")[0].lower() for line in lines})


def test_a_good_request_before_it_is_answered(home: make.Home) -> None:
    good = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with keyed.server_of(home) as address:
        seen = told(address, good + b"NONSENSE\r\n\r\n")

    assert b'"code":"INVALID_HTTP"' in seen
