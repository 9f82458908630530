"""Whether what is about to be sent is of a meter that was erased meanwhile.

Asked before each piece, since a download may take hours and an erasure ends in seconds: once it has
returned, no further byte of the meter goes out.
"""

import time
from collections.abc import Iterable, Iterator

from meterport.domain.errors import ExportExpired, SmartMeterNotFound
from meterport.domain.jobs import JobId
from meterport.ports import JobStore
from meterport.ports.erasures import Erasures

BLOCK = 1 << 16
STALE_S = 0.05
"""So old an answer may be, so that a fast download does not ask at each chunk; an erasure waits as
long before it returns."""


class Unerased:
    """Of exports. To be made before the job is looked up: what is erased later is noticed."""

    def __init__(self, *, jobs: JobStore, erasures: Erasures) -> None:
        self._jobs = jobs
        self._erasures = erasures
        self._asked_at = time.monotonic()
        self._mark = erasures.mark()

    def check(self, job_id: JobId) -> None:
        """Raises ExportExpired; ServiceUnavailable, for what nobody can ask may not be sent."""
        now = time.monotonic()
        if now - self._asked_at < STALE_S:
            return
        mark = self._erasures.mark()
        self._asked_at = now
        if mark == self._mark:
            return
        job = self._jobs.get(job_id)
        if job is None or job.expired:
            raise ExportExpired("the file is no longer kept: it was erased while it was sent")
        self._mark = mark

    def pieces(self, job_id: JobId, texts: Iterable[str]) -> Iterator[str]:
        """The same text in larger pieces, each checked before it goes."""
        block: list[str] = []
        size = 0
        for text in texts:
            block.append(text)
            size += len(text)
            if size >= BLOCK:
                self.check(job_id)
                yield "".join(block)
                block, size = [], 0
        self.check(job_id)
        yield "".join(block)


class UnerasedMeter:
    """Of a meter's own readings. To be made before they are read.

    Raises SmartMeterNotFound for a meter whose erasure is under way.
    """

    def __init__(self, smart_meter_id: str, *, erasures: Erasures) -> None:
        self._meter = smart_meter_id
        self._erasures = erasures
        self._state = erasures.state(smart_meter_id)
        asked, finished = self._state
        if asked is not None and finished is None:
            raise SmartMeterNotFound(smart_meter_id)

    def check(self) -> None:
        """Raises SmartMeterNotFound."""
        if self._erasures.state(self._meter) != self._state:
            raise SmartMeterNotFound(self._meter)
