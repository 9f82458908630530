"""R22: backups and restores killed at random, under load. What is there is one point, or refused.

Load: workers export and the writer corrects all readings, joins files and removes old versions
while a backup is taken. A backup has its name only when it is whole; restored, it has every
import and every job that were acknowledged before it began, and one version of the readings.
"""

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import update

import meterport.restore
from meterport.adapters.sql_database import Database, db_now
from meterport.adapters.sql_tables import leases
from meterport.bootstrap import connect
from meterport.cli_backup import backed_up, erased
from meterport.data_folder import MARKER
from meterport.domain.backups import DATABASE, LIST
from meterport.domain.errors import BackupRefused, MeterportError, StartRefused
from meterport.domain.jobs import JobId, JobStatus
from meterport.restore import restore
from meterport.services.back_up import LEASE, PIN
from meterport.settings import Settings
from tests import make
from tests.chaos.broken import restore_without_a_mark
from tests.chaos.harness import Chaos, Zygote, is_alive, killed_after, wait_until, zygote
from tests.chaos.load import Exports, Writer, submitted

pytestmark = pytest.mark.promise("R22")

ROWS = 2_000
KILLS, WORKERS = 15, 2
WARM = {"job_lease_s": 5, "job_retry_s": 0.01}
LONGEST_BACKUP_S = 0.5
LONGEST_RESTORE_S = 0.25


@dataclass(frozen=True)
class Acknowledged:
    """What had been acknowledged when a backup began."""

    correction: int
    accepted: set[str]
    completed: set[JobId]


class Backups:
    """Takes backups of a home under load, and restores what is there of them."""

    def __init__(self, chaos: Chaos, home: make.Home, processes: Zygote, folder: Path) -> None:
        self._chaos = chaos
        self._home = home
        self._processes = processes
        self._folder = folder
        self._writer = Writer(home, random.Random(chaos.random.random()), rows=ROWS)  # noqa: S311
        self._exports = Exports(home, wanted=10**6, rows=ROWS)

    @contextmanager
    def under_load(self) -> Iterator[None]:
        with self._writer.writing():
            for _ in range(WORKERS):
                self._processes.start("worker", self._home.settings.data, settings=WARM)
            wait_until(lambda: self._exports.all_ended() or len(self._exports.ended) > 2)
            yield
        self._chaos.found.extend(self._writer.accidents)

    def take(self, name: str, *, killed_after_s: float | None = None) -> Path:
        target = self._folder / name
        before = self._acknowledged()
        pid = self._processes.start("backup", self._home.settings.data, folder=str(target))
        with nullcontext() if killed_after_s is None else killed_after(pid, killed_after_s):
            wait_until(lambda: self._exports.all_ended() or not is_alive(pid))
        with self._writer.resting():
            self._look(target, before, was_killed=killed_after_s is not None)
        return target

    def _look(self, target: Path, before: Acknowledged, *, was_killed: bool) -> None:
        if target.exists():
            self._chaos.count(backups=1)
            self._check(target, before)
        else:
            self._chaos.count(backups_killed=1)
            let_its_leases_run_out(self._home)
            self._chaos.expect(was_killed, f"{target.name} was refused, under load")
            self._check_unfinished(target.with_name(f"{target.name}.unfinished"), before)

    def _acknowledged(self) -> Acknowledged:
        exports = self._exports
        completed = {job.id for job in exports.ended if job.status is JobStatus.COMPLETED}
        return Acknowledged(self._writer.acknowledged, exports.accepted, completed)

    def _check_unfinished(self, folder: Path, before: Acknowledged) -> None:
        """Refused; but one that lacked nothing but its name is a backup like others."""
        if (folder / LIST).exists():
            self._chaos.count(backups_nameless=1)
            try:
                self._check(folder, before)
            except BackupRefused:
                return
        elif folder.exists():
            with pytest.raises(BackupRefused, match="no finished backup"):
                restore(make.settings(self._folder / "nowhere"), folder, replace=False)

    def _check(self, backup: Path, before: Acknowledged) -> None:
        home = self._folder / "restored"
        settings = make.settings(home / "data")
        try:
            version = restore(settings, backup, replace=False).backup.readings_version
            self._check_point(make.Home(settings, connect(settings)), version, before)
        except BackupRefused as error:
            self._chaos.found.append(f"{backup.name} is there and cannot be restored: {error}")
        finally:
            shutil.rmtree(home, ignore_errors=True)

    def _check_point(self, home: make.Home, version: int, before: Acknowledged) -> None:
        expect = self._chaos.expect
        expect(version >= before.correction, f"version {before.correction} was acknowledged")
        one = {float(self._writer.value_at(version))}
        expect(values(home) == one, f"the readings are not version {version}")
        jobs = {job.id: job for job in home.services.archive.recent(10_000)}
        expect(before.accepted <= jobs.keys(), "a job that was accepted is missing")
        done = {job.id for job in jobs.values() if job.status is JobStatus.COMPLETED}
        expect(before.completed <= done, "a job that was completed is not")
        home.work()
        for job_id in jobs:
            self._check_job(home, job_id, version)
        self._chaos.count(jobs_restored=len(jobs), jobs_run_afterwards=len(jobs) - len(done))

    def _check_job(self, home: make.Home, job_id: str, version: int) -> None:
        job = home.services.jobs.get(job_id)
        assert job is not None
        if job.file is None or job.source_version is None:
            self._chaos.found.append(f"{job_id} ended as {job.status}: {job.error}")
            return
        with home.services.objects.open(job.file.key) as opened:
            right = opened.read() == self._writer.csv_at(job.source_version)
        self._chaos.expect(right, f"{job_id} has not the bytes of version {job.source_version}")
        older = job.source_version <= version
        self._chaos.expect(older, f"{job_id} was read from readings that are not in the backup")


def let_its_leases_run_out(home: make.Home) -> None:
    """The next backup need not wait for that, in a test."""
    its = leases.c.name.in_([LEASE, PIN])
    with Database(home.settings.jobs_url).write() as connection:
        connection.execute(update(leases).where(its).values(lease_until=db_now()))


def values(home: make.Home) -> set[float]:
    frames = home.services.source.scan(
        ["123"], make.period(minutes=ROWS), columns=["energy_kwh"], version=None
    )
    return {value for frame in frames for value in frame["energy_kwh"].unique()}


def kill_backups(chaos: Chaos, folder: Path, variant: str = "") -> None:
    home = make.home(folder)
    with zygote(folder, variant) as processes:
        backups = Backups(chaos, home, processes, folder)
        with backups.under_load():
            for n in range(KILLS):
                until = chaos.random.uniform(0.01, LONGEST_BACKUP_S)
                shutil.rmtree(backups.take(f"killed-{n}", killed_after_s=until), ignore_errors=True)
                if chaos.found:
                    return
            backups.take("whole")


class Restores:
    """Puts one of two backups in a home's place, again and again; each has a value and a job."""

    def __init__(self, chaos: Chaos, folder: Path) -> None:
        self._chaos = chaos
        self._settings = make.settings(folder / "home" / "data")
        self._backups = {value: _backup(folder / f"from-{value}", value) for value in (1.0, 2.0)}
        self._now = 1.0
        restore(self._settings, self._backups[self._now], replace=False)

    def killed(self, processes: Zygote, after_s: float) -> None:
        """Start a restore and kill it; until one of them could end, nothing starts here."""
        wanted = self._chaos.random.choice(list(self._backups))
        folder = str(self._backups[wanted])
        pid = processes.start("restore", self._settings.data, folder=folder)
        with killed_after(pid, after_s):
            pass
        self._chaos.count(restores_killed=1)
        self.check(wanted)

    def at_each_step(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Cut a restore off before each of its renames, then one that is not cut off."""
        steps = 0
        while is_cut_off(self._settings, self._backups[3 - self._now], steps, monkeypatch):
            self.check(3 - self._now)
            steps += 1
        self._chaos.count(restores_cut_off=steps)

    def check(self, wanted: float) -> None:
        """The home is what it was or what is wanted, or says that it must be restored again."""
        if (self._settings.data / MARKER).exists():
            self._chaos.count(restores_repeated=1)
            with pytest.raises(StartRefused):
                connect(self._settings)
            restore(self._settings, self._backups[wanted], replace=True)
            self._now = wanted
        found = self._found()
        self._chaos.expect(found in (self._now, wanted), f"the home is a mixture: {found}")
        self._now = found if isinstance(found, float) else self._now
        for aside in self._settings.data.glob("*.replaced-*"):
            shutil.rmtree(aside) if aside.is_dir() else aside.unlink()

    def _found(self) -> float | str:
        """The value in the readings and in every export; else what does not agree."""
        try:
            home = make.Home(self._settings, connect(self._settings))
            found = values(home)
            for _, file in home.services.archive.kept_files():
                with home.services.objects.open(file.key) as opened:
                    found |= {float(line.split(b",")[2]) for line in opened.readlines()[1:]}
            jobs = len(home.services.archive.recent(10))
        except (MeterportError, OSError) as error:
            return repr(error)
        return found.pop() if len(found) == 1 and jobs == 1 else f"{found}, {jobs} jobs"


class CutOff(BaseException):
    """As if the process had been killed there: nobody catches it."""


def is_cut_off(
    settings: Settings, backup: Path, steps: int, monkeypatch: pytest.MonkeyPatch
) -> bool:
    """Restore for as many renames; False if that was enough."""
    left = iter(range(steps))
    rename = Path.rename

    def counted(path: Path, to: Path) -> Path:
        if next(left, None) is None:
            raise CutOff
        return rename(path, to)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", counted)
        try:
            restore(settings, backup, replace=True)
        except CutOff:
            return True
    return False


def _backup(folder: Path, value: float) -> Path:
    home = make.home(folder, make.readings(*[value] * 60))
    submitted(home, minutes=60)
    home.work()
    backed_up(home.settings, folder / "backup", as_json=False)
    return folder / "backup"


def test_a_backup_is_one_point_or_is_not_there(chaos: Chaos, tmp_path: Path) -> None:
    for n in range(chaos.size(1, full=25)):
        # A home of its own, since each backup has all the files of those before.
        kill_backups(chaos, tmp_path / str(n))
        shutil.rmtree(tmp_path / str(n))

    assert chaos.found == []


@pytest.mark.parametrize("variant", ["backup_named_first", "backup_of_the_readings_first"])
def test_a_backup_without_that_promise_is_caught(
    chaos: Chaos, tmp_path: Path, variant: str
) -> None:
    broken = chaos.toothless(variant)

    kill_backups(broken, tmp_path, variant)

    assert broken.found


def test_a_restore_that_was_killed_is_repeated(chaos: Chaos, tmp_path: Path) -> None:
    restores = Restores(chaos, tmp_path)

    with zygote(tmp_path) as processes:
        for _ in range(chaos.size(20, full=600)):
            restores.killed(processes, chaos.random.uniform(0.01, LONGEST_RESTORE_S))

    assert chaos.found == []


def test_a_restore_that_was_cut_off_at_any_step_is_repeated(
    chaos: Chaos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restores = Restores(chaos, tmp_path)

    restores.at_each_step(monkeypatch)

    assert chaos.found == []
    assert chaos.counts["restores_cut_off"] >= 5


def test_a_restore_that_leaves_no_mark_is_caught(
    chaos: Chaos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = chaos.toothless("restore_without_a_mark")
    restores = Restores(broken, tmp_path)
    monkeypatch.setattr(meterport.restore, "_exchange", meterport.restore._exchange)  # to undo it
    restore_without_a_mark()

    restores.at_each_step(monkeypatch)

    assert any("mixture" in accident for accident in broken.found)


def test_a_meter_stays_erased_where_a_restore_was_cut_off_and_another_refused(
    chaos: Chaos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = make.home(tmp_path / "home", make.readings(1.0), make.readings(1.0, meter="gone"))
    good, bad = tmp_path / "good", tmp_path / "bad"
    for folder in (good, bad):
        backed_up(home.settings, folder, as_json=False)
    (bad / DATABASE).write_bytes(b"damaged")
    erased(home.settings, "gone")

    for steps in range(8):
        again = make.copy_of(home.settings.data, tmp_path / str(steps))
        is_cut_off(again.settings, good, steps, monkeypatch)
        with pytest.raises(BackupRefused):
            restore(again.settings, bad, replace=True)
        restore(again.settings, good, replace=True)
        there = {meter.smart_meter_id for meter in connect(again.settings).catalog.all()}
        chaos.expect(there == {"123"}, f"cut off before rename {steps}: {there}")

    assert chaos.found == []
