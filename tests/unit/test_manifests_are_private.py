"""What manifests and errors tell of readings goes with the meter, from every place where it was."""

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from meterport.adapters.sql_database import Database
from meterport.bootstrap import erase
from meterport.domain.errors import ExportExpired, ExportFailed, ExportNotReady, ManifestGone
from meterport.domain.exports import ExportRequest
from meterport.domain.jobs import Job
from meterport.services.read_manifest import days_of, read_manifest
from meterport.services.sweep import sweep
from meterport.services.work_job import work_job
from tests import make
from tests.contracts.conftest import wait_until
from tests.unit import backups
from tests.unit.exports import now, workplace
from tests.unit.fleets import asked, work, work_once


def told(home: make.Home, job: Job) -> str:
    return "".join(read_manifest(now(home, job), home.services.jobs.manifests(job)))


def days(home: make.Home, job: Job) -> list[tuple[str, float]]:
    """Of which meter, and how much."""
    found = [day for each in home.services.jobs.manifests(job) for day in days_of(each)]
    return [(day.smart_meter_id, float(day.energy_kwh or 0)) for day in found]


def stored(data: Path) -> int:
    """How many manifests the database has, whether or not anybody may read them."""
    with closing(sqlite3.connect(data / "meterport.db")) as database:
        return int(database.execute("SELECT count(*) FROM job_manifests").fetchone()[0])


def test_a_finished_job_tells_of_its_days(loaded: make.Home) -> None:
    job = asked(loaded)
    work(loaded)

    assert days(loaded, job) == [("A", 1.1), ("B", 0.8), ("C", 1.9)]
    assert told(loaded, job).startswith('{\n "job_id": "' + job.id)


def test_an_erased_meter_is_told_of_nowhere(loaded: make.Home) -> None:
    alone, fleet, others = loaded.submit(make.request("B")), asked(loaded), asked(loaded, "A", "C")
    work(loaded)
    unfinished = asked(loaded)
    work_once(loaded)
    work_once(loaded)

    erase(loaded.services, "B")

    for job in (alone, fleet, unfinished):
        assert loaded.services.jobs.manifests(job) == []
    assert days(loaded, others) == [("A", 1.1), ("C", 1.9)]
    assert stored(loaded.settings.data) == 2
    for job in (alone, fleet):
        with pytest.raises(ExportExpired):
            told(loaded, job)
    with pytest.raises(ExportFailed):
        told(loaded, unfinished)


def test_what_was_told_of_an_erased_meter_is_in_no_file_of_the_home_any_more(
    loaded: make.Home,
) -> None:
    job = asked(loaded, "A", "B")
    work(loaded, part_rows=100)
    (manifest,) = loaded.services.jobs.manifests(job)
    secret = manifest.days[10:]  # behind the header that all have
    assert any(secret in path.read_bytes() for path in loaded.settings.data.glob("*.db*"))

    erase(loaded.services, "B")
    with closing(sqlite3.connect(loaded.settings.data / "meterport.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    assert not any(
        secret in path.read_bytes() for path in loaded.settings.data.rglob("*") if path.is_file()
    )


def test_a_reading_that_an_error_told_of_is_in_no_file_of_the_home_any_more(
    tmp_path: Path,
) -> None:
    home = make.home(tmp_path, make.readings(-0.2517, interval_s=1800))
    job = home.submit(ExportRequest("123", make.period(), "nem12"))
    home.work()
    failed = now(home, job).error
    assert failed is not None
    assert "energy_kwh is -0.2517" in failed.message

    erase(home.services, "123")

    with closing(sqlite3.connect(home.settings.data / "meterport.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert not any(
        b"-0.2517" in path.read_bytes() for path in home.settings.data.rglob("*") if path.is_file()
    )
    after = now(home, job).error
    assert after is not None
    assert after.code == "FORMAT_CANNOT_HOLD"


def test_a_database_that_is_opened_overwrites_what_it_removes(loaded: make.Home) -> None:
    with Database(loaded.settings.jobs_url).read() as connection:
        assert connection.exec_driver_sql("PRAGMA secure_delete").scalar_one() == 1


def test_an_expired_file_is_told_of_by_nobody_and_swept(loaded: make.Home) -> None:
    job = asked(loaded)
    work_job(workplace(loaded, part_rows=100, keep_files=timedelta(0)))
    wait_until(lambda: now(loaded, job).expired)

    with pytest.raises(ExportExpired):
        told(loaded, job)
    assert loaded.services.jobs.manifests(job) == []
    sweep(archive=loaded.services.archive, objects=loaded.services.objects)
    assert stored(loaded.settings.data) == 0


def test_nothing_is_told_of_a_file_that_is_not_finished(loaded: make.Home) -> None:
    job = asked(loaded)
    work_once(loaded)
    work_once(loaded)

    assert stored(loaded.settings.data) == 1
    with pytest.raises(ExportNotReady):
        told(loaded, job)


def test_a_file_of_an_older_release_says_that_it_has_no_manifest(loaded: make.Home) -> None:
    job = asked(loaded)
    work(loaded)
    with closing(sqlite3.connect(loaded.settings.data / "meterport.db")) as database, database:
        database.execute("DELETE FROM job_manifests")

    with pytest.raises(ManifestGone, match=job.id):
        told(loaded, job)


def test_a_restored_home_tells_of_the_files_that_it_has(loaded: make.Home, tmp_path: Path) -> None:
    job = asked(loaded)
    work(loaded)
    before = told(loaded, job)
    backups.backed_up(loaded, tmp_path / "backup")

    home = backups.restored(tmp_path / "backup", tmp_path / "restored")

    assert told(home, job) == before


def test_a_meter_erased_since_the_backup_is_told_of_nowhere_after_the_restore(
    loaded: make.Home, tmp_path: Path
) -> None:
    job, others = asked(loaded), asked(loaded, "A")
    work(loaded)
    waiting = asked(loaded)
    work_once(loaded)
    work_once(loaded)
    backups.backed_up(loaded, tmp_path / "backup")
    erase(loaded.services, "B")

    backups.put_back(loaded, tmp_path / "backup")

    home = backups.opened(loaded.settings)
    assert [home.services.jobs.manifests(one) for one in (job, waiting)] == [[], []]
    assert days(home, others) == [("A", 1.1)]
    assert stored(loaded.settings.data) == 1


def test_a_rerun_after_a_corrected_reading_tells_of_its_own_version(loaded: make.Home) -> None:
    first = asked(loaded, "A")
    work(loaded)
    loaded.load(make.readings(5.0, meter="A"))
    second = loaded.submit(ExportRequest.of_fleet(["A"], make.period()))

    work(loaded)

    assert days(loaded, first) == [("A", 1.1)]
    assert days(loaded, second) == [("A", 5.6)]
