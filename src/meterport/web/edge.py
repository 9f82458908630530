"""What every request passes before it reaches a route, and every response on its way out.

In:  a request id; the Host and cross-site rules; a bounded body, larger for what takes files.
Out: X-Request-Id and the security headers; an envelope for what nobody caught; one log line.
"""

import re
import time
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from meterport.domain.access_errors import Forbidden
from meterport.domain.errors import MeterportError, shown
from meterport.web.errors import RequestTooLarge, error_response, internal_error

MAX_BODY_BYTES = 64 * 1024
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}

log = structlog.get_logger()


@dataclass
class _Exchange:
    """One request and its response, as far as it has come."""

    request_id: str
    started: float
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)


class Edge:
    """ASGI middleware. `hosts`: the names to answer to; None: any.

    `uploads`: the largest bodies, by the paths to which larger ones than others are posted.
    """

    def __init__(
        self, app: ASGIApp, hosts: Collection[str] | None, uploads: Mapping[str, int]
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        exchange = _Exchange(_request_id(headers), time.monotonic())
        scope["meterport.request_id"] = exchange.request_id
        scope["meterport.headers"] = exchange.headers
        outward = _outward(exchange, send)
        try:
            most = self._most_bytes(scope)
            self._check(scope["method"], headers, most)
            await self._app(scope, _bounded(receive, most), outward)
        except ClientDisconnect:
            pass  # nobody is there to be told
        except MeterportError as error:
            await error_response(error, exchange.request_id)(scope, receive, outward)
        except Exception as error:
            # The framework raises another one where an answer had begun already.
            if exchange.status and isinstance(known := error.__cause__, MeterportError):
                # Unfinished, so that the server closes the connection.
                log.warning("answer_cut", request_id=exchange.request_id, code=known.code)
            else:
                log.exception("request_crashed", request_id=exchange.request_id)
            if not exchange.status:
                answer = error_response(internal_error(), exchange.request_id)
                await answer(scope, receive, outward)
        _log(scope, exchange)

    def _check(self, method: str, headers: Headers, most: int) -> None:
        host = headers.get("host", "")
        if self._hosts is not None and _without_port(host) not in self._hosts:
            raise Forbidden(
                f"the service does not answer to the host {shown(host)}; "
                "METERPORT_ALLOWED_HOSTS names further ones"
            )
        if method not in _SAFE_METHODS and _is_cross_site(headers, host):
            raise Forbidden("a page of another site may not change anything here")
        if _announced_bytes(headers.get("content-length")) > most:
            raise _too_large(most)

    def _most_bytes(self, scope: Scope) -> int:
        of_path = self._uploads.get(scope["path"].removesuffix("/"), MAX_BODY_BYTES)
        return of_path if scope["method"] == "POST" else MAX_BODY_BYTES


def answer_headers(scope: Scope) -> dict[str, str]:
    """Whatever the answer turns out to be, it has what is put in here."""
    found: dict[str, str] = scope["meterport.headers"]
    return found


def _announced_bytes(text: str | None) -> int:
    digits = text if text is not None and text.isascii() and text.isdecimal() else "0"
    return int(digits[:20])


def _is_cross_site(headers: Headers, host: str) -> bool:
    site = headers.get("sec-fetch-site", "none")
    origin = headers.get("origin")
    # An origin has nothing behind its host; nor is one parsed that might not be a URL at all.
    foreign = origin is not None and origin.partition("://")[2] != host
    return foreign or site not in ("none", "same-origin")


def _without_port(host: str) -> str:
    name = host.lower()
    return name.partition("]")[0] + "]" if name.startswith("[") else name.partition(":")[0]


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _bounded(receive: Receive, most: int) -> Receive:
    received = 0

    async def bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > most:
            raise _too_large(most)
        return message

    return bounded


def _too_large(most: int) -> RequestTooLarge:
    return RequestTooLarge(f"the request is larger than {most} bytes")


def _outward(exchange: _Exchange, send: Send) -> Send:
    async def outward(message: Message) -> None:
        if message["type"] == "http.response.start":
            exchange.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = exchange.request_id
            headers.update(exchange.headers)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return outward


def _log(scope: Scope, exchange: _Exchange) -> None:
    route = getattr(scope.get("route"), "path_format", "unmatched")
    log.info(
        "request",
        request_id=exchange.request_id,
        method=scope["method"],
        route=route,
        status=exchange.status,
        ms=round((time.monotonic() - exchange.started) * 1000, 1),
    )
