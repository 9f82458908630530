"""R14: a worker that sleeps past its lease. What it does when it wakes changes nothing."""

import signal
from functools import cache
from pathlib import Path

import pytest

from meterport.domain.jobs import Job
from meterport.services.sweep import sweep
from tests import make
from tests.chaos.harness import Chaos, Zygote, gone, is_alive, is_stopped, kill, wait_until, zygote
from tests.e2e.service import csv_of, database_is_free

pytestmark = pytest.mark.promise("R14")

ROWS = 20_000
SETTINGS = {"job_lease_s": 0.5, "job_crashes": 1000}


@cache
def expected() -> bytes:
    return csv_of("123", first=0, rows=ROWS)


def make_zombies(chaos: Chaos, home: make.Home, processes: Zygote, *, zombies: int) -> None:
    data = home.settings.data
    made = 0
    for _ in range(5 * zombies):
        job_id = _submit(home)
        sleeper = processes.start("job", data, settings=SETTINGS)
        if not _put_to_sleep_at_work(chaos, home, job_id, sleeper):
            continue
        made += 1
        chaos.count(zombies=1)
        rescuer = _finish_elsewhere(home, processes, job_id)
        finished, content = _job(home, job_id), _content(home, job_id)
        kill(sleeper, signal.SIGCONT)
        gone(sleeper)
        _check(chaos, home, finished, content)
        gone(rescuer)
        if made == zombies:
            break


def _submit(home: make.Home) -> str:
    return home.submit(make.request(minutes=ROWS)).id


def _put_to_sleep_at_work(chaos: Chaos, home: make.Home, job_id: str, pid: int) -> bool:
    """False if it had finished, or holds the database's lock in its sleep."""
    wait_until(lambda: _job(home, job_id).attempt == 1, every_s=0.001)
    steps = chaos.random.randrange(0, 40)
    seen = iter(range(steps))
    # So many looks later: chance without a clock of our own.
    wait_until(lambda: next(seen, None) is None, every_s=0.001)
    kill(pid, signal.SIGSTOP)
    wait_until(lambda: is_stopped(pid) or not is_alive(pid), every_s=0.001)
    # In this order: whoever asks a database that is locked would wait for the sleeper.
    holds_no_lock = is_stopped(pid) and database_is_free(home.settings.data)
    if holds_no_lock and _job(home, job_id).status == "pending":
        return True
    kill(pid, signal.SIGCONT)
    gone(pid)
    _finish_rest(home, job_id)
    return False


def _finish_rest(home: make.Home, job_id: str) -> None:
    wait_until(lambda: _job(home, job_id).status != "pending", every_s=0.01)


def _finish_elsewhere(home: make.Home, processes: Zygote, job_id: str) -> int:
    rescuer = 0

    def rescued() -> bool:
        nonlocal rescuer
        if _job(home, job_id).attempt == 1 and not is_alive(rescuer):
            rescuer = processes.start("job", home.settings.data, settings=SETTINGS)
        return _job(home, job_id).status == "completed"

    wait_until(rescued, every_s=0.02)
    return rescuer


def _check(chaos: Chaos, home: make.Home, finished: Job, content: bytes) -> None:
    job = _job(home, finished.id)
    overwritten = job != finished or _content(home, finished.id) != content
    chaos.expect(not overwritten, f"{job.id} was changed by the attempt that woke up")
    chaos.expect(content == expected(), f"{job.id} has other bytes than the readings")
    sweep(archive=home.services.archive, objects=home.services.objects)
    keys = [key for key in home.services.objects.keys() if key.startswith(job.id)]  # noqa: SIM118
    left = keys != [f"{job.id}/{job.attempt}"]
    chaos.expect(not left, f"{job.id}: {keys} lie there")
    chaos.count(overwritten=int(overwritten), left_over=int(left))


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
        make_zombies(chaos, home, processes, zombies=chaos.size(6, full=120))

    assert chaos.found == []


def test_a_product_without_the_attempts_check_is_caught(
    chaos: Chaos, home: make.Home, tmp_path: Path
) -> None:
    broken = chaos.toothless("no_attempt_check")

    with zygote(tmp_path, "no_attempt_check") as processes:
        for _ in range(10):
            make_zombies(broken, home, processes, zombies=2)
            if broken.found:
                break

    assert broken.found
