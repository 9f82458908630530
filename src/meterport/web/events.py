"""`/api/exports/{id}/events`: an export as it goes on, as server-sent events.

Each event is the export as `GET /api/exports/{id}` shows it, named by its phase; the last one is
that of its end. Comments keep the connection alive, and show who has gone away.
"""

import json
from collections.abc import AsyncIterator, Callable
from functools import partial

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from meterport.bootstrap import Services
from meterport.domain.access_errors import Unauthenticated
from meterport.domain.jobs import Job
from meterport.web import exports_docs as docs
from meterport.web.access import MayRead
from meterport.web.contract import ServicesOf, WatchOf, may_see_yet
from meterport.web.exports import asked_job, told
from meterport.web.limits import STREAM_PLACE
from meterport.web.routes import add_twins
from meterport.web.watch import Watch

PING_S = 15
AGAIN_AFTER_MS = 3000
PINGS_AT_MOST = 240
"""An hour; then the client connects again, as it does after any other end of the stream."""

MEDIA_TYPE = "text/event-stream"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

router = APIRouter(prefix="/api/exports")


@router.get("/{job_id}/events", dependencies=[STREAM_PLACE], **docs.EVENTS)
async def events(
    access: MayRead, job_id: str, request: Request, services: ServicesOf, watch: WatchOf
) -> Response:
    job = await run_in_threadpool(asked_job, job_id, services, access)
    if request.method == "HEAD":
        return Response(headers=HEADERS, media_type=MEDIA_TYPE)
    return EventStream(_events(job, services, watch, partial(_may_see_yet, request)), watch)


class EventStream(StreamingResponse):
    """Has a place in the watch from its first byte until the client is gone, or refuses with 503.

    Taken here and not by the route, so that nothing can come between that and giving it back.
    """

    media_type = MEDIA_TYPE

    def __init__(self, events: AsyncIterator[str], watch: Watch) -> None:
        super().__init__(events, headers=HEADERS)
        self._watch = watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._watch.place():
            await super().__call__(scope, receive, send)


add_twins(router)


async def _events(
    job: Job, services: Services, watch: Watch, may_see: Callable[[Job], bool]
) -> AsyncIterator[str]:
    yield f"retry: {AGAIN_AFTER_MS}\n\n"
    shown: Job | None = None
    for _ in range(PINGS_AT_MOST):
        if shown is None or _differs(shown, job):
            yield await run_in_threadpool(_event, job, services)
            shown = job
        else:
            yield ": ping\n\n"
        if job.has_ended() or watch.is_stopped:
            return
        found = await watch.until(job, partial(_differs, shown), within_s=PING_S)
        if found is None or not await run_in_threadpool(may_see, found):
            return
        job = found


def _may_see_yet(request: Request, job: Job) -> bool:
    """Not where the key was revoked meanwhile."""
    try:
        return may_see_yet(request, job)
    except Unauthenticated:
        return False


def _differs(shown: Job, job: Job) -> bool:
    return (job.phase, job.progress, job.attempt) != (shown.phase, shown.progress, shown.attempt)


def _event(job: Job, services: Services) -> str:
    return f"event: {job.phase}\ndata: {json.dumps(told(job, services))}\n\n"
