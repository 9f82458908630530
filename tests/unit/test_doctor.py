"""What the doctor finds: nothing in a healthy home, else each thing with what to do about it."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text, update

from meterport.adapters.local_disk import LocalDisk, free_bytes
from meterport.adapters.sql_database import Database
from meterport.adapters.sql_tables import jobs
from meterport.domain.errors import StorageFull
from meterport.domain.findings import Finding, Level
from meterport.services.examine import examine
from meterport.sources import delta_log
from meterport.sources.table_folder import TableFolder
from tests import make
from tests.unit.exports import submitted


def findings(home: make.Home, *, scrub: bool = False) -> list[Finding]:
    s = home.services
    return list(
        examine(
            checkups=s.checkups,
            source=s.source,
            upkeep=s.upkeep,
            catalog=s.catalog,
            archive=s.archive,
            objects=s.objects,
            audit=s.audit,
            scrub=scrub,
        )
    )


def wrong(home: make.Home, *, scrub: bool = False) -> list[Finding]:
    return [finding for finding in findings(home, scrub=scrub) if finding.level is not Level.OK]


@pytest.fixture
def export(home: make.Home) -> Path:
    """The file of a finished export, in a home with readings of meters 123 and other."""
    home.load(make.readings(0.5), make.readings(0.7, 0.8, meter="other"))
    job = submitted(home)
    home.work()
    return home.settings.files / job.id / "1"


def readings_file(home: make.Home) -> Path:
    (path,) = home.settings.readings.glob("month=*/*")
    return path


def flip(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:40] + bytes([data[40] ^ 1]) + data[41:])


def on_the_database(home: make.Home, statement: str) -> None:
    with Database(home.settings.jobs_url).write() as connection:
        connection.execute(text(statement))


@pytest.mark.parametrize("scrub", [False, True])
@pytest.mark.usefixtures("export")
def test_a_healthy_home_gives_no_finding_above_ok(home: make.Home, scrub: bool) -> None:
    found = findings(home, scrub=scrub)

    assert {finding.level for finding in found} == {Level.OK}
    assert {finding.remedy for finding in found} == {""}
    assert {finding.about for finding in found} == {
        "profile",
        "database",
        "clock",
        "disk",
        "time zones",
        "readings",
        "exports",
    } | ({"audit log"} if scrub else set())
    said = [finding.message for finding in found if finding.about in ("readings", "exports")]
    if scrub:
        assert said == [
            "version 1, 2 meters",
            "every file has the right SHA-256",
            "1 files, all read and right",
        ]
    else:
        assert said == ["version 1, 2 meters", "every file is there", "1 files, all there"]


def test_an_empty_home_is_healthy(home: make.Home) -> None:
    assert wrong(home, scrub=True) == []


@pytest.mark.usefixtures("export")
def test_the_doctor_changes_nothing(home: make.Home) -> None:
    def content() -> dict[Path, bytes]:
        return {p: p.read_bytes() for p in home.settings.data.rglob("*") if p.is_file()}

    before = content()

    findings(home, scrub=True)

    assert content() == before


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("damage", "state"),
    [
        (Path.unlink, "missing"),
        (append, "109 bytes long, not 108"),
        (cut, "107 bytes long, not 108"),
    ],
)
def test_an_export_that_is_missing_or_has_another_size_is_named(
    damage: Callable[[Path], None], state: str, home: make.Home, export: Path
) -> None:
    damage(export)

    job_id = export.parent.name
    assert wrong(home) == [
        Finding(
            Level.ERROR,
            "exports",
            f"the file of job {job_id} is {state}",
            f"meterport jobs rerun {job_id}",
        )
    ]


def test_an_export_of_other_bytes_is_named_by_a_scrub_alone(home: make.Home, export: Path) -> None:
    flip(export)

    job_id = export.parent.name
    assert wrong(home) == []
    assert wrong(home, scrub=True) == [
        Finding(
            Level.ERROR,
            "exports",
            f"the file of job {job_id} is changed",
            f"meterport jobs rerun {job_id}",
        )
    ]


def test_an_export_that_has_expired_is_not_missed(home: make.Home, export: Path) -> None:
    with Database(home.settings.jobs_url).write() as connection:
        connection.execute(update(jobs).values(expires_at=make.JANUARY))
    export.unlink()

    assert wrong(home, scrub=True) == []


def test_an_export_that_cannot_be_read_is_named(home: make.Home, export: Path) -> None:
    export.unlink()
    export.symlink_to(export)

    (found,) = wrong(home)

    assert found.message == (
        f"the file of job {export.parent.name} is unreadable (Too many levels of symbolic links)"
    )


@pytest.mark.usefixtures("export")
def test_a_folder_that_cannot_be_read_is_named(home: make.Home) -> None:
    parts = home.settings.files / ".parts"
    parts.rmdir()
    parts.symlink_to(parts)

    (found,) = wrong(home)

    assert (found.level, found.about) == (Level.ERROR, "service")
    assert found.message == f"{parts}: Too many levels of symbolic links"
    assert found.remedy.startswith("the service needs to be able to read its folders")


RESTORE = "restore that file from a backup, or import its readings again into a new data folder"


@pytest.mark.parametrize(
    ("damage", "state", "by_its_size"),
    [(flip, "changed", False), (cut, "changed", True), (Path.unlink, "missing", True)],
)
@pytest.mark.usefixtures("export")
def test_damaged_readings_are_named_with_month_and_meters(
    damage: Callable[[Path], None], state: str, by_its_size: bool, home: make.Home
) -> None:
    path = readings_file(home)
    damage(path)

    told = [
        Finding(
            Level.ERROR,
            "readings",
            f"month=2024-01/{path.name} is {state}: readings of 2024-01, meters 123 to other",
            RESTORE,
        )
    ]
    assert wrong(home, scrub=True) == told
    assert wrong(home) == (told if by_its_size else [])


@pytest.mark.usefixtures("export")
def test_what_belongs_to_no_job_is_told(home: make.Home) -> None:
    nobodys = "00000000-0000-4000-8000-000000000000"
    (home.settings.files / ".parts" / f"{nobodys}.1").write_bytes(b"half")
    (home.settings.files / nobodys).mkdir()
    (home.settings.files / nobodys / "2").write_bytes(b"whole")

    assert wrong(home) == [
        Finding(
            Level.WARNING,
            "exports",
            f"2 files of no job: {nobodys}/1, {nobodys}/2",
            "nothing: housekeeping removes them",
        )
    ]


@pytest.mark.usefixtures("export")
def test_readings_files_of_no_version_are_told(home: make.Home) -> None:
    for n in range(6):
        (home.settings.readings / "month=2024-01" / f"{n}.parquet").write_bytes(b"half")

    (found,) = wrong(home)

    assert (found.level, found.about) == (Level.WARNING, "readings")
    assert (
        found.message
        == "6 files of no version: "
        + ", ".join(f"month=2024-01/{n}.parquet" for n in range(5))
        + " …"
    )
    assert found.remedy == "nothing: housekeeping removes them"


def test_a_catalogue_that_is_behind_is_told(home: make.Home) -> None:
    home.services.readings.merge(
        [make.readings(0.5, 0.6)], known_intervals=lambda _: {}, fence=lambda: None
    )

    assert wrong(home) == [
        Finding(
            Level.WARNING,
            "readings",
            "the catalogue describes version 0",
            "nothing: the next import or export brings it level",
        )
    ]


GARBAGE: Mapping[str, Callable[[make.Home], Path]] = {
    "newest entry": lambda home: home.settings.readings / "_delta_log" / f"{1:020}.json",
    "oldest entry": lambda home: home.settings.readings / "_delta_log" / f"{0:020}.json",
}


@pytest.mark.parametrize("path", GARBAGE)
@pytest.mark.usefixtures("export")
def test_a_damaged_log_of_the_readings_is_told_and_the_rest_is_looked_at(
    path: str, home: make.Home
) -> None:
    GARBAGE[path](home).write_bytes(b"garbage\n")

    found = findings(home)

    assert [(f.level, f.about) for f in found if f.level is not Level.OK] == [
        (Level.ERROR, "service")
    ]
    assert found[-1] == Finding(Level.OK, "exports", "1 files, all there")


@pytest.mark.parametrize("garbage", [b"garbage\n", b"3\n", b'{"add": {}}', b"\xff\xfe"])
@pytest.mark.usefixtures("export")
def test_a_damaged_log_entry_that_a_checkpoint_covers_is_told(
    garbage: bytes, home: make.Home
) -> None:
    home.load(make.readings(0.75))
    delta_log.checkpoint(TableFolder(home.settings.readings), 2)
    (home.settings.readings / delta_log.entry(2)).write_bytes(garbage)

    (found,) = wrong(home)

    assert (found.level, found.about) == (Level.ERROR, "service")
    assert found.message == "The readings store cannot be kept up"


@pytest.mark.usefixtures("export")
def test_a_clock_that_was_set_back_is_told(home: make.Home) -> None:
    with Database(home.settings.jobs_url).write() as connection:
        later = datetime(2099, 1, 2, 3, 4, 5, tzinfo=UTC)
        connection.execute(update(jobs).values(updated_at=later))

    assert wrong(home) == [
        Finding(
            Level.ERROR,
            "clock",
            "jobs were changed at 2099-01-02 03:04:05 UTC: later",
            "set the clocks by NTP; leases, expiry and file times depend on them",
        )
    ]


@pytest.mark.usefixtures("export")
def test_jobs_of_this_moment_are_no_sign_of_a_wrong_clock(home: make.Home) -> None:
    with Database(home.settings.jobs_url).write() as connection:
        soon = datetime.now(UTC) + timedelta(seconds=1)
        connection.execute(update(jobs).values(updated_at=soon))

    assert wrong(home) == []


def test_an_outdated_schema_is_told(home: make.Home) -> None:
    on_the_database(home, "UPDATE alembic_version SET version_num = '0001'")

    assert wrong(home) == [
        Finding(Level.ERROR, "database", "schema 0001, not 0007", "meterport db upgrade")
    ]


def test_a_damaged_database_is_told_and_the_rest_is_looked_at(
    home: make.Home, export: Path
) -> None:
    database = home.settings.data / "meterport.db"
    database.write_bytes(b"garbage, and no database at all" * 1_000)
    flip(readings_file(home))

    found = wrong(home, scrub=True)

    assert [finding.level for finding in found] == [Level.ERROR] * len(found)
    assert found[0].message == "the database cannot be used; its log says why"
    assert found[0].remedy == "the log names the cause"


def with_reserve(home: make.Home, reserve_bytes: int) -> make.Home:
    disk = LocalDisk([home.settings.data], reserve_bytes)
    return replace(home, services=replace(home.services, checkups=[disk], space=disk))


def test_a_disk_with_less_than_its_reserve_is_told(home: make.Home) -> None:
    (found,) = wrong(with_reserve(home, 1 << 60))

    assert (found.level, found.about) == (Level.ERROR, "disk")
    assert found.message.startswith("data/: ")
    assert found.message.endswith(f" MiB free, {1 << 40:,} MiB in reserve")
    assert found.remedy == "free space, or move the folder to a larger disk"


def test_a_disk_that_comes_near_its_reserve_is_told(home: make.Home) -> None:
    reserve_bytes = free_bytes(home.settings.data) * 3 // 4

    (found,) = wrong(with_reserve(home, reserve_bytes))

    assert (found.level, found.about) == (Level.WARNING, "disk")
    assert found.remedy == "free space before new exports are refused"


def test_a_disk_without_a_chosen_reserve_keeps_5_percent_or_2_gib(tmp_path: Path) -> None:
    total = shutil.disk_usage(tmp_path).total

    assert LocalDisk([tmp_path]).reserve_bytes(tmp_path) == min(int(total * 0.05), 2 << 30)
    assert LocalDisk([tmp_path], 7).reserve_bytes(tmp_path) == 7


def test_the_reserve_refuses_what_would_use_it_up(tmp_path: Path) -> None:
    LocalDisk([tmp_path], 0).check()

    with pytest.raises(StorageFull) as full:
        LocalDisk([tmp_path / "..", tmp_path], 1 << 60).check()

    assert full.value.message == "There is too little space left on the disk"
    assert "METERPORT_DISK_RESERVE_MIB is left free" in full.value.details


@pytest.mark.usefixtures("export")
def test_an_exports_folder_that_is_gone_is_told_beside_its_missing_files(home: make.Home) -> None:
    shutil.rmtree(home.settings.files)

    folder, file = wrong(home)

    assert folder == Finding(
        Level.ERROR,
        "disk",
        f"{home.settings.files} is missing",
        "start the service, which makes it",
    )
    assert file.message.endswith(" is missing")


def test_a_folder_that_is_gone_is_no_full_disk(tmp_path: Path) -> None:
    LocalDisk([tmp_path / "gone"], 1 << 60).check()
