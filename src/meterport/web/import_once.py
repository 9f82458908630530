"""A file that comes again under its Idempotency-Key is imported once, and told of again."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import structlog
from anyio import to_thread
from fastapi import Request

from meterport.domain.access import Access
from meterport.domain.errors import ServiceUnavailable
from meterport.domain.idempotency import ImportClaim
from meterport.ports.imports import ImportKeys

if TYPE_CHECKING:
    from hashlib import _Hash

KEEP_EVERY_S = 5.0
"""Several times in a lease."""

log = structlog.get_logger()


def begun_digest(request: Request, access: Access) -> "_Hash":
    """Of what is asked besides the body, which is to be added.

    The order of different parameters says nothing; that of one that is repeated may. Another key
    of the same owner that is for other meters does not ask for the same.
    """
    parameters = sorted(request.query_params.multi_items(), key=lambda item: item[0])
    media_type = request.headers.get("content-type", "").strip().lower()
    asked = [parameters, media_type, sorted(access.meters.patterns)]
    return hashlib.sha256(json.dumps(asked).encode() + b"\n")


async def import_once(
    importing: Callable[[], Awaitable[dict[str, object]]],
    *,
    keys: ImportKeys,
    owner: str,
    key: str,
    request_sha256: str,
) -> tuple[Mapping[str, object], bool]:
    """The report, and whether an earlier request had it. Raises what `importing` and `claim` do."""
    claiming = partial(keys.claim, owner=owner, key=key, request_sha256=request_sha256)
    claimed = await to_thread.run_sync(claiming)
    if not isinstance(claimed, ImportClaim):
        return claimed, True
    report = None
    try:
        async with _kept(claimed, keys):
            report = await importing()
    finally:
        if report is None:
            await _let_go(claimed, keys)
    await to_thread.run_sync(keys.finish, claimed, report)
    return report, False


@asynccontextmanager
async def _kept(claim: ImportClaim, keys: ImportKeys) -> AsyncIterator[None]:
    async def keep() -> None:
        while True:
            await asyncio.sleep(KEEP_EVERY_S)
            with suppress(ServiceUnavailable):  # the next beat, or whoever takes it over, will see
                await to_thread.run_sync(keys.renew, claim)

    keeping = asyncio.create_task(keep())
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])


async def _let_go(claim: ImportClaim, keys: ImportKeys) -> None:
    """Else it goes with its lease."""
    try:
        await to_thread.run_sync(keys.release, claim)
    except ServiceUnavailable as error:
        log.warning("import_key_waits", reason=error.message)
