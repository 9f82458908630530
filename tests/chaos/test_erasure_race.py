"""R29: a meter is erased while it is exported, downloaded, looked at and imported again.

Exports of it alone and of fleets, in parts, in every format, are finished, at work and waiting.
Afterwards no file of the home holds a value of it, as it is or packed; nothing that is asked for
has one; its downloads answer 410 and its unfinished exports have failed. The audit log has its id,
and verifies. What was imported again counts as erased if its version is older than the erasure's.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import func, select, update

from meterport.adapters import sql_erasures
from meterport.adapters.sql_erasures import SqlErasures
from meterport.adapters.sql_job_archive import SqlJobArchive
from meterport.adapters.sql_tables import jobs as jobs_table
from meterport.bootstrap import connect, erase
from meterport.cli_backup import backed_up
from meterport.domain.audit import Action, Sought
from meterport.domain.exports import ExportRequest
from meterport.domain.jobs import Job, JobStatus
from meterport.domain.options import Compression, ExportOptions, Layout
from meterport.encoders import FORMATS
from meterport.restore import restore
from meterport.services.verify_audit import verify_audit
from tests import make
from tests.chaos.erased import PERIOD, Readings, places_of
from tests.chaos.harness import Chaos, Zygote, gone, kill, wait_until, zygote
from tests.chaos.lone_api import LoneApi
from tests.chaos.looks import ENERGY, PACKED

pytestmark = pytest.mark.promise("R29")

Variant = Callable[[pytest.MonkeyPatch], None]
WORKERS = 2
WARM = {"job_lease_s": 2, "job_retry_s": 0.01, "part_rows": 1440}
OTHERS = ("A1", "Z1")
PATHS = (
    "/api/exports/{job}",
    "/api/exports/{job}/manifest",
    "/api/export/download/{job}",
    "/api/export/status/{job}",
    "/api/meters/{meter}/coverage",
    "/api/meters/{meter}/preview",
)


@dataclass(frozen=True)
class Answer:
    """What a client got; `begun` on the clock of time.monotonic."""

    path: str
    begun: float
    status: int
    body: bytes


@dataclass
class Clients:
    """They ask for all that tells of a meter, until they are stopped."""

    port: int
    meter: str
    jobs: Sequence[Job]
    chance: random.Random
    answers: list[Answer] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def asking(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _ask(self) -> None:
        base_url = f"http://127.0.0.1:{self.port}"
        with httpx2.Client(base_url=base_url, trust_env=False, timeout=30) as http:
            while not self._stop.is_set():
                job = self.chance.choice(self.jobs)
                path = self.chance.choice(PATHS).format(job=job.id, meter=self.meter)
                begun = time.monotonic()
                try:
                    answer = http.get(path)
                except httpx2.HTTPError:
                    continue  # cut off, as it may be
                self.answers.append(Answer(path, begun, answer.status_code, answer.content))


class Race:
    """One meter at a time is erased from a home where workers and an API are at work."""

    def __init__(self, chaos: Chaos, home: make.Home, processes: Zygote, api: LoneApi) -> None:
        self._chaos = chaos
        self._home = home
        self._processes = processes
        self._api = api
        self._number = 0
        self.erased: list[Readings] = []

    def run(self, backup: Path | None = None) -> None:
        self._number += 1
        meter, chance = f"G{self._number}", self._chaos.random
        first, again = (Readings.drawn(meter, chance) for _ in range(2))
        self._home.load(first.frame)
        finished = [self._ask(first) for _ in range(3)]
        self._home.work()
        if backup is not None:
            backed_up(self._home.settings, backup, as_json=False)
        with self._working():
            jobs = [*finished, *(self._ask(first) for _ in range(8))]
            clients = Clients(self._api.port, meter, jobs, random.Random(chance.random()))  # noqa: S311
            with clients.asking():
                time.sleep(chance.uniform(0, 0.5))
                version = self._erased_beside_an_import(first, again)
                returned = time.monotonic()
                self._look_at_jobs(jobs)
                self._wait_for_attempts(first)
        self._look_at_answers(clients, first, returned)
        self._look(first, again, version)
        told = sum(first.is_in(answer.body) for answer in clients.answers)
        self._chaos.count(erasures=1, answers_before=told, answers=len(clients.answers))

    def _ask(self, readings: Readings) -> Job:
        """Alone, or between others."""
        chance = self._chaos.random
        format_ = chance.choice(list(FORMATS))
        compression = chance.choice(PACKED)
        options = ENERGY if format_ == "xml" else ExportOptions()
        if chance.random() < 0.5:
            request = ExportRequest(
                readings.meter, PERIOD, format_, compression=compression, options=options
            )
        else:
            if compression is Compression.NONE and chance.random() < 0.5:
                options = replace(options, layout=Layout.FILE_PER_METER)
            fleet = (OTHERS[0], readings.meter, OTHERS[1])
            request = ExportRequest.of_fleet(
                fleet, PERIOD, format_, compression=compression, options=options
            )
        return self._home.submit(replace(request, label=readings.label))

    @contextmanager
    def _working(self) -> Iterator[None]:
        data = self._home.settings.data
        pids = [self._processes.start("worker", data, settings=WARM) for _ in range(WORKERS)]
        try:
            yield
        finally:
            for pid in pids:
                kill(pid)
                gone(pid)

    def _erased_beside_an_import(self, first: Readings, again: Readings) -> int:
        """The version that the erasure made; perhaps the meter is sent again at the same time."""
        late = self._chaos.random.uniform(0, 0.2)
        importing = threading.Timer(late, self._home.load, [again.frame])
        if self._chaos.random.random() < 0.5:
            importing.start()
        try:
            erase(self._home.services, first.meter)
        finally:
            if importing.is_alive():
                importing.join()
        (version,) = self._versions(first.meter, Action.METER_ERASED)
        return version

    def _versions(self, meter: str, action: Action) -> list[int]:
        """Those that it made, as the audit log tells them; the newest first."""
        page = self._home.services.audit.page(Sought(smart_meter_id=meter), limit=10_000)
        told = [seen.as_json() for seen in page.entries if seen.entry.action == action]
        return [int(each["details"]["version"]) for each in told]  # type: ignore[index]

    def _look_at_jobs(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            now = self._home.services.jobs.get(job.id)
            assert now is not None
            ended = now.status is not JobStatus.PENDING
            self._chaos.expect(ended, f"{job.id} is unfinished, and not called off")
            self._chaos.expect(now.request.label is None, f"{job.id} has a label yet")
            self._chaos.count(**{"files_gone" if now.file else "exports_called_off": 1})
            status = self._api.http.get(f"/api/export/download/{job.id}").status_code
            right = 410 if now.status is JobStatus.COMPLETED else 409
            self._chaos.expect(status == right, f"{job.id}, {now.status}: answer {status}")

    def _wait_for_attempts(self, first: Readings) -> None:
        """Those at work notice within a beat of theirs; what they write until then goes too."""
        try:
            wait_until(
                lambda: not places_of([first], self._home.settings.data),
                every_s=0.1,
                within_s=min(20, self._chaos.patience_s),
            )
        except AssertionError:
            left = places_of([first], self._home.settings.data)
            self._chaos.found.append(f"values of {first.meter} are in {left}")

    def _look_at_answers(self, clients: Clients, first: Readings, returned: float) -> None:
        for answer in clients.answers:
            if answer.begun > returned and first.is_in(answer.body):
                self._chaos.found.append(f"{answer.path} told of {first.meter}: {answer.status}")

    def _look(self, first: Readings, again: Readings, version: int) -> None:
        erased = [first]
        if any(imported < version for imported in self._imported_again(again)):
            erased.append(again)
            self._chaos.count(imports_erased=1)
        self.erased += erased
        left = places_of(erased, self._home.settings.data)
        self._chaos.expect(not left, f"values of {first.meter} are in {left}")
        verdict = verify_audit(self._home.services.audit)
        self._chaos.expect(verdict.fault is None, f"the audit log: {verdict.fault}")

    def _imported_again(self, again: Readings) -> list[int]:
        """The version of the second import, if there was one."""
        return self._versions(again.meter, Action.READINGS_IMPORTED)[:-1]


def race(chaos: Chaos, folder: Path, *, rounds: int) -> None:
    home = make.home(folder / "home", part_rows=WARM["part_rows"])
    for meter in OTHERS:
        home.load(Readings.drawn(meter, chaos.random).frame)
    backup = folder / "backup"
    with zygote(folder) as processes, closing(LoneApi(processes, home)) as api, api.running():
        racing = Race(chaos, home, processes, api)
        for n in range(rounds):
            racing.run(backup if n == rounds // 2 else None)
            if chaos.found:
                return
    restore_and_look(chaos, home, backup, racing.erased)


def restore_and_look(
    chaos: Chaos, home: make.Home, backup: Path, erased: Sequence[Readings]
) -> None:
    home.services.close()
    before = places_of(erased, backup)
    chaos.expect(bool(before), "the search finds nothing where values are")
    restore(home.settings, backup, replace=True)
    left = places_of(erased, home.settings.data)
    chaos.expect(not left, f"restored, and values of erased meters are in {left}")
    services = connect(home.settings)
    chaos.expect(verify_audit(services.audit).fault is None, "the restored audit log is broken")
    last = erased[-1].meter
    seen = services.audit.page(Sought(smart_meter_id=last), limit=1).entries
    told = [each.entry.action for each in seen]
    chaos.expect(told == [Action.METER_ERASED], f"{last} is not erased again, but {told}")
    services.close()
    chaos.count(restores=1)


@pytest.mark.timeout(3600)
def test_an_erased_meter_is_nowhere(chaos: Chaos, tmp_path: Path) -> None:
    race(chaos, tmp_path, rounds=chaos.size(3, full=120))

    assert chaos.found == []


def manifests_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a manifest tells of a meter's days stays in the database."""
    monkeypatch.setattr(sql_erasures, "drop_manifests", lambda *_: None)
    monkeypatch.setattr(SqlJobArchive, "drop_manifests", lambda _: 0)


def attempts_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is at work with the meter's readings goes on."""
    monkeypatch.setattr(sql_erasures, "chunks", lambda _: [])


def labels_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """The jobs keep what a user wrote of the meter."""
    true_begin = SqlErasures.begin

    def begin(self: SqlErasures, smart_meter_id: str, *, version: int | None = None) -> None:
        of_it = sql_erasures._of_it(smart_meter_id)
        with self._database.read() as connection:
            label = connection.execute(select(func.max(jobs_table.c.label)).where(of_it)).scalar()
        true_begin(self, smart_meter_id, version=version)
        with self._database.write() as connection:
            connection.execute(update(jobs_table).where(of_it).values(label=label))

    monkeypatch.setattr(SqlErasures, "begin", begin)


@pytest.mark.parametrize("variant", [manifests_left, attempts_forgotten, labels_left])
def test_an_erasure_that_leaves_something_is_caught(
    chaos: Chaos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: Variant
) -> None:
    broken = chaos.toothless(variant.__name__)
    variant(monkeypatch)

    race(broken, tmp_path, rounds=2)

    assert broken.found


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("format_", FORMATS)
def test_the_search_finds_values_in_every_form(
    format_: str, packed: Compression, tmp_path: Path
) -> None:
    values = Readings.drawn("G1", random.Random(2)).values  # noqa: S311
    readings = Readings("G1", tuple(abs(value) for value in values))
    home = make.home(tmp_path, readings.frame)
    options = ENERGY if format_ == "xml" else ExportOptions()
    request = ExportRequest("G1", PERIOD, format_, compression=packed, options=options)
    job = home.submit(request)
    home.work()

    found = places_of([readings], home.settings.data)

    assert f"exports/{job.id}/1" in found
    assert "meterport.db" in found
    assert any(path.startswith("readings/month=2024-01/") for path in found)
