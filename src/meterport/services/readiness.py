"""Whether the service can do its work now: each part is asked at once, and for a short time.

A part that does not answer is not asked again before it has: however many want to know, and
however long an outage lasts, no more than one thread waits for it. What went wrong is told by a
code alone, for whoever asks need not know where things are.
"""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait

import structlog

from meterport.domain.access import ALL_METERS
from meterport.domain.errors import MeterportError
from meterport.ports import JobArchive, ObjectStore, ReadingSource, Space
from meterport.ports.overview import Disk, MeterPages, Presence

PATIENCE_S = 3.0
OK = "ok"
NO_ANSWER = "no answer in time"
NO_WORKER = "no worker"
PROBE = "readyz/0"
"""No job's key."""

Check = Callable[[], str | None]
"""Raises, or returns what is wrong, if anything is."""

log = structlog.get_logger()


class Readiness:
    """`checks` by the part's name."""

    def __init__(self, checks: Mapping[str, Check], *, patience_s: float = PATIENCE_S) -> None:
        self._parts = {name: _Part(name, check) for name, check in checks.items()}
        self._patience_s = patience_s

    def look(self) -> Mapping[str, str]:
        """OK, or why not, by the part's name."""
        asked = {name: part.asked() for name, part in self._parts.items()}
        wait(asked.values(), timeout=self._patience_s)
        return {
            name: answer.result() if answer.done() else NO_ANSWER for name, answer in asked.items()
        }


def readiness(
    *,
    archive: JobArchive,
    objects: ObjectStore,
    space: Space,
    disk: Disk,
    source: ReadingSource,
    pages: MeterPages,
    presence: Presence,
) -> Readiness:
    def database() -> None:
        archive.recent(1)

    def store() -> None:
        if objects.is_remote:
            objects.stat(PROBE)
            return
        with objects.draft(PROBE):
            pass  # A file can be made; nothing is left of it.

    def reserve() -> None:
        disk.scarcest()
        space.check()

    def readings() -> None:
        if source.version() is None:
            pages.page(prefix="", after="", limit=1, within=ALL_METERS)

    def workers() -> str | None:
        return None if presence.workers() else NO_WORKER

    checks: Mapping[str, Check] = {
        "database": database,
        "store": store,
        "disk": reserve,
        "readings": readings,
        "workers": workers,
    }
    return Readiness(checks)


class _Part:
    def __init__(self, name: str, check: Check) -> None:
        self._name = name
        self._check = check
        self._lock = threading.Lock()
        self._answer: Future[str] | None = None

    def asked(self) -> Future[str]:
        with self._lock:
            if self._answer is None or self._answer.done():
                self._answer = Future()
                threading.Thread(
                    target=self._ask, args=(self._answer,), name=f"ready-{self._name}", daemon=True
                ).start()
            return self._answer

    def _ask(self, answer: Future[str]) -> None:
        try:
            answer.set_result(self._check() or OK)
        except MeterportError as error:
            log.warning("not_ready", part=self._name, code=error.code, reason=error.message)
            answer.set_result(error.code)
        except Exception:
            # Whatever it is: the answer is due, and the log has the cause.
            log.exception("not_ready", part=self._name)
            answer.set_result("INTERNAL_ERROR")
