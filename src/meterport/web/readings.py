"""Readings that are sent: the body is a file, and the query says how to read it."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

from anyio import Lock, to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import contextmanager_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from meterport.domain.access import EVERYTHING, Access, Scope
from meterport.domain.errors import ImportBusy, InvalidRequest, shown
from meterport.domain.idempotency import check_key
from meterport.domain.period import LONGEST_INTERVAL_S
from meterport.importers.base import ImportFormat
from meterport.importers.options import FLAGS
from meterport.ports.overview import Upload
from meterport.services.import_options import Said
from meterport.services.receive_readings import check_words, format_of, parameter
from meterport.web import readings_docs as docs
from meterport.web.access import MayImport, authenticated
from meterport.web.contract import IdempotencyKey, ServicesOf
from meterport.web.errors import UnsupportedMediaType
from meterport.web.import_once import begun_digest, import_once
from meterport.web.strict import parameters_of

PATH = "/api/readings"
AT_ONCE = 8
"""More would only fill the disk while they wait: one import writes at a time."""
AT_ONCE_OF_OWNER = 4
"""So that nobody who sends slowly keeps all others out."""
BLOCK_BYTES = 1 << 20
REPEATABLE = ("map", "where", "quality", "missing")
PARAMETERS = ("format", *(parameter(flag) for flag in FLAGS.values()))
MOST_LINES = 1_000_000
Import = Callable[[Path, Said, Access], Awaitable[dict[str, object]]]

router = APIRouter(prefix=PATH)


class Inbox:
    """Takes few files at a time, and lets `run` import one of them after the other."""

    def __init__(self, run: Import) -> None:
        self._run = run
        self._taken: Counter[str] = Counter()
        self._turn: Lock | None = None

    @contextmanager
    def place(self, access: Access = EVERYTHING) -> Iterator[None]:
        """Raises ImportBusy."""
        owner = access.owner
        if self._taken.total() >= AT_ONCE:
            raise ImportBusy(f"{AT_ONCE} files are being imported; try again when one is done")
        if access.key_id and self._taken[owner] >= AT_ONCE_OF_OWNER:
            raise ImportBusy(
                f"{AT_ONCE_OF_OWNER} files of this key's owner are being imported; try again when "
                "one is done"
            )
        self._taken[owner] += 1
        try:
            yield
        finally:
            self._taken[owner] -= 1
            if not self._taken[owner]:
                del self._taken[owner]

    async def imported(
        self, path: Path, said: Said, may_yet: Callable[[], Access]
    ) -> dict[str, object]:
        """`may_yet` is asked when its turn has come, which may take an hour, and raises if not."""
        # Made by the first who needs it, for it belongs to the loop.
        self._turn = self._turn or Lock()
        async with self._turn:
            return await self._run(path, said, await to_thread.run_sync(may_yet))


def inbox_of(request: Request) -> Inbox:
    found: Inbox = request.app.state.inbox
    return found


@router.post("", **docs.POST)
@router.post("/", include_in_schema=False)
async def post_readings(
    access: MayImport,
    request: Request,
    services: ServicesOf,
    inbox: Annotated[Inbox, Depends(inbox_of)],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    known = _format(request)
    said = _said(request)
    check_words(said)
    if idempotency_key is not None:
        check_key(idempotency_key)
    may_yet = partial(_may_import_yet, request)
    # In a thread: to make room, and to remove a gigabyte, takes a file system its time.
    receiving = contextmanager_in_threadpool(services.uploads.receiving(known.extensions[0]))
    with inbox.place(access):
        async with receiving as upload:
            importing = partial(inbox.imported, upload.path, said, may_yet)
            if idempotency_key is None:
                await _received(request, upload)
                return JSONResponse(await importing())
            digest = begun_digest(request, access)
            await _received(request, upload, digest.update)
            await to_thread.run_sync(may_yet)
            report, replayed = await import_once(
                importing,
                keys=services.import_keys,
                owner=access.owner,
                key=idempotency_key,
                request_sha256=digest.hexdigest(),
            )
            return JSONResponse(
                report, headers={"Idempotency-Replayed": "true"} if replayed else None
            )


def _may_import_yet(request: Request) -> Access:
    """Sending and waiting take long enough for a key to be revoked. Raises Unauthenticated."""
    access = authenticated(request)
    access.check(Scope.IMPORT)
    return access


async def _received(
    request: Request, upload: Upload, seen: Callable[[bytes], None] = lambda _: None
) -> None:
    """`seen` gets every byte."""

    def take(data: bytes) -> None:
        upload.write(data)
        seen(data)

    block = bytearray()
    try:
        async for chunk in request.stream():
            block += chunk
            if len(block) >= BLOCK_BYTES:
                await to_thread.run_sync(take, bytes(block))
                block.clear()
    except ClientDisconnect as error:
        raise InvalidRequest("the body was cut off; nothing was imported") from error
    await to_thread.run_sync(take, bytes(block))
    await to_thread.run_sync(upload.end)


def _format(request: Request) -> ImportFormat:
    if request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedMediaType("send the file as it is, without the header Content-Encoding")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    known = format_of(media_type, request.query_params.get("format"))
    if known is None:
        raise UnsupportedMediaType(
            "add the header Content-Type: text/csv (also for NEM12), application/x-ndjson, "
            "application/vnd.apache.parquet or application/atom+xml"
        )
    return known


def _said(request: Request) -> Said:
    asked = parameters_of(request, PARAMETERS, repeatable=REPEATABLE)
    many = request.query_params.getlist
    return Said(
        maps=many("map"),
        meter=asked.get("meter"),
        timezone=asked.get("timezone"),
        interval_s=_number("interval", asked.get("interval"), 1, LONGEST_INTERVAL_S),
        delimiter=asked.get("delimiter"),
        decimal=asked.get("decimal"),
        header_line=_number("header_line", asked.get("header_line"), 0, MOST_LINES),
        date_format=asked.get("date_format"),
        label=asked.get("label", "start"),
        repeated_hour=asked.get("repeated_hour", "order"),
        where=many("where"),
        factor=asked.get("factor"),
        quality=many("quality"),
        missing=many("missing"),
        wide=asked.get("wide"),
        skip_bad_rows=_is_true("skip_bad_rows", asked.get("skip_bad_rows", "false")),
    )


def _number(name: str, text: str | None, least: int, most: int) -> int | None:
    if text is None:
        return None
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 7 else -1
    if not least <= number <= most:
        raise InvalidRequest(
            f"{name} must be a whole number from {least} to {most}, not {shown(text)}"
        )
    return number


def _is_true(name: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise InvalidRequest(f"{name} must be true or false, not {shown(text)}")
    return text == "true"
