"""Exports as a simple model has them, beside the real ones on a home of their own.

The real:  one SQLite home, the real application in this process, a worker that works when it is
           told to. Time passes where a rule moves a time in the database into the past.
The model: a few words for each accepted export. What it does not know must not be there.
"""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from httpx2 import Response
from sqlalchemy import Table, update
from starlette.testclient import TestClient

from meterport.adapters.sql_database import Database
from meterport.adapters.sql_tables import jobs
from meterport.bootstrap import prepare
from meterport.domain.jobs import JobId, Phase, RetryPolicy
from meterport.domain.period import iso_utc
from meterport.services.sweep import sweep
from meterport.services.work_job import work_job
from meterport.web.app import create_app
from tests import make
from tests.e2e.service import csv_of
from tests.unit.exports import workplace

METERS = ("123", "124", "125")
FLEETS = (("123",), ("123",), ("124",), ("123", "124"), ("123", "125"), ("999",))
"""What exports are asked of; there is no meter 999."""

ROWS = 300
LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Wish:
    """What is asked for: so many minutes of each meter since January began."""

    meters: tuple[str, ...]
    minutes: int

    @property
    def is_fleet(self) -> bool:
        return len(self.meters) > 1

    @property
    def rows(self) -> int:
        return min(self.minutes, ROWS) * len(self.meters)

    @property
    def csv(self) -> bytes:
        return b"".join(_csv(self.meters, min(self.minutes, ROWS)))

    def body(self, *, rich: bool) -> dict[str, object]:
        start, end = make.JANUARY, make.JANUARY + timedelta(minutes=self.minutes)
        names = ("start", "end") if rich else ("start_datetime", "end_datetime")
        period = dict(zip(names, map(iso_utc, (start, end)), strict=True))
        meters = {"smart_meter_ids": self.meters} if rich else {"smart_meter_id": self.meters[0]}
        return {**meters, "format": "csv", **period}


@cache
def _csv(meters: Sequence[str], rows: int) -> Sequence[bytes]:
    header, first = csv_of(meters[0], first=0, rows=rows).split(b"\n", 1)
    further = [csv_of(meter, first=0, rows=rows).split(b"\n", 1)[1] for meter in meters[1:]]
    return [header, b"\n", first, *further]


@dataclass
class Export:
    """`held`: by a worker that has died. `strayed`: it died, and its lease has run out since."""

    id: str
    owner: str
    wish: Wish
    phase: Phase = Phase.QUEUED
    has_ended: bool = False
    held: bool = False
    strayed: bool = False
    attempts: int = 0
    crashes: int = 0
    has_file: bool = False

    @property
    def is_free(self) -> bool:
        return not self.has_ended and not self.held

    @property
    def status(self) -> str:
        """Of the frozen tier."""
        if not self.has_ended:
            return "pending"
        return "failed" if self.phase in (Phase.FAILED, Phase.CANCELLED) else "completed"

    @property
    def download_status(self) -> int:
        return {Phase.COMPLETED: 200, Phase.EXPIRED: 410}.get(self.phase, 409)

    def claimed(self) -> None:
        self.attempts += 1
        self.crashes += self.strayed
        self.strayed = False

    def worked(self, most_crashes: int, known: frozenset[str]) -> None:
        """As one attempt at it ends; `known`: the meters that there are."""
        self.claimed()
        self.has_ended = True
        if self.phase is Phase.CANCELLED:
            return
        fails = self.crashes >= most_crashes or not known.issuperset(self.wish.meters)
        self.phase = Phase.FAILED if fails else Phase.COMPLETED
        self.has_file = not fails

    def killed(self) -> None:
        self.claimed()
        self.held = True
        if self.phase is Phase.QUEUED:
            self.phase = Phase.RUNNING

    def lease_has_run_out(self) -> None:
        self.held, self.strayed = False, True
        if self.phase is Phase.RUNNING:
            self.phase = Phase.QUEUED

    def cancelled(self) -> None:
        self.phase = Phase.CANCELLED
        self.has_ended = self.is_free
        self.strayed &= self.held

    def erased(self) -> None:
        """As a meter of it is forgotten."""
        if not self.has_ended:
            self.phase, self.has_ended = Phase.CANCELLED, True
            self.held = self.strayed = False
        elif self.phase is Phase.COMPLETED:
            self.phase = Phase.EXPIRED

    def deleted(self) -> None:
        if not self.has_ended:
            self.cancelled()
        elif self.phase in (Phase.COMPLETED, Phase.EXPIRED):
            self.phase, self.has_file = Phase.EXPIRED, False


@dataclass(frozen=True)
class Who:
    """Who asks. Where no keys are asked for there is one who sees everything."""

    owner: str = "anybody"

    @property
    def headers(self) -> dict[str, str]:
        return {}

    def may(self, wish: Wish) -> bool:
        """Ask for it."""
        return True

    def sees(self, export: Export) -> bool:
        return export.owner == self.owner and self.may(export.wish)


ANYBODY = Who()


class Real:
    """The service, and what may befall it."""

    def __init__(self, template: Path, **given: object) -> None:
        self._folder = Path(mkdtemp(prefix="model-"))
        self._settings = make.settings(self._folder / "data", **given)
        shutil.copytree(template, self._settings.data)
        self._open = ExitStack()
        self.start()

    @property
    def most_crashes(self) -> int:
        return RetryPolicy().crashes

    def start(self) -> None:
        self.services = prepare(self._settings)
        self._open.callback(self.services.close)
        self._database = Database(self._settings.jobs_url)
        self._open.callback(self._database.engine.dispose)
        app = create_app(self.services, self._settings)
        self._client = self._open.enter_context(TestClient(app, base_url="http://localhost"))

    def restart(self) -> None:
        """Nothing of the earlier process is left but the home."""
        self._open.close()
        self.start()

    def end(self) -> None:
        self._open.close()
        shutil.rmtree(self._folder)

    def ask(
        self, who: Who, method: str, path: str, headers: Mapping[str, str] | None = None, **how: Any
    ) -> Response:
        return self._client.request(method, path, headers={**who.headers, **(headers or {})}, **how)

    def work(self, job_id: str) -> None:
        home = make.Home(self._settings, self.services)
        assert work_job(workplace(home), only=JobId(job_id))

    def kill_a_worker_at(self, job_id: str) -> None:
        """It had claimed the export, and had written some of its file."""
        job = self.services.jobs.claim(make.lease(timedelta(hours=1)), only=JobId(job_id))
        assert job is not None
        make.file(self._settings.files / ".parts" / f"{job.id}.{job.attempt}")

    def let_lease_run_out(self, job_id: str) -> None:
        self._set(jobs, job_id, lease_until=LONG_AGO)

    def let_file_expire(self, job_id: str) -> None:
        self._set(jobs, job_id, expires_at=LONG_AGO)

    def sweep(self) -> None:
        sweep(archive=self.services.archive, objects=self.services.objects)

    def phases(self) -> dict[str, Phase]:
        """Of every job that there is, by its id."""
        return {job.id: job.phase for job in self.services.archive.recent(1000)}

    def files(self) -> tuple[set[str], set[str]]:
        """Of which exports there are published files, and of which drafts."""
        objects = self.services.objects
        drafts, keys = set(objects.drafts()), set(objects.keys())
        return {_job_of(key) for key in keys - drafts}, {_job_of(key) for key in drafts}

    def _set(self, table: Table, row_id: str, **values: datetime) -> None:
        with self._database.write() as connection:
            connection.execute(update(table).where(table.c.id == row_id).values(**values))


def _job_of(key: str) -> str:
    return key.partition("/")[0]
