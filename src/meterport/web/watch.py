"""Many wait for jobs to change, and the database is asked once a look for all of them.

All of it is in the service's event loop, but for the look itself, which a thread takes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress

import structlog
from starlette.concurrency import run_in_threadpool

from meterport.domain.errors import MeterportError, ServiceUnavailable
from meterport.domain.jobs import Job, JobId

LOOK_S = 0.5
MOST_WAITING = 1000
LONGEST_WAIT_S = 30

Look = Callable[[Collection[JobId]], Mapping[JobId, Job]]

log = structlog.get_logger()


class Watch:
    """`most`: how many may wait at a time."""

    def __init__(self, look: Look, *, every_s: float = LOOK_S, most: int = MOST_WAITING) -> None:
        self._look = look
        self._every_s = every_s
        self._most = most
        self._taken = 0
        self._waiting: dict[JobId, set[asyncio.Queue[Job | None]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._is_stopped = False

    @property
    def is_stopped(self) -> bool:
        return self._is_stopped

    @property
    def taken(self) -> int:
        """How many places; none once everybody is gone."""
        return self._taken

    @contextmanager
    def place(self) -> Iterator[None]:
        """For a client that waits, from before its first look until it is gone.

        Raises ServiceUnavailable.
        """
        if self._taken >= self._most:
            raise ServiceUnavailable(
                "too many clients wait for exports; ask for the status instead"
            )
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    def stop(self) -> None:
        """Whoever waits gets what was last seen, at the next look. May be called by a signal."""
        self._is_stopped = True

    async def until(self, job: Job, done: Callable[[Job], bool], *, within_s: float) -> Job | None:
        """The job as last seen: once `done` holds of it, or the time is over; None: it is gone."""
        seen: Job | None = job
        if done(job):
            return job
        with suppress(asyncio.TimeoutError), self._looks(job.id) as looks:
            async with asyncio.timeout(within_s):
                while not self._is_stopped and seen is not None and not done(seen):
                    seen = await looks()
        return seen

    @contextmanager
    def _looks(self, job_id: JobId) -> Iterator[Callable[[], Awaitable[Job | None]]]:
        """Of the looks that nobody fetched only the newest is kept."""
        queue: asyncio.Queue[Job | None] = asyncio.Queue(1)
        self._waiting.setdefault(job_id, set()).add(queue)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        try:
            yield queue.get
        finally:
            self._waiting[job_id].remove(queue)
            if not self._waiting[job_id]:
                del self._waiting[job_id]

    async def _run(self) -> None:
        while self._waiting:
            await asyncio.sleep(self._every_s)
            wanted = list(self._waiting)
            try:
                found = await run_in_threadpool(self._look, wanted)
            except MeterportError as error:
                log.warning("watch_waits", reason=error.message)
                continue
            for job_id in wanted:
                for queue in self._waiting.get(job_id, ()):
                    _replace(queue, found.get(job_id))


def _replace(queue: asyncio.Queue[Job | None], job: Job | None) -> None:
    with suppress(asyncio.QueueEmpty):
        queue.get_nowait()
    queue.put_nowait(job)


def wait_asked_for(prefer: str | None) -> int:
    """Seconds, from a header such as `Prefer: wait=20` (RFC 7240, section 4.3); else 0."""
    for preference in (prefer or "").split(","):
        name, _, value = preference.partition(";")[0].strip().partition("=")
        seconds = value.strip().strip('"')
        if name.strip().lower() == "wait" and seconds.isascii() and seconds.isdigit():
            return min(int(seconds[:9]), LONGEST_WAIT_S)
    return 0
