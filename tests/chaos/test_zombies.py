"""R14: a worker that sleeps past its lease. What it does when it wakes changes nothing."""

import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from meterport.adapters.sql_database import Database
from meterport.adapters.sql_tables import jobs
from meterport.domain.jobs import Job
from meterport.services.sweep import sweep
from tests import make, servers
from tests.brokers import Store
from tests.chaos.harness import Chaos, Zygote, gone, is_alive, is_stopped, kill, wait_until, zygote
from tests.chaos.machines import check_leftovers
from tests.e2e.machines import Machines, machines
from tests.e2e.service import csv_of, database_is_free

pytestmark = pytest.mark.promise("R14")

ROWS = 20_000
SETTINGS = {"job_lease_s": 0.5, "job_crashes": 1000}


@cache
def expected() -> bytes:
    return csv_of("123", first=0, rows=ROWS)


@dataclass(frozen=True)
class Site:
    """Where workers sleep. `is_free`: the job of that id is not locked by one that sleeps."""

    home: make.Home
    processes: Zygote
    settings: Mapping[str, Any]
    is_free: Callable[[str], bool]

    def start(self) -> int:
        data = self.home.settings.data
        return self.processes.start("job", data, settings=SETTINGS | dict(self.settings))


def one_machine(home: make.Home, processes: Zygote) -> Site:
    return Site(home, processes, {}, lambda job_id: database_is_free(home.settings.data))


def distributed(at: Machines, processes: Zygote) -> Site:
    database = Database(at.home.settings.jobs_url)
    at.stack.callback(database.engine.dispose)

    def is_free(job_id: str) -> bool:
        this = select(jobs.c.id).where(jobs.c.id == job_id)
        with database.write() as connection:
            return connection.execute(this.with_for_update(skip_locked=True)).first() is not None

    return Site(at.home, processes, at.given, is_free)


def make_zombies(chaos: Chaos, site: Site, *, zombies: int) -> None:
    home = site.home
    made = 0
    for _ in range(5 * zombies):
        job_id = _submit(home)
        sleeper = site.start()
        if not _put_to_sleep_at_work(chaos, site, job_id, sleeper):
            continue
        made += 1
        chaos.count(zombies=1)
        rescuer = _finish_elsewhere(site, job_id)
        finished, content = _job(home, job_id), _content(home, job_id)
        kill(sleeper, signal.SIGCONT)
        gone(sleeper)
        _check(chaos, home, finished, content)
        gone(rescuer)
        if made == zombies:
            break


def _submit(home: make.Home) -> str:
    return home.submit(make.request(minutes=ROWS)).id


def _put_to_sleep_at_work(chaos: Chaos, site: Site, job_id: str, pid: int) -> bool:
    """False if it had finished, or holds the database's lock in its sleep."""
    home = site.home
    wait_until(lambda: _job(home, job_id).attempt == 1, every_s=0.001)
    steps = chaos.random.randrange(0, 40)
    seen = iter(range(steps))
    # So many looks later: chance without a clock of our own.
    wait_until(lambda: next(seen, None) is None, every_s=0.001)
    kill(pid, signal.SIGSTOP)
    wait_until(lambda: is_stopped(pid) or not is_alive(pid), every_s=0.001)
    # In this order: whoever asks a database that is locked would wait for the sleeper.
    holds_no_lock = is_stopped(pid) and site.is_free(job_id)
    if holds_no_lock and _job(home, job_id).status == "pending":
        return True
    kill(pid, signal.SIGCONT)
    gone(pid)
    _finish_rest(home, job_id)
    return False


def _finish_rest(home: make.Home, job_id: str) -> None:
    wait_until(lambda: _job(home, job_id).status != "pending", every_s=0.01)


def _finish_elsewhere(site: Site, job_id: str) -> int:
    home, rescuer = site.home, 0

    def rescued() -> bool:
        nonlocal rescuer
        if _job(home, job_id).attempt == 1 and not is_alive(rescuer):
            rescuer = site.start()
        return _job(home, job_id).status == "completed"

    wait_until(rescued, every_s=0.02)
    return rescuer


def _check(chaos: Chaos, home: make.Home, finished: Job, content: bytes) -> None:
    job = _job(home, finished.id)
    overwritten = job != finished or _content(home, finished.id) != content
    chaos.expect(not overwritten, f"{job.id} was changed by the attempt that woke up")
    chaos.expect(content == expected(), f"{job.id} has other bytes than the readings")
    left_to_the_sweep = _keys(home, job.id) != [job.key]
    chaos.expect(not left_to_the_sweep, f"{job.id}: the attempt that woke up left something")
    sweep(archive=home.services.archive, objects=home.services.objects)
    left = _keys(home, job.id) != [job.key]
    chaos.expect(not left, f"{job.id}: something is left over, or gone")
    chaos.count(overwritten=int(overwritten), left_over=int(left))


def _keys(home: make.Home, job_id: str) -> list[str]:
    return [key for key in home.services.objects.keys() if key.startswith(job_id)]  # noqa: SIM118


def _job(home: make.Home, job_id: str) -> Job:
    job = home.services.jobs.get(job_id)
    assert job is not None
    return job


def _content(home: make.Home, job_id: str) -> bytes:
    file = _job(home, job_id).file
    if file is None or home.services.objects.stat(file.key) is None:
        return b""
    with home.services.objects.open(file.key) as opened:
        return opened.read()


@pytest.fixture
def home(tmp_path: Path) -> make.Home:
    return make.home(tmp_path, make.many_readings(ROWS))


def test_a_worker_that_wakes_up_late_changes_nothing(
    chaos: Chaos, home: make.Home, tmp_path: Path
) -> None:
    with zygote(tmp_path) as processes:
        make_zombies(chaos, one_machine(home, processes), zombies=chaos.size(6, full=120))

    assert chaos.found == []


def test_a_product_without_the_attempts_check_is_caught(
    chaos: Chaos, home: make.Home, tmp_path: Path
) -> None:
    broken = chaos.toothless("no_attempt_check")

    with zygote(tmp_path, "no_attempt_check") as processes:
        for _ in range(10):
            make_zombies(broken, one_machine(home, processes), zombies=2)
            if broken.found:
                break

    assert broken.found


@pytest.fixture
def at(tmp_path: Path, postgres_url: str, s3: Store) -> Iterator[Machines]:
    readings = make.many_readings(ROWS)
    with servers.database(postgres_url) as url, machines(tmp_path, s3, url, readings) as made:
        yield made


@pytest.mark.promise("R14, distributed")
def test_one_that_wakes_up_late_leaves_nothing_in_the_store(
    chaos: Chaos, at: Machines, tmp_path: Path
) -> None:
    with zygote(tmp_path, distributed=True) as processes:
        make_zombies(chaos, distributed(at, processes), zombies=chaos.size(5, full=100))
    check_leftovers(chaos, at)

    assert chaos.found == []


@pytest.mark.promise("R14, distributed")
def test_a_product_without_that_check_is_caught_on_postgresql_too(
    chaos: Chaos, at: Machines, tmp_path: Path
) -> None:
    broken = chaos.toothless("no_attempt_check")

    with zygote(tmp_path, "no_attempt_check", distributed=True) as processes:
        for _ in range(10):
            make_zombies(broken, distributed(at, processes), zombies=2)
            if broken.found:
                break

    assert broken.found
