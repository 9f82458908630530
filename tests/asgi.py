"""Requests to an application as a server passes them on, with no HTTP client in between.

So anything can be sent, and what comes back is seen as it was written: raw names and values.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Message, Scope

from meterport.web.errors import STATUS

Headers = tuple[tuple[bytes, bytes], ...]
SECURITY = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"content-security-policy": b"default-src 'none'",
    b"cache-control": b"",
}
"""What every answer has, and how its value begins."""

MOST_OF_AN_ERROR_BYTES = 4096
PASSED_AT_ONCE_BYTES = 16 * 1024
NOT_FOUND = {"status", "message"}
ENVELOPE = {"status", "message", "error", "request_id"}


@dataclass(frozen=True)
class Raw:
    """A request as bytes; `path` and `query` as they stand in the request line."""

    method: str
    path: bytes
    query: bytes = b""
    headers: Headers = ()
    body: bytes = b""

    def with_header(self, name: bytes, value: bytes) -> "Raw":
        return replace(self, headers=(*self.headers, (name, value)))

    def __str__(self) -> str:
        body = self.body if len(self.body) <= 300 else self.body[:300] + b"..."
        line = f"{self.method} {self.path!r}"[:300] + f" ? {self.query!r}"[:300]
        return f"{line} {str(self.headers)[:600]} {body!r}"


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Headers
    body: bytes

    def values(self, name: bytes) -> list[bytes]:
        return [value for known, value in self.headers if known.lower() == name]

    @property
    def is_json(self) -> bool:
        return self.values(b"content-type") == [b"application/json"]

    def json(self) -> Any:
        return json.loads(self.body)


async def call(app: ASGIApp, raw: Raw) -> Reply:
    """Raises AssertionError where the answer is none that a server could send."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    pieces = _pieces(raw.body)

    async def receive() -> Message:
        return next(pieces, {"type": "http.disconnect"})

    await app(_scope(raw), receive, send)
    return _reply(sent)


def _scope(raw: Raw) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": raw.method,
        "scheme": "http",
        # As servers do it; what is no UTF-8 comes as they never send it, and must not hurt.
        "path": unquote_to_bytes(raw.path).decode("utf-8", "surrogateescape"),
        "raw_path": raw.path,
        "query_string": raw.query,
        "root_path": "",
        "headers": [*raw.headers],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8000),
    }


def _pieces(body: bytes) -> Iterator[Message]:
    starts = range(0, len(body), PASSED_AT_ONCE_BYTES) or range(1)
    for start in starts:
        end = start + PASSED_AT_ONCE_BYTES
        more = end < len(body)
        yield {"type": "http.request", "body": body[start:end], "more_body": more}


def _reply(sent: list[Message]) -> Reply:
    kinds = [message["type"] for message in sent]
    assert kinds[:1] == ["http.response.start"], f"it sent {kinds[:3]}"
    assert set(kinds[1:]) == {"http.response.body"}, f"it sent {kinds[1:4]}"
    assert not sent[-1].get("more_body", False), "the answer has no end"
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return Reply(sent[0]["status"], tuple(map(tuple, sent[0]["headers"])), body)


def complaint(reply: Reply, *, provoked: int | None = None) -> str:
    """What is wrong with an answer, whatever was asked; empty: nothing is.

    `provoked`: the status from 500 on that it may have.
    """
    if reply.status >= 500 and reply.status != provoked and not _is_not_ready(reply):
        return f"{reply.status}: {reply.body[:300]!r}"
    return _of_headers(reply) or (_of_error(reply) if reply.status >= 400 else _of_body(reply))


def _of_headers(reply: Reply) -> str:
    for name, value in reply.headers:
        if any(byte in value or byte in name for byte in (b"\r", b"\n", b"\0")):
            return f"{name!r}: {value!r} breaks the head of the answer"
    for name, beginning in SECURITY.items():
        values = reply.values(name)
        if len(values) != 1 or not values[0].startswith(beginning):
            return f"{name!r} is {values}"
    return "" if len(reply.values(b"x-request-id")) == 1 else "it has no X-Request-Id"


def _is_not_ready(reply: Reply) -> bool:
    """/readyz has no other word for it."""
    body = reply.json() if reply.status == 503 and reply.is_json else {}
    return bool(body.get("status") == "not ready" and body.keys() == {"status", "checks"})


def _of_error(reply: Reply) -> str:
    if len(reply.body) > MOST_OF_AN_ERROR_BYTES:
        return f"an error of {len(reply.body)} bytes"
    try:
        body = reply.json()
        if reply.status == 404 and body.keys() == NOT_FOUND:
            return "" if body["status"] == "not_found" else f"it said {body}"
        if _is_not_ready(reply):
            return ""
        code, message = body["error"]["code"], body["error"]["message"]
        shape = (body.keys(), body["error"].keys(), body["status"], body["message"])
        said = (STATUS[code], reply.values(b"x-error-code"), reply.values(b"x-request-id"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{reply.status} without an envelope ({error!r}): {reply.body[:300]!r}"
    if shape != (ENVELOPE, {"code", "message", "details"}, "error", message):
        return f"{reply.status} with another envelope: {reply.body[:300]!r}"
    expected = (reply.status, [code.encode()], [body["request_id"].encode()])
    return "" if said == expected else f"{said} is not {expected}"


def _of_body(reply: Reply) -> str:
    try:
        if reply.is_json and reply.body:
            reply.json()
    except ValueError as error:
        return f"{reply.status} with JSON that is none ({error}): {reply.body[:300]!r}"
    return ""
