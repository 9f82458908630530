"""R1: workers killed at random. Nothing is lost, doubled, corrupt or half visible."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from meterport.domain.jobs import JobStatus
from meterport.services.sweep import sweep
from meterport.web.app import create_app
from tests import make
from tests.chaos.harness import (
    Chaos,
    Zygote,
    gone,
    is_alive,
    kill,
    killed_after,
    wait_until,
    zygote,
)
from tests.e2e.service import body, csv_of

pytestmark = pytest.mark.promise("R1")

ROWS = 20_000
WAITING = 25
"""Jobs at a time: more than dead workers still hold under their leases."""

WARM = {"job_lease_s": 0.5, "job_crashes": 1000, "worker_restart_s": 0, "job_retry_s": 0.01}


@cache
def expected(minutes: int) -> bytes:
    return csv_of("123", first=0, rows=minutes)


@dataclass
class Readers:
    """Clients that post, poll and download while workers die."""

    client: TestClient
    chaos: Chaos
    wanted: dict[str, int]
    finished: set[str]

    def post(self) -> None:
        minutes = self.chaos.random.choice([1, 60, 1440, ROWS])
        answer = self.client.post("/api/export/csv", json=body("123", 0, minutes))
        self.wanted[answer.json()["job_id"]] = minutes

    def look(self, job_id: str) -> None:
        status = self.client.get(f"/api/export/status/{job_id}").json()["status"]
        answer = self.client.get(f"/api/export/download/{job_id}")
        if job_id in self.finished:
            self.chaos.expect(status == "completed", f"{job_id} was completed, now {status}")
        if status == "completed":
            whole = answer.content == expected(self.wanted[job_id])
            self.chaos.expect(whole, f"{job_id}: {answer.status_code}, not the whole file")
            self.finished.add(job_id)
        self.chaos.expect(status != "failed", f"{job_id} failed")

    def open_jobs(self) -> list[str]:
        return [job_id for job_id in self.wanted if job_id not in self.finished]


def kill_workers(chaos: Chaos, home: make.Home, processes: Zygote, *, kills: int) -> None:
    app = create_app(home.services, home.settings)
    with TestClient(app, base_url="http://localhost") as client:
        readers = Readers(client, chaos, {}, set())
        for _ in range(kills):
            while len(readers.open_jobs()) < WAITING:
                readers.post()
            pid = processes.start("worker", home.settings.data, settings=WARM)
            until = chaos.random.uniform(0.025, 0.130)  # it claims after about 0.04 s
            with killed_after(pid, until):
                readers.look(chaos.random.choice(list(readers.wanted)))
            chaos.expect(_only_whole_files(home, readers), "a file is visible that is not whole")
        _finish(home, processes, readers)
        chaos.count(kills=kills, jobs=len(readers.wanted))
    _check_leftovers(chaos, home, readers)


def _only_whole_files(home: make.Home, readers: Readers) -> bool:
    """Also those that no row names yet."""
    for path in home.settings.files.glob("*-*/*"):
        wanted = readers.wanted.get(path.parent.name)
        if wanted is not None and path.stat().st_size != len(expected(wanted)):
            return False
    return True


def _finish(home: make.Home, processes: Zygote, readers: Readers) -> None:
    worker = processes.start("worker", home.settings.data, settings=WARM)

    def all_ended() -> bool:
        jobs = [home.services.jobs.get(job_id) for job_id in readers.open_jobs()]
        return all(job is not None and job.status is not JobStatus.PENDING for job in jobs)

    try:
        wait_until(all_ended, every_s=0.05, within_s=readers.chaos.patience_s)
    finally:
        assert is_alive(worker)
        for job_id in readers.open_jobs():
            readers.look(job_id)
        kill(worker)
        gone(worker)


def _check_leftovers(chaos: Chaos, home: make.Home, readers: Readers) -> None:
    lost = readers.open_jobs()
    chaos.expect(not lost, f"{len(lost)} jobs never finished")
    sweep(archive=home.services.archive, objects=home.services.objects)
    files = sorted(home.services.objects.keys())
    named = sorted(file.key for _, file in home.services.archive.kept_files())
    chaos.expect(files == named, f"left over: {sorted(set(files) - set(named))}")
    chaos.expect(len(named) == len(readers.wanted), "a job has no file, or two")
    jobs = [home.services.jobs.get(job_id) for job_id in readers.wanted]
    chaos.count(attempts=sum(job.attempt for job in jobs if job is not None))
    chaos.count(lost=len(lost), left_over=len(set(files) - set(named)))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make.home(tmp_path_factory.mktemp("loaded"), make.many_readings(ROWS)).settings.data


@pytest.fixture
def home(loaded: Path, tmp_path: Path) -> make.Home:
    return make.copy_of(loaded, tmp_path)


def test_killed_workers_lose_nothing(chaos: Chaos, home: make.Home, tmp_path: Path) -> None:
    with zygote(tmp_path) as processes:
        kill_workers(chaos, home, processes, kills=chaos.size(60, full=1000))

    assert chaos.found == []


@pytest.mark.parametrize(
    "variant", ["commit_before_rename", "written_in_place", "no_renewed_claims"]
)
def test_a_product_without_that_promise_is_caught(
    chaos: Chaos, home: make.Home, tmp_path: Path, variant: str
) -> None:
    broken = chaos.toothless(variant)

    with zygote(tmp_path, variant) as processes:
        for _ in range(10):
            with_fault(broken, home, processes)
            if broken.found:
                break

    assert broken.found


def with_fault(broken: Chaos, home: make.Home, processes: Zygote) -> None:
    try:
        kill_workers(broken, home, processes, kills=40)
    except AssertionError as error:
        broken.found.append(str(error))
