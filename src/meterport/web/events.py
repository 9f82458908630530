"""`/api/exports/{id}/events`: an export as it goes on, as server-sent events.

Each event is the export as `GET /api/exports/{id}` shows it, named by its phase; the last one is
that of its end. Comments keep the connection alive, and show who has gone away.
"""

import json
from collections.abc import AsyncIterator
from functools import partial

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from meterport.bootstrap import Services
from meterport.domain.errors import JobNotFound
from meterport.domain.jobs import Job
from meterport.web import exports_docs as docs
from meterport.web.contract import ServicesOf, WatchOf, plain_id
from meterport.web.exports import told
from meterport.web.watch import Watch

PING_S = 15
AGAIN_AFTER_MS = 3000
PINGS_AT_MOST = 240
"""An hour; then the client connects again, as it does after any other end of the stream."""

router = APIRouter(prefix="/api/exports")


@router.get("/{job_id}/events", **docs.EVENTS)
async def events(job_id: str, services: ServicesOf, watch: WatchOf) -> Response:
    job = await run_in_threadpool(services.jobs.get, plain_id(job_id))
    if job is None:
        raise JobNotFound(job_id, listed_by="GET /api/exports")
    return EventStream(job, services, watch)


class EventStream(StreamingResponse):
    """Has a place in the watch from its first byte until the client is gone, or refuses with 503.

    Taken here and not by the route, so that nothing can come between that and giving it back.
    """

    media_type = "text/event-stream"

    def __init__(self, job: Job, services: Services, watch: Watch) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(_events(job, services, watch), headers=headers)
        self._watch = watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._watch.place():
            await super().__call__(scope, receive, send)


async def _events(job: Job, services: Services, watch: Watch) -> AsyncIterator[str]:
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
        if found is None:
            return
        job = found


def _differs(shown: Job, job: Job) -> bool:
    return (job.phase, job.progress, job.attempt) != (shown.phase, shown.progress, shown.attempt)


def _event(job: Job, services: Services) -> str:
    return f"event: {job.phase}\ndata: {json.dumps(told(job, services))}\n\n"
