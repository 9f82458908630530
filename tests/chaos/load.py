"""Load for the chaos tests: a writer that corrects the readings, and exports that never cease.

Every correction gives all readings of meter 123 one new value, the number of the version that it
makes; so a file's values tell which versions it was read from.
"""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache

import polars as pl

from meterport.domain.jobs import Job, JobStatus
from meterport.services.keep_readings import keep_readings
from tests import make
from tests.e2e.service import csv_of

OPEN_JOBS = 6


@cache
def _lines(rows: int) -> list[tuple[bytes, bytes]]:
    """Each line of the file around its value."""
    found = []
    for line in csv_of("123", first=0, rows=rows).splitlines(keepends=True)[1:]:
        time, meter, _, rest = line.split(b",", 3)
        found.append((b"%b,%b," % (time, meter), b"," + rest))
    return found


def csv_with(value: int, *, rows: int) -> bytes:
    body = b"".join(b"%b%d.0%b" % (before, value, after) for before, after in _lines(rows))
    return f"{make.HEADER}\n".encode() + body


def keep(home: make.Home) -> None:
    """Join small files, and forget every version that need not be kept."""
    s = home.services
    keep_readings(
        source=s.source,
        upkeep=s.upkeep,
        catalog=s.catalog,
        archive=s.archive,
        keep_versions=timedelta(0),
    )


class Writer:
    """The one writer of readings: corrects, adds, joins small files, forgets versions."""

    def __init__(self, home: make.Home, chance: random.Random, *, rows: int) -> None:
        self._home = home
        self._random = chance
        self._rows = rows
        self._stop = threading.Event()
        self._go = threading.Event()
        self._step = threading.Lock()
        self.corrections: list[int] = []
        self.acknowledged = 0
        self.upkeeps = 0
        self.accidents: list[str] = []

    @contextmanager
    def writing(self) -> Iterator[None]:
        self.correct()
        self._go.set()
        thread = threading.Thread(target=self._write)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    @contextmanager
    def resting(self) -> Iterator[None]:
        """It writes nothing inside."""
        self._go.clear()
        try:
            with self._step:
                yield
        finally:
            self._go.set()

    def correct(self) -> None:
        expected = (self._home.services.source.version() or 0) + 1
        all_of_it = pl.lit(float(expected))
        frame = make.many_readings(self._rows).with_columns(energy_kwh=all_of_it)
        # Before it is acknowledged: others may read it at once.
        self.corrections.append(expected)
        self.acknowledged = self._home.load(frame).version
        assert self.acknowledged == expected

    def value_at(self, version: int) -> int:
        return max(corrected for corrected in self.corrections if corrected <= version)

    def csv_at(self, version: int) -> bytes:
        return csv_with(self.value_at(version), rows=self._rows)

    def _write(self) -> None:
        steps: Sequence[Callable[[], None]] = (self.correct, self.correct, self._crowd, self._keep)
        try:
            while not self._stop.is_set():
                self._go.wait()
                with self._step:
                    self._random.choice(steps)()
        except Exception as error:  # noqa: BLE001 - told by the test's own thread
            self.accidents.append(f"the writer ended: {error!r}")

    def _crowd(self) -> None:
        """One more small file, so that there is something to join from time to time."""
        self._home.load(make.many_readings(10, meter=f"n{self._random.randrange(10**9)}"))

    def _keep(self) -> None:
        keeps = self._home.services.source.keeps
        before = {(job, version) for job, version in self._read_now() if keeps(version)}
        keep(self._home)
        self.upkeeps += 1
        for job_id, version in before & self._read_now():
            if not keeps(version):
                self.accidents.append(f"{job_id} reads version {version}, which was removed")

    def _read_now(self) -> set[tuple[str, int]]:
        """Which unfinished jobs read which versions."""
        return {
            (job.id, job.source_version)
            for job in self._home.services.archive.recent(2 * OPEN_JOBS)
            if job.status is JobStatus.PENDING and job.source_version is not None
        }


class Exports:
    """A few jobs are always open, until as many were asked for as are wanted."""

    def __init__(self, home: make.Home, *, wanted: int, rows: int) -> None:
        self._home = home
        self._wanted = wanted
        self._rows = rows
        self._open: list[str] = []
        self.ended: list[Job] = []

    @property
    def accepted(self) -> set[str]:
        return {*self._open, *(job.id for job in self.ended)}

    def all_ended(self) -> bool:
        """Looks after them; to be asked again and again."""
        for job_id in list(self._open):
            job = self._home.services.jobs.get(job_id)
            assert job is not None
            if job.status is not JobStatus.PENDING:
                self._open.remove(job_id)
                self.ended.append(job)
        while len(self._open) < OPEN_JOBS and len(self.ended) + len(self._open) < self._wanted:
            self._open.append(submitted(self._home, minutes=self._rows))
        return not self._open


def submitted(home: make.Home, *, minutes: int) -> str:
    return home.submit(make.request(minutes=minutes)).id
