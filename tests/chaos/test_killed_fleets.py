"""R1, fleets: workers killed at random while all of them work on the parts of a few exports."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from meterport.domain.jobs import Job, JobStatus
from meterport.services.sweep import sweep
from meterport.web.app import create_app
from tests import make
from tests.chaos import looks
from tests.chaos.harness import Chaos, Zygote, gone, kill, killed_after, wait_until, zygote
from tests.chaos.looks import Bytes, Look

pytestmark = pytest.mark.promise("R1")

METERS = ("A", "B", "C")
ROWS = 3 * 1440
WAITING = 6
LOOKS = looks.of_fleet(METERS, ROWS)
PARTS = {"csv": 9, "ndjson": 9, "xml": 3}
"""Three meters of three days: a day is a part, but no part of Green Button splits a meter."""

PART_ROWS = 1440
WARM = {
    "job_lease_s": 0.5,
    "job_crashes": 1000,
    "worker_restart_s": 0,
    "job_retry_s": 0.01,
    "part_rows": PART_ROWS,
}


@dataclass
class Fleets:
    """Asked for, and looked at, while workers die."""

    home: make.Home
    client: TestClient
    chaos: Chaos
    expected: Bytes
    wanted: dict[str, Look] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)

    def ask(self) -> None:
        look = self.chaos.random.choice(list(self.expected))
        self.wanted[self.home.submit(look.request).id] = look

    def look(self, job_id: str) -> None:
        job = self.job(job_id)
        answer = self.client.get(f"/api/export/download/{job_id}")
        if job.status is JobStatus.COMPLETED:
            whole = answer.content == self.expected[self.wanted[job_id]]
            self.chaos.expect(whole, f"{job_id}: {answer.status_code}, not the whole file")
            self.finished.add(job_id)
        self.chaos.expect(job_id not in self.finished or job.file is not None, f"{job_id} is gone")
        self.chaos.expect(job.status is not JobStatus.FAILED, f"{job_id} failed: {job.error}")

    def job(self, job_id: str) -> Job:
        job = self.home.services.jobs.get(job_id)
        assert job is not None
        return job

    def open_jobs(self) -> list[str]:
        return [job_id for job_id in self.wanted if job_id not in self.finished]

    def all_ended(self) -> bool:
        for job_id in self.open_jobs():
            if self.job(job_id).status is not JobStatus.PENDING:
                self.look(job_id)
        return not self.open_jobs() or bool(self.chaos.found)


def kill_workers(
    chaos: Chaos, home: make.Home, processes: Zygote, expected: Bytes, *, kills: int
) -> None:
    app = create_app(home.services, home.settings)
    with TestClient(app, base_url="http://localhost") as client:
        fleets = Fleets(home, client, chaos, expected)
        for _ in range(kills):
            while len(fleets.open_jobs()) < WAITING:
                fleets.ask()
            pid = processes.start("worker", home.settings.data, settings=WARM)
            with killed_after(pid, chaos.random.uniform(0.04, 0.3)):
                fleets.look(chaos.random.choice(list(fleets.wanted)))
        _finish(processes, fleets)
    chaos.count(fleet_kills=kills, fleets=len(fleets.wanted), lost=len(fleets.open_jobs()))
    _check_leftovers(chaos, fleets)


def _finish(processes: Zygote, fleets: Fleets) -> None:
    data = fleets.home.settings.data
    workers = [processes.start("worker", data, settings=WARM) for _ in range(2)]
    try:
        wait_until(fleets.all_ended, every_s=0.05, within_s=fleets.chaos.patience_s)
    finally:
        for worker in workers:
            kill(worker)
            gone(worker)


def _check_leftovers(chaos: Chaos, fleets: Fleets) -> None:
    s = fleets.home.services
    sweep(archive=s.archive, objects=s.objects)
    files = sorted(s.objects.keys())
    named = sorted(file.key for _, file in s.archive.kept_files())
    chaos.expect(files == named, f"left over: {sorted(set(files) - set(named))}")
    parts = sum(PARTS[look.format] for look in fleets.wanted.values())
    chaos.expect(len(named) == parts, "a fleet has a part too few, or twice")
    told = sum(len(s.jobs.manifests(fleets.job(job_id))) for job_id in fleets.wanted)
    chaos.expect(told == parts, "a part without its manifest")
    again = sum(int(key.rpartition("-")[2]) - 1 for key in named)
    chaos.count(parts=len(named), parts_begun_again=again, left_over=len(set(files) - set(named)))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames = [make.many_readings(ROWS, meter=meter) for meter in METERS]
    return make.home(tmp_path_factory.mktemp("loaded"), *frames).settings.data


@pytest.fixture(scope="module")
def expected(loaded: Path, tmp_path_factory: pytest.TempPathFactory) -> Bytes:
    folder = tmp_path_factory.mktemp("undisturbed")
    return looks.made(loaded, folder / "home", LOOKS, part_rows=PART_ROWS)


@pytest.fixture
def home(loaded: Path, tmp_path: Path) -> make.Home:
    return make.copy_of(loaded, tmp_path)


def test_killed_workers_lose_no_part_of_a_fleet(
    chaos: Chaos, home: make.Home, expected: Bytes, tmp_path: Path
) -> None:
    with zygote(tmp_path) as processes:
        kill_workers(chaos, home, processes, expected, kills=chaos.size(40, full=500))

    assert chaos.found == []


@pytest.mark.parametrize("variant", ["no_renewed_parts", "parts_unchecked", "written_in_place"])
def test_a_product_without_that_promise_is_caught(
    chaos: Chaos, home: make.Home, expected: Bytes, tmp_path: Path, variant: str
) -> None:
    broken = chaos.toothless(variant)

    with zygote(tmp_path, variant) as processes:
        for _ in range(10):
            try:
                kill_workers(broken, home, processes, expected, kills=20)
            except AssertionError as error:
                broken.found.append(str(error))
            if broken.found:
                break

    assert broken.found
