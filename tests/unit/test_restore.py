"""A backup is put in a home's place: checked before, or refused with the home as it was."""

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from meterport.adapters.sql_database import Database
from meterport.adapters.sql_tables import jobs
from meterport.bootstrap import archive_in, connect, prepare
from meterport.domain.errors import BackupRefused, StartRefused
from meterport.restore import restore
from meterport.sources.delta import DeltaSource
from meterport.sources.table_folder import TableFolder
from tests import make
from tests.answers import assert_refused
from tests.unit.backups import (
    CSV,
    asked,
    backed_up,
    begun,
    content,
    energy_kwh,
    erased,
    file_in,
    flip,
    meters,
    opened,
    put_back,
    restored,
    used,
    versions,
)
from tests.unit.exports import now, submitted


@pytest.fixture
def backup(home: make.Home, tmp_path: Path) -> Path:
    """A backup of a used home."""
    used(home)
    backed_up(home, tmp_path / "backup")
    return tmp_path / "backup"


def test_a_folder_without_a_list_is_no_finished_backup(
    backup: Path, home: make.Home, tmp_path: Path
) -> None:
    (backup / "backup.json").unlink()
    before = content(home.settings.data)

    with pytest.raises(BackupRefused, match=r"is no finished backup: it has no backup\.json$"):
        put_back(home, backup)
    with pytest.raises(BackupRefused, match="is no finished backup"):
        put_back(home, tmp_path / "nowhere")

    assert content(home.settings.data) == before


def relaid(folder: Path, **changes: Any) -> None:
    path = folder / "backup.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_another_layout_is_refused(backup: Path, tmp_path: Path) -> None:
    relaid(backup, layout=2)

    with pytest.raises(BackupRefused, match="another meterport's backup; restore it with that"):
        restored(backup, tmp_path / "new" / "data")

    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"layout": 1}', '{"layout": 1, "files": 3}', "\x00"]
)
def test_a_list_that_cannot_be_read_is_refused(text: str, backup: Path, tmp_path: Path) -> None:
    (backup / "backup.json").write_text(text)

    with pytest.raises(BackupRefused, match=r"cannot be read; take another backup$"):
        restored(backup, tmp_path / "new" / "data")


@pytest.mark.parametrize("damage", [flip, Path.unlink])
@pytest.mark.parametrize(
    "pattern", ["meterport.db", "readings/month=*/*", "readings/_delta_log/*.json", "exports/*/1"]
)
def test_a_backup_with_a_changed_file_changes_nothing_of_the_home(
    pattern: str, damage: Callable[[Path], None], backup: Path, home: make.Home
) -> None:
    path = sorted(backup.glob(pattern))[0]
    damage(path)
    before = content(home.settings.data)

    with pytest.raises(BackupRefused) as refused:
        put_back(home, backup)

    assert refused.value.message == (
        f"{path} is not what was backed up; nothing was restored, use another backup"
    )
    assert content(home.settings.data) == before


@pytest.mark.parametrize("occupied", ["meterport.db", "readings/mine.parquet", "exports/mine/1"])
def test_an_occupied_home_is_refused_unless_it_may_be_replaced(
    occupied: str, backup: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "new" / "data" / occupied
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    there = mine.parents[len(Path(occupied).parts) - 1] / Path(occupied).parts[0]

    with pytest.raises(BackupRefused) as refused:
        restored(backup, tmp_path / "new" / "data")

    assert refused.value.message == (
        f"{there} is there already; choose another --data, or say --replace, which keeps it "
        "under another name"
    )
    assert mine.read_text() == "mine"


def test_a_home_with_a_running_service_is_refused(backup: Path, home: make.Home) -> None:
    before = content(home.settings.readings)

    with (home.settings.data / "home.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)  # as every process of a home does
        with pytest.raises(StartRefused, match=r"another process of meterport works on .*; stop"):
            put_back(home, backup)

    assert content(home.settings.readings) == before
    assert put_back(home, backup).erased == []


def test_a_home_whose_jobs_are_elsewhere_is_refused(backup: Path, tmp_path: Path) -> None:
    with pytest.raises(BackupRefused, match="only a home on SQLite can be restored"):
        restored(backup, tmp_path / "new", database_url="postgresql+psycopg://user@host/jobs")

    assert not (tmp_path / "new").exists()


def test_what_was_replaced_is_kept_aside(backup: Path, home: make.Home) -> None:
    home.load(make.readings(9.0))
    later = submitted(home)

    done = put_back(home, backup)

    database, readings, exports = done.replaced
    with archive_in(database) as archive:
        assert [job.id for job in archive.recent(1)] == [later.id]
    source = DeltaSource(TableFolder(readings))
    (frame,) = source.scan(["123"], make.period(), columns=["energy_kwh"])
    assert frame["energy_kwh"].to_list() == [9.0]
    assert len(list(exports.glob("*/*"))) == 2
    again = opened(home.settings)
    assert energy_kwh(again) == [0.75]
    assert again.services.jobs.get(later.id) is None


def test_a_home_can_be_replaced_twice(backup: Path, home: make.Home) -> None:
    first, second = put_back(home, backup), put_back(home, backup)

    assert len({*first.replaced, *second.replaced}) == 6
    assert all(path.exists() for path in (*first.replaced, *second.replaced))
    assert energy_kwh(opened(home.settings)) == [0.75]


def test_a_restore_leaves_nothing_staged_and_the_backup_as_it_was(
    backup: Path, tmp_path: Path
) -> None:
    before = content(backup)

    again = restored(backup, tmp_path / "new" / "data")

    assert {path.name for path in again.settings.data.iterdir()} <= {
        "meterport.db",
        "meterport.db-journal",
        "readings",
        "exports",
        "home.lock",
    }
    assert content(backup) == before


def test_a_meter_that_came_back_before_the_backup_stays(home: make.Home, tmp_path: Path) -> None:
    erased(home)
    home.load(make.readings(0.25))
    backed_up(home, tmp_path / "later")

    done = put_back(home, tmp_path / "later")

    assert done.erased == []
    assert energy_kwh(opened(home.settings)) == [0.25]


def test_erasures_that_nobody_can_read_any_more_are_asked_for(
    backup: Path, home: make.Home
) -> None:
    database = home.settings.data / "meterport.db"
    database.write_bytes(b"damaged" * 1000)

    with pytest.raises(BackupRefused, match="pass --erasures FILE"):
        put_back(home, backup)

    assert database.read_bytes() == b"damaged" * 1000
    done = restore(home.settings, backup, replace=True, erasures=["123"])
    assert done.erased == ["123"]
    assert meters(opened(home.settings)) == ["other"]


def test_each_part_goes_where_the_settings_say(backup: Path, tmp_path: Path) -> None:
    elsewhere = {
        "database_url": f"sqlite:///{tmp_path}/one/jobs.db",
        "readings_url": str(tmp_path / "two" / "r"),
        "files_url": str(tmp_path / "three" / "f"),
    }
    for folder in ("one", "two", "three"):
        (tmp_path / folder).mkdir()

    again = restored(backup, tmp_path / "new" / "data", **elsewhere)

    assert (tmp_path / "one" / "jobs.db").is_file()
    assert energy_kwh(again) == [0.75]
    assert len(list((tmp_path / "three" / "f").glob("*/*"))) == 2


def test_a_job_at_work_during_the_backup_runs_after_the_restore_without_a_crash(
    home: make.Home, tmp_path: Path
) -> None:
    home.load(make.readings(0.5))
    job = begun(home, version=1)
    with Database(home.settings.jobs_url).write() as connection:
        connection.execute(update(jobs).values(crashes=2))
    backed_up(home, tmp_path / "backup")

    again = restored(tmp_path / "backup", tmp_path / "new" / "data")
    again.work()

    done = now(again, job)
    assert done.file is not None
    assert (done.crashes, done.attempt) == (2, 2)
    with asked(again) as client:
        assert client.get(f"/api/export/download/{job.id}").content == CSV


def test_a_job_that_was_to_read_an_earlier_version_reads_the_restored_one(
    home: make.Home, tmp_path: Path
) -> None:
    home.load(make.readings(0.5))
    job = begun(home, version=1)
    home.load(make.readings(0.75))
    backed_up(home, tmp_path / "backup")

    again = restored(tmp_path / "backup", tmp_path / "new" / "data")
    again.work()

    assert now(again, job).source_version == 2
    with asked(again) as client:
        answer = client.get(f"/api/export/download/{job.id}")
    assert b",123,0.75," in answer.content


def test_a_meter_that_was_erased_since_the_backup_is_erased_again(
    backup: Path, home: make.Home
) -> None:
    (export,) = (j for j in home.services.archive.recent(9) if j.request.smart_meter_id == "123")
    erased(home)

    done = put_back(home, backup)

    again = opened(home.settings)
    assert done.erased == ["123"]
    assert (meters(again), energy_kwh(again)) == (["other"], [])
    assert versions(again) == [3]
    assert list(again.services.erasures.all()) == ["123"]
    with asked(again) as client:
        assert_refused(client.get(f"/api/export/download/{export.id}"), 410, "EXPORT_EXPIRED")
    assert not (again.settings.files / export.id).exists()


def test_a_new_home_forgets_the_meters_that_it_is_told(backup: Path, tmp_path: Path) -> None:
    settings = make.settings(tmp_path / "new" / "data")

    done = restore(settings, backup, replace=False, erasures=["other", "unknown"])

    again = opened(settings)
    assert done.erased == ["other", "unknown"]
    assert (meters(again), energy_kwh(again), energy_kwh(again, "other")) == (["123"], [0.75], [])


class Killed(BaseException):
    """Nothing in the product catches it, as nothing catches a kill."""


@contextmanager
def killed_at_rename(number: int) -> Iterator[None]:
    """The restore ends just before that exchange of a name, without a chance to clear up."""
    rename = Path.rename
    left = [number]

    def counted(path: Path, target: Path) -> Path:
        if not left[0]:
            raise Killed
        left[0] -= 1
        return rename(path, target)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Path, "rename", counted)
        yield


@pytest.mark.parametrize("number", range(6))
def test_a_restore_that_was_cut_off_starts_nothing_and_is_mended_by_the_next(
    number: int, backup: Path, home: make.Home
) -> None:
    erased(home, "other")
    with killed_at_rename(number), pytest.raises(Killed):
        put_back(home, backup)

    for start in (connect, prepare):
        with pytest.raises(StartRefused, match=r"a restore into .* was cut off; run `meterport"):
            start(home.settings)
    done = put_back(home, backup)

    again = opened(home.settings)
    assert done.erased == ["other"]
    assert (meters(again), energy_kwh(again), energy_kwh(again, "other")) == (["123"], [0.75], [])
    assert list(home.settings.data.glob("*.restoring")) == []
    assert list(home.settings.data.glob("restore-under-way")) == []


def test_a_restore_that_fails_before_the_exchange_leaves_the_home_as_it_was(
    backup: Path, home: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("meterport.restore.durable.copy", full)
        with pytest.raises(BackupRefused, match="could not be written: No space left on device"):
            put_back(home, backup)

    assert energy_kwh(opened(home.settings)) == [0.75]
    assert put_back(home, backup).backup.readings_version == 2
    assert file_in(home.settings.data, "meterport.db").is_file()
