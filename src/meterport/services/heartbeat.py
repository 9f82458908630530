"""Keeps a running attempt's lease, and ends the attempt that shall not go on.

Renewed from a thread of its own, since a frame may take long to read; the attempt hears of an
end when it next reports.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import structlog

from meterport.domain.errors import ExportCancelled, ExportTimeout, ServiceUnavailable
from meterport.domain.jobs import Hold, Job, Lease
from meterport.ports import JobStore, Stopping

BEAT_S = 0.5
"""Or a quarter of the lease; a job that is called off ends within a second."""

GRACE_S = 30.0
"""How long a job that ran out of time may take to notice, before its process is given up."""

log = structlog.get_logger()


class LeaseLost(Exception):
    pass


class HandedBack(Exception):
    pass


class Heartbeat:
    def __init__(
        self,
        job: Job,
        *,
        jobs: JobStore,
        lease: Lease,
        stopping: Stopping,
        time_limit: timedelta,
        abandon: Callable[[], None],
        grace_s: float = GRACE_S,
    ) -> None:
        self._job = job
        self._jobs = jobs
        self._lease = lease
        self._stopping = stopping
        self._timeout = ExportTimeout(time_limit)
        self._deadline = time.monotonic() + time_limit.total_seconds()
        self._abandon = abandon
        self._grace_s = grace_s
        self._beat_s = min(BEAT_S, lease.duration.total_seconds() / 4)
        self._rows = 0
        self._hold = Hold.HELD
        self._done = threading.Event()

    @contextmanager
    def beating(self) -> Iterator[None]:
        thread = threading.Thread(target=self._beat, name=f"heartbeat-{self._job.id}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._done.set()
            thread.join()

    def report(self, rows: int) -> None:
        """Tell how many rows there are; raises if the attempt shall not go on."""
        self._rows = rows
        if self._hold is Hold.LOST:
            raise LeaseLost
        if self._hold is Hold.CANCELLED:
            raise ExportCancelled
        if time.monotonic() > self._deadline:
            raise self._timeout
        if self._stopping.is_set():
            raise HandedBack

    def _beat(self) -> None:
        while self._hold is not Hold.LOST and not self._done.wait(self._beat_s):
            if time.monotonic() > self._deadline + self._grace_s:
                self._give_up()
                return
            try:
                hold = self._jobs.renew(self._job, self._lease, rows_written=self._rows)
            except ServiceUnavailable:
                continue  # the lease may still be there when the database is back
            self._hold = hold

    def _give_up(self) -> None:
        """The attempt hangs in a call that never returns, such as a dead network drive's."""
        log.error("export_hangs", job=self._job.id)
        try:
            self._jobs.fail(self._job, self._timeout)
        finally:
            self._hold = Hold.LOST
            self._abandon()
