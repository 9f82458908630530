"""R1: workers killed at random. Nothing is lost, doubled, corrupt or half visible."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from meterport.domain.jobs import JobStatus
from meterport.services.sweep import sweep
from meterport.web.app import create_app
from tests import make, servers
from tests.brokers import Store
from tests.chaos import looks
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
from tests.chaos.looks import Bytes, Look
from tests.chaos.machines import check_leftovers
from tests.e2e.machines import Machines, machines
from tests.e2e.service import body

pytestmark = pytest.mark.promise("R1")

ROWS = 20_000
WAITING = 25
"""Jobs at a time: more than dead workers still hold under their leases."""

ALIVE_S = (0.025, 0.130)  # it claims after about 0.04 s
ALIVE_DISTRIBUTED_S = (0.060, 0.300)  # after about 0.1 s
WARM = {"job_lease_s": 0.5, "job_crashes": 1000, "worker_restart_s": 0, "job_retry_s": 0.01}


@dataclass(frozen=True)
class Site:
    """Where workers are killed, and how long they live.

    `files` are those that can be seen; `expected` those that are asked for.
    """

    home: make.Home
    processes: Zygote
    settings: Mapping[str, Any]
    alive_s: tuple[float, float]
    files: Callable[[], Mapping[str, int]]
    expected: Bytes

    def start(self) -> int:
        return self.processes.start("worker", self.home.settings.data, settings=dict(self.settings))


def one_machine(home: make.Home, processes: Zygote, folder: Path) -> Site:
    def files() -> dict[str, int]:
        found = home.settings.files.glob("*-*/*")
        return {f"{path.parent.name}/{path.name}": path.stat().st_size for path in found}

    expected = looks.made(home.settings.data, folder / "undisturbed", looks.ALONE)
    return Site(home, processes, WARM, ALIVE_S, files, expected)


def distributed(at: Machines, processes: Zygote, folder: Path) -> Site:
    expected = looks.made(at.home.settings.data, folder / "undisturbed", looks.ALONE)
    given = WARM | dict(at.given)
    return Site(at.home, processes, given, ALIVE_DISTRIBUTED_S, at.files, expected)


@dataclass
class Readers:
    """Clients that post, poll and download while workers die."""

    client: TestClient
    chaos: Chaos
    expected: Bytes
    wanted: dict[str, Look]
    finished: set[str]

    def post(self) -> None:
        look = self.chaos.random.choice(list(self.expected))
        asked = body(look.meters[0], 0, look.minutes)
        asked |= {"format": look.format, "compression": look.compression}
        answer = self.client.post("/api/export/csv", json=asked)
        self.wanted[answer.json()["job_id"]] = look

    def look(self, job_id: str) -> None:
        status = self.client.get(f"/api/export/status/{job_id}").json()["status"]
        answer = self.client.get(f"/api/export/download/{job_id}")
        if job_id in self.finished:
            self.chaos.expect(status == "completed", f"{job_id} was completed, now {status}")
        if status == "completed":
            whole = answer.content == self.expected[self.wanted[job_id]]
            self.chaos.expect(whole, f"{job_id}: {answer.status_code}, not the whole file")
            self.finished.add(job_id)
        self.chaos.expect(status != "failed", f"{job_id} failed")

    def open_jobs(self) -> list[str]:
        return [job_id for job_id in self.wanted if job_id not in self.finished]


def kill_workers(chaos: Chaos, site: Site, *, kills: int) -> None:
    home = site.home
    app = create_app(home.services, home.settings)
    with TestClient(app, base_url="http://localhost") as client:
        readers = Readers(client, chaos, site.expected, {}, set())
        for _ in range(kills):
            while len(readers.open_jobs()) < WAITING:
                readers.post()
            pid = site.start()
            with killed_after(pid, chaos.random.uniform(*site.alive_s)):
                readers.look(chaos.random.choice(list(readers.wanted)))
            chaos.expect(_only_whole_files(site, readers), "a file is visible that is not whole")
        _finish(site, readers)
        chaos.count(kills=kills, jobs=len(readers.wanted))
    _check_leftovers(chaos, home, readers)


def _only_whole_files(site: Site, readers: Readers) -> bool:
    """Also those that no row names yet."""
    for key, size_bytes in site.files().items():
        wanted = readers.wanted.get(key.partition("/")[0])
        if wanted is not None and size_bytes != len(site.expected[wanted]):
            return False
    return True


def _finish(site: Site, readers: Readers) -> None:
    worker = site.start()

    def all_ended() -> bool:
        jobs = [site.home.services.jobs.get(job_id) for job_id in readers.open_jobs()]
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
    told = [home.services.jobs.manifests(job) for job in jobs if job is not None]
    chaos.expect(all(len(manifests) == 1 for manifests in told), "a file without its manifest")
    chaos.count(attempts=sum(job.attempt for job in jobs if job is not None))
    chaos.count(lost=len(lost), left_over=len(set(files) - set(named)))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames = (make.many_readings(ROWS), looks.NMI_READINGS)
    return make.home(tmp_path_factory.mktemp("loaded"), *frames).settings.data


@pytest.fixture
def home(loaded: Path, tmp_path: Path) -> make.Home:
    return make.copy_of(loaded, tmp_path)


def test_killed_workers_lose_nothing(chaos: Chaos, home: make.Home, tmp_path: Path) -> None:
    with zygote(tmp_path) as processes:
        site = one_machine(home, processes, tmp_path)
        kill_workers(chaos, site, kills=chaos.size(60, full=1000))

    assert chaos.found == []


@pytest.mark.parametrize(
    "variant", ["commit_before_rename", "written_in_place", "no_renewed_claims"]
)
def test_a_product_without_that_promise_is_caught(
    chaos: Chaos, home: make.Home, tmp_path: Path, variant: str
) -> None:
    broken = chaos.toothless(variant)

    with zygote(tmp_path, variant) as processes:
        site = one_machine(home, processes, tmp_path)
        for _ in range(10):
            with_fault(broken, site)
            if broken.found:
                break

    assert broken.found


def with_fault(broken: Chaos, site: Site) -> None:
    try:
        kill_workers(broken, site, kills=40)
    except AssertionError as error:
        broken.found.append(str(error))


@pytest.fixture
def at(tmp_path: Path, postgres_url: str, s3: Store) -> Iterator[Machines]:
    readings = (make.many_readings(ROWS), looks.NMI_READINGS)
    with servers.database(postgres_url) as url, machines(tmp_path, s3, url, *readings) as made:
        yield made


@pytest.mark.promise("R1, distributed")
def test_killed_workers_lose_nothing_in_postgresql_and_a_store(
    chaos: Chaos, at: Machines, tmp_path: Path
) -> None:
    with zygote(tmp_path, distributed=True) as processes:
        site = distributed(at, processes, tmp_path)
        kill_workers(chaos, site, kills=chaos.size(40, full=600))
    check_leftovers(chaos, at)

    assert chaos.found == []


@pytest.mark.promise("R1, distributed")
def test_a_store_whose_files_come_after_their_rows_is_caught(
    chaos: Chaos, at: Machines, tmp_path: Path
) -> None:
    broken = chaos.toothless("commit_before_upload")

    with zygote(tmp_path, "commit_before_upload", distributed=True) as processes:
        site = distributed(at, processes, tmp_path)
        for _ in range(10):
            with_fault(broken, site)
            if broken.found:
                break

    assert broken.found
