"""A home is backed up while it serves: whole, of one moment, or not at all."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from meterport.bootstrap import archive_in
from meterport.domain.errors import BackupRefused, SourceUnavailable
from meterport.ports import DatabaseCopier
from meterport.services.keep_readings import keep_readings
from meterport.sources.delta_upkeep import DeltaUpkeep
from meterport.sources.table_folder import TableFolder
from tests import make
from tests.answers import assert_refused
from tests.unit.backups import (
    CSV,
    asked,
    backed_up,
    content,
    energy_kwh,
    file_in,
    flip,
    meters,
    opened,
    restored,
    used,
    versions,
)
from tests.unit.exports import now, submitted


def test_a_restored_home_has_jobs_meters_readings_and_files(
    home: make.Home, tmp_path: Path
) -> None:
    before = used(home)

    backup = backed_up(home, tmp_path / "backup")
    again = restored(tmp_path / "backup", tmp_path / "new" / "data")

    assert backup.damaged == []
    assert again.services.archive.recent(9) == home.services.archive.recent(9)
    assert again.services.catalog.all() == home.services.catalog.all()
    assert again.services.catalog.version() == again.services.source.version() == 2
    assert (energy_kwh(again), energy_kwh(again, "other")) == ([0.75], [0.7, 0.8])
    with asked(again) as client:
        answer = client.get(f"/api/export/download/{before.export.id}")
    assert (answer.status_code, answer.content) == (200, CSV)


def test_a_restored_home_has_the_newest_version_only_and_goes_on_from_it(
    home: make.Home, tmp_path: Path
) -> None:
    used(home)
    backed_up(home, tmp_path / "backup")

    again = restored(tmp_path / "backup", tmp_path / "new" / "data")
    again.load(make.readings(0.9))
    job = submitted(again)
    again.work()

    assert versions(again) == [2, 3]
    assert energy_kwh(again) == [0.9]
    assert now(again, job).file is not None


def test_a_backup_lists_every_file_with_its_digest(home: make.Home, tmp_path: Path) -> None:
    used(home)

    backup = backed_up(home, tmp_path / "backup")

    files = content(tmp_path / "backup")
    listed = json.loads(files.pop("backup.json"))
    assert {file.path: (file.size_bytes, file.sha256) for file in backup.files} == {
        path: (len(data), hashlib.sha256(data).hexdigest()) for path, data in files.items()
    }
    assert (listed["layout"], listed["readings_version"], listed["damaged"]) == (1, 2, [])
    assert len(listed["files"]) == len(files)
    assert {path.partition("/")[0] for path in files} == {"meterport.db", "readings", "exports"}


def test_a_backup_changes_nothing_of_the_home(home: make.Home, tmp_path: Path) -> None:
    used(home)
    jobs, files = home.services.archive.recent(9), content(home.settings.readings)

    backed_up(home, tmp_path / "backup")

    assert home.services.archive.recent(9) == jobs
    assert content(home.settings.readings) == files
    assert home.services.archive.oldest_version_in_use() is None


def test_an_empty_home_can_be_backed_up(home: make.Home, tmp_path: Path) -> None:
    backed_up(home, tmp_path / "backup")

    again = restored(tmp_path / "backup", tmp_path / "new" / "data")

    assert (meters(again), again.services.archive.recent(9)) == ([], [])
    again.load(make.readings(0.5))
    assert energy_kwh(again) == [0.5]


@pytest.mark.parametrize("there", ["folder", "file"])
def test_a_target_that_is_there_is_refused_and_left_alone(
    there: str, home: make.Home, tmp_path: Path
) -> None:
    target = tmp_path / "backup"
    (target / "mine").mkdir(parents=True) if there == "folder" else target.write_text("mine")

    with pytest.raises(BackupRefused, match=r"exists already; name a folder that does not$"):
        backed_up(home, target)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup", "data"]
    assert (target / "mine").is_dir() if there == "folder" else target.read_text() == "mine"


def test_a_target_that_cannot_be_made_is_refused(home: make.Home, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")

    with pytest.raises(BackupRefused, match=r"could not be written: File exists; nothing of"):
        backed_up(home, tmp_path / "file" / "backup")


def test_what_an_earlier_backup_left_unfinished_is_cleared(home: make.Home, tmp_path: Path) -> None:
    leftover = tmp_path / "backup.unfinished" / "readings"
    leftover.mkdir(parents=True)
    (leftover / "old").write_bytes(b"half a fi")

    backed_up(home, tmp_path / "backup")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup", "data"]
    assert not (tmp_path / "backup" / "readings" / "old").exists()


def test_damaged_readings_are_named_and_the_rest_is_backed_up(
    home: make.Home, tmp_path: Path
) -> None:
    used(home)
    home.load(make.readings(5.0, meter="march", start=make.JANUARY.replace(month=3)))
    path = file_in(home.settings.readings, "month=2024-03/*")
    flip(path)

    backup = backed_up(home, tmp_path / "backup")

    assert backup.damaged == [f"readings/month=2024-03/{path.name}"]
    again = restored(tmp_path / "backup", tmp_path / "new" / "data")
    assert energy_kwh(again) == [0.75]
    assert [file.state for file in again.services.upkeep.scrub()] == ["changed"]


@pytest.mark.parametrize("damage", [flip, Path.unlink])
def test_a_damaged_export_is_named_and_not_served_after_a_restore(
    damage: Callable[[Path], None], home: make.Home, tmp_path: Path
) -> None:
    before = used(home)
    damage(home.settings.files / before.export.id / "1")

    backup = backed_up(home, tmp_path / "backup")

    assert backup.damaged == [f"exports/{before.export.id}/1"]
    again = restored(tmp_path / "backup", tmp_path / "new" / "data")
    with asked(again) as client:
        damaged = client.get(f"/api/export/download/{before.export.id}")
        other = client.get(f"/api/export/download/{before.others_export.id}")
    assert_refused(damaged, 409, "EXPORT_DAMAGED")
    assert other.status_code == 200


class Meanwhile(DeltaUpkeep):
    """Something else happens before the readings are copied, and tells what it saw."""

    def __init__(self, folder: Path, act: Callable[[], object]) -> None:
        super().__init__(TableFolder(folder))
        self._act = act
        self.seen: list[object] = []

    def copy(self, target: Path, version: int) -> list[str]:
        self.seen.append(self._act())
        return super().copy(target, version)


def test_the_version_that_is_copied_is_in_use_until_it_is_copied(
    home: make.Home, tmp_path: Path
) -> None:
    used(home)
    upkeep = Meanwhile(home.settings.readings, home.services.archive.oldest_version_in_use)

    backed_up(replace(home, services=replace(home.services, upkeep=upkeep)), tmp_path / "backup")

    assert upkeep.seen == [2]
    assert home.services.archive.oldest_version_in_use() is None


def test_imports_and_upkeep_meanwhile_leave_the_backup_at_its_version(
    home: make.Home, tmp_path: Path
) -> None:
    def import_and_keep_up() -> None:
        home.load(make.readings(9.0), make.readings(9.0, meter="new"))
        s = home.services
        keep_readings(
            source=s.source,
            upkeep=s.upkeep,
            catalog=s.catalog,
            archive=s.archive,
            keep_versions=timedelta(0),
        )

    used(home)
    upkeep = Meanwhile(home.settings.readings, import_and_keep_up)

    backup = backed_up(
        replace(home, services=replace(home.services, upkeep=upkeep)), tmp_path / "backup"
    )

    again = restored(tmp_path / "backup", tmp_path / "new" / "data")
    assert (backup.readings_version, backup.damaged) == (2, [])
    assert (energy_kwh(again), meters(again)) == ([0.75], ["123", "other"])
    assert energy_kwh(home) == [9.0]


class Copied:
    """The database's copy, after which something else happens at once."""

    def __init__(self, copier: DatabaseCopier, act: Callable[[], object]) -> None:
        self._copier = copier
        self._act = act

    def copy(self, target: Path) -> None:
        self._copier.copy(target)
        self._act()


def test_an_import_after_the_databases_copy_is_in_the_restored_catalogue(
    home: make.Home, tmp_path: Path
) -> None:
    def load() -> None:
        home.load(make.readings(9.0, meter="new"))

    used(home)
    copier = Copied(home.services.copier, load)

    backed_up(replace(home, services=replace(home.services, copier=copier)), tmp_path / "backup")

    again = restored(tmp_path / "backup", tmp_path / "new" / "data")
    assert meters(again) == ["123", "new", "other"]
    assert energy_kwh(again, "new") == [9.0]


def test_a_job_after_the_databases_copy_is_no_part_of_the_backup(
    home: make.Home, tmp_path: Path
) -> None:
    def export() -> None:
        submitted(home)
        home.work()

    used(home)
    copier = Copied(home.services.copier, export)

    backup = backed_up(
        replace(home, services=replace(home.services, copier=copier)), tmp_path / "backup"
    )

    assert len(list((tmp_path / "backup" / "exports").glob("*/*"))) == 2
    assert backup.damaged == []


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SourceUnavailable("x")])
def test_a_backup_that_fails_on_the_way_leaves_nothing(
    error: Exception, home: make.Home, tmp_path: Path
) -> None:
    def fail() -> None:
        raise error

    used(home)
    upkeep = Meanwhile(home.settings.readings, fail)
    failing = replace(home, services=replace(home.services, upkeep=upkeep))

    with pytest.raises((BackupRefused, SourceUnavailable)):
        backed_up(failing, tmp_path / "backup")

    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert home.services.archive.oldest_version_in_use() is None
    backed_up(home, tmp_path / "backup")


def test_the_home_serves_on_after_a_backup(home: make.Home, tmp_path: Path) -> None:
    used(home)
    backed_up(home, tmp_path / "backup")

    job = submitted(opened(home.settings))
    home.work()

    assert now(home, job).file is not None
    with archive_in(tmp_path / "backup" / "meterport.db") as archive:
        assert len(archive.recent(9)) == 2
