"""A file as an HTTP response: conditions, one range, fixed chunks, the handle always closed.

Source: RFC 9110 sections 8.8.3 (ETag), 13.1 (conditions), 14 (ranges), 15.4.8 (307);
RFC 9530 (Repr-Digest); RFC 8594 (Sunset).
"""

import asyncio
import base64
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from typing import BinaryIO

import structlog
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from meterport.domain.errors import MeterportError, RangeNotSatisfiable
from meterport.domain.exports import ExportFile
from meterport.domain.period import to_the_second
from meterport.web.errors import error_response, request_id

CHUNK_BYTES = 256 * 1024
_CONDITIONS = {"if-none-match", "if-modified-since", "if-range"}
_RANGE = re.compile(r"bytes=(?P<first>\d{0,18})-(?P<last>\d{0,18})", re.ASCII)

log = structlog.get_logger()


@dataclass(frozen=True)
class Part:
    """The bytes first <= i < end of a file."""

    first: int
    end: int


class FileResponse(Response):
    """Sends a part of an open file and closes it, whatever happens on the way."""

    def __init__(
        self,
        file: BinaryIO,
        part: Part,
        status: int,
        headers: Mapping[str, str],
        *,
        check: Callable[[], None],
        sha256: str | None = None,
    ) -> None:
        """`sha256`: what the whole file has to have; its last chunk is sent only if it has.

        `check` is called before each chunk goes, and raises where it may not.
        """
        super().__init__(
            None, status, headers={**headers, "Content-Length": str(part.end - part.first)}
        )
        self._file = file
        self.part = part
        self._check = check
        self._sha256 = sha256

    @contextmanager
    def closed_on_failure(self) -> Iterator[None]:
        """For what has to be done before it is sent."""
        try:
            yield
        except BaseException:
            self._file.close()
            raise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._file:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            if scope["method"] != "HEAD":
                try:
                    async with _departure(receive) as is_gone:
                        await self._send_part(send, is_gone)
                except MeterportError as error:
                    # Unfinished: the server closes the connection, and a client that goes on
                    # is told why.
                    log.warning("download_cut", code=error.code)
                    return
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_part(self, send: Send, is_gone: Callable[[], bool]) -> None:
        await to_thread.run_sync(self._file.seek, self.part.first)
        left = self.part.end - self.part.first
        digest = hashlib.sha256()
        # What is sent to nobody is dropped without a word, and would be read to its end.
        while left > 0 and not is_gone():
            chunk = await to_thread.run_sync(self._chunk, min(left, CHUNK_BYTES))
            if not chunk:
                raise OSError("the file became shorter while it was sent")
            left -= len(chunk)
            digest.update(chunk)
            if not left and self._sha256 not in (None, digest.hexdigest()):
                raise OSError("the file in the store is not the one that was written")
            await send({"type": "http.response.body", "body": chunk, "more_body": True})

    def _chunk(self, size: int) -> bytes:
        chunk = self._file.read(size)
        self._check()
        return chunk


@asynccontextmanager
async def _departure(receive: Receive) -> AsyncIterator[Callable[[], bool]]:
    """Whether the client has gone away, for as long as the context lasts."""

    async def departed() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    listening = asyncio.create_task(departed())
    try:
        yield listening.done
    finally:
        listening.cancel()
        # Whatever it is that listening ended with, it says nothing of the file.
        await asyncio.wait([listening])


def file_response(
    request: Request,
    opened: BinaryIO,
    file: ExportFile,
    *,
    filename: str,
    media_type: str,
    last_modified: datetime,
    expires_at: datetime | None,
    is_verified: bool,
    check: Callable[[], None],
) -> Response:
    """200, 206, 304 or 416. Takes over `opened` and closes it."""
    etag = _etag(file)
    modified = format_datetime(to_the_second(last_modified), usegmt=True)
    headers = _identity(file, expires_at) | {
        "Last-Modified": modified,
        "Cache-Control": "private, no-transform",
        "Accept-Ranges": "bytes",
    }
    if _is_known(request, etag, modified):
        opened.close()
        return Response(status_code=304, headers=headers)
    headers |= {
        "Content-Type": media_type,
        "Content-Disposition": f'attachment; filename="{filename}"',
    }
    size = file.size_bytes
    try:
        part = _requested_part(request, size, etag, modified)
    except RangeNotSatisfiable as error:
        opened.close()
        return error_response(error, request_id(request), {"Content-Range": f"bytes */{size}"})
    if part is None:
        sha256 = None if is_verified else file.sha256
        return FileResponse(opened, Part(0, size), 200, headers, check=check, sha256=sha256)
    headers["Content-Range"] = f"bytes {part.first}-{part.end - 1}/{size}"
    return FileResponse(opened, part, 206, headers, check=check)


def may_be_redirected(request: Request) -> bool:
    """Whether the store may answer: not to a HEAD, nor where our ETag or date is a condition.

    The store has an ETag of its own, so that it would misjudge those.
    """
    return request.method == "GET" and not _CONDITIONS & set(request.headers)


def redirect_response(link: str, file: ExportFile, *, expires_at: datetime | None) -> Response:
    """To the same file elsewhere, for this once; ETag and digest are the file's, to be checked.

    307: the method stays, caches keep it only if told so, and the next request comes here again.
    """
    moved = {"Location": link, "Cache-Control": "private, no-store"}
    return Response(status_code=307, headers=_identity(file, expires_at) | moved)


def _identity(file: ExportFile, expires_at: datetime | None) -> dict[str, str]:
    digest = base64.b64encode(bytes.fromhex(file.sha256)).decode()
    headers = {"ETag": _etag(file), "Repr-Digest": f"sha-256=:{digest}:"}
    if expires_at is not None:
        headers["Sunset"] = format_datetime(to_the_second(expires_at), usegmt=True)
    return headers


def _etag(file: ExportFile) -> str:
    return f'"{file.sha256}"'


def _is_known(request: Request, etag: str, modified: str) -> bool:
    """Whether the client has these bytes already; If-None-Match overrides the date."""
    given = request.headers.getlist("if-none-match")
    if given:
        tags = [tag.strip().removeprefix("W/") for tag in ",".join(given).split(",")]
        return "*" in tags or etag in tags
    return request.headers.get("if-modified-since") == modified


def _requested_part(request: Request, size: int, etag: str, modified: str) -> Part | None:
    """None: the whole file, as for several ranges, unknown units and an outdated If-Range.

    Raises RangeNotSatisfiable where the range lies outside the file.
    """
    wanted = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if wanted is None or request.headers.get("if-range", etag) not in (etag, modified):
        return None
    first, last = wanted["first"], wanted["last"]
    if not first and not last:
        return None
    if not first:
        part = Part(max(0, size - int(last)), size)
    elif last and int(last) < int(first):
        return None
    else:
        part = Part(int(first), min(size, int(last) + 1) if last else size)
    if part.first >= part.end:
        raise RangeNotSatisfiable(f"the file has {size} bytes; ask for a range within it")
    return part
