"""`meterport export` in this process: its worker, its targets, and what ends it."""

import errno
import io
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from meterport import export_here
from meterport.adapters.sql_database import Database
from meterport.adapters.sql_tables import jobs as jobs_table
from meterport.client import MeterportRefused
from meterport.domain.errors import (
    DownloadError,
    ExportDamaged,
    InvalidRequest,
    JobNotFound,
    MeterportError,
    ServiceUnavailable,
    StartRefused,
)
from meterport.domain.jobs import Job, JobStatus
from meterport.export_targets import STDOUT, Targets, Wanted
from meterport.services.open_export import finished_file
from tests import make
from tests.unit.exports import encode_with, now, submitted

ROWS = make.csv_lines(
    "2024-01-01T00:00:00Z,123,0.5,2.1,230.1,9.1",
    "2024-01-01T00:01:00Z,123,0.6,2.1,230.1,9.1",
)


@pytest.fixture
def metered(home: make.Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> make.Home:
    """With two readings, and the test's own folder as the current one."""
    home.load(make.readings(0.5, 0.6))
    monkeypatch.chdir(tmp_path)
    return home


def export(
    home: make.Home,
    *meters: str,
    file: Path | None = None,
    manifest: Path | None = None,
    overwrite: bool = False,
    compression: str = "none",
    start: str = "2024-01-01",
    end: str = "2024-01-02",
    as_json: bool = False,
) -> str | None:
    wanted = Wanted(meters or ("123",), start, end, "csv", compression, {})
    targets = Targets(file, manifest, overwrite)
    return export_here.run(home.settings, wanted, targets, as_json=as_json)


def the_job(home: make.Home) -> Job:
    """The newest."""
    return home.services.archive.recent(1)[0]


def refusal(home: make.Home, **given: object) -> str:
    """What an export is told that is refused before any work."""
    with pytest.raises(InvalidRequest) as refused:
        export(home, **given)  # type: ignore[arg-type]  # each test gives arguments of export
    assert home.services.archive.recent(1) == []
    return refused.value.message


def worked_instead(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """What the worker's thread does in place of its work."""

    def work_job(*_: object, **__: object) -> bool:
        action()
        return False

    monkeypatch.setattr(export_here, "work_job", work_job)


def raising(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def parts(folder: Path) -> list[Path]:
    return list(folder.glob(".*.part"))


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("a defect"),
        ServiceUnavailable("the database does not answer; try again soon"),
        SystemError("a panic"),
    ],
)
def test_a_worker_that_breaks_ends_the_command_and_calls_the_job_off(
    metered: make.Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    worked_instead(monkeypatch, raising(error))

    with pytest.raises(type(error), match=str(error)):
        export(metered)

    ended = the_job(metered)
    assert (ended.status, ended.error and ended.error.code) == ("failed", "EXPORT_CANCELLED")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_job_that_is_removed_meanwhile_ends_the_command(
    metered: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def remove() -> None:
        with Database(metered.settings.jobs_url).write() as connection:
            connection.execute(delete(jobs_table))

    worked_instead(monkeypatch, remove)

    with pytest.raises(JobNotFound):
        export(metered)


def test_a_database_that_goes_away_in_the_middle_ends_the_command(
    metered: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = metered.settings.data / "meterport.db"
    encode_with(monkeypatch, lambda: database.write_bytes(b"no database " * 1000))

    with pytest.raises(ServiceUnavailable):
        export(metered)


def test_jobs_that_others_asked_for_are_left_to_others(metered: make.Home) -> None:
    others = submitted(metered)

    export(metered)

    assert the_job(metered).status is JobStatus.COMPLETED
    assert now(metered, others).status is JobStatus.PENDING
    assert now(metered, others).attempt == 0


def test_the_reason_of_a_failure_is_the_jobs_own(metered: make.Home) -> None:
    with pytest.raises(MeterportRefused) as failed:
        export(metered, "nobody")

    assert failed.value.code == "SMART_METER_NOT_FOUND"
    assert str(failed.value) == (
        "Smart meter with ID 'nobody' not found "
        "(The specified smart meter does not exist in the system)"
    )


def test_a_device_is_written_to_and_not_replaced(metered: make.Home) -> None:
    said = export(metered, file=Path("/dev/null"))

    assert said is not None
    assert said.startswith(f"/dev/null: 2 rows, {len(ROWS)} bytes, no gaps\n")
    assert Path("/dev/null").is_char_device()


def test_a_period_without_readings_is_told_with_the_one_that_has_them(metered: make.Home) -> None:
    said = export(metered, start="2020-01-01", end="2021-01-01")

    assert said is not None
    assert said.splitlines()[0] == (
        "smart_meter_123_20200101_20210101.csv: 0 rows, 65 bytes, no readings in this period; "
        "those of 123 are from 2024-01-01T00:00:00Z to 2024-01-01T00:01:00Z"
    )


def test_a_compression_that_the_files_name_does_not_tell_is_told(metered: make.Home) -> None:
    said = export(metered, file=Path("march.csv"), compression="gzip")

    assert said is not None
    assert "2 rows, " in said
    assert " bytes (gzip), no gaps\n" in said


def test_what_has_expired_goes_though_no_service_keeps_house(metered: make.Home) -> None:
    export(metered, file=Path("first.csv"))
    first = the_job(metered)
    with Database(metered.settings.jobs_url).write() as connection:
        connection.execute(update(jobs_table).values(expires_at=datetime(2024, 1, 1, tzinfo=UTC)))

    export(metered, file=Path("second.csv"))

    kept = list(metered.services.objects.keys())
    assert kept == [the_job(metered).key]
    assert first.id not in kept[0]
    assert list(metered.services.jobs.manifests(first)) == []


def test_an_existing_file_is_refused_before_any_work(metered: make.Home, tmp_path: Path) -> None:
    make.write(tmp_path, "there.csv", "mine")
    make.write(tmp_path, "there.json", "mine")
    make.write(tmp_path, "smart_meter_123_20240101_20240102.csv", "mine")

    own = refusal(metered)
    named = refusal(metered, file=Path("there.csv"))
    manifest = refusal(metered, file=Path("new.csv"), manifest=Path("there.json"))

    assert own == (
        "smart_meter_123_20240101_20240102.csv is there already; say --force to replace it"
    )
    assert named == "there.csv is there already; say --force to replace it"
    assert manifest == "there.json is there already; say --force to replace it"
    assert (tmp_path / "there.csv").read_text() == "mine"
    assert not (tmp_path / "new.csv").exists()


def test_auto_may_come_to_a_name_that_is_there(metered: make.Home, tmp_path: Path) -> None:
    make.write(tmp_path, "smart_meter_123_20240101_20240102.csv.gz", "mine")

    message = refusal(metered, compression="auto")

    assert message == (
        "smart_meter_123_20240101_20240102.csv.gz is there already; say --force to replace it"
    )


def test_force_replaces_the_file_and_its_manifest(metered: make.Home, tmp_path: Path) -> None:
    make.write(tmp_path, "a.csv", "old")
    make.write(tmp_path, "a.json", "old")

    export(metered, file=Path("a.csv"), manifest=Path("a.json"), overwrite=True)

    assert (tmp_path / "a.csv").read_text() == ROWS
    assert json.loads((tmp_path / "a.json").read_text())["rows"] == 2
    assert parts(tmp_path) == []


@pytest.mark.parametrize(
    ("file", "manifest", "message"),
    [
        ("no/a.csv", None, "there is no folder no; make it, or say -o FILE"),
        ("a.csv", "no/a.json", "there is no folder no; make it, or say -o FILE"),
        ("data", None, "data is a folder; name a file, or - for standard output"),
        ("a.csv", "data", "data is a folder; name a file, or - for standard output"),
        ("a.csv", "a.csv", "a.csv cannot be both the file and its manifest"),
        ("a.csv", "data/../a.csv", "data/../a.csv cannot be both the file and its manifest"),
        ("-", "-", "-o and --manifest are both -; let one of them be a file"),
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_cannot_be_written_to_is_refused_before_any_work(
    metered: make.Home,
    file: str,
    manifest: str | None,
    message: str,
    *,
    overwrite: bool,
) -> None:
    other = None if manifest is None else Path(manifest)

    assert refusal(metered, file=Path(file), manifest=other, overwrite=overwrite) == message


def test_a_folder_that_may_not_be_written_to_is_refused_before_any_work(
    metered: make.Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # For root every folder is writable.
    monkeypatch.setattr(os, "access", lambda *_: False)

    message = refusal(metered, file=Path("a.csv"))

    assert message == f"nothing may be written to {tmp_path}; say -o FILE to write elsewhere"


def test_a_disk_that_is_full_leaves_no_half_file_and_says_so(
    metered: make.Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def bring(*_: object) -> None:
        monkeypatch.setattr(os, "fsync", full)

    monkeypatch.setattr(export_here, "_bring", bring)

    with pytest.raises(DownloadError) as failed:
        export(metered, file=Path("a.csv"))

    assert failed.value.message == "the file could not be brought to a.csv: No space left on device"
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_file_that_was_changed_in_the_store_is_not_brought(
    metered: make.Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = finished_file

    def damaged(job: Job) -> object:
        (path,) = (p for p in metered.settings.files.glob("*/*") if p.is_file())
        path.write_bytes(path.read_bytes().replace(b"0.5", b"0.4"))
        return ended(job)

    monkeypatch.setattr(export_here, "finished_file", damaged)

    with pytest.raises(MeterportError, match="is not the one that was written"):
        export(metered, file=Path("a.csv"))

    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_other_bytes_from_a_store_that_is_far_away_are_noticed_on_the_way(
    metered: make.Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ROWS.replace("0.5", "0.4").encode()
    # Which is not hashed before: that would read it twice.
    monkeypatch.setattr(export_here, "open_export", lambda *_, **__: io.BytesIO(other))

    with pytest.raises(ExportDamaged) as failed:
        export(metered, file=Path("a.csv"))

    assert failed.value.message == (
        "the file is not the one that was written; run the command again"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_data_folder_that_does_not_exist_is_told_and_not_made(tmp_path: Path) -> None:
    settings = make.settings(tmp_path / "nowhere")
    wanted = Wanted(("123",), "2024-01-01", "2024-01-02", "csv", "none", {})

    with pytest.raises(StartRefused) as refused:
        export_here.run(settings, wanted, Targets(STDOUT, None, overwrite=False), as_json=False)

    assert refused.value.message == (
        f"there is no data folder {tmp_path / 'nowhere'}; `meterport serve` makes one"
    )
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_is_counted_in_the_last_line(metered: make.Home, tmp_path: Path) -> None:
    later = make.readings(0.7, start=make.JANUARY.replace(minute=9))
    metered.load(later)

    said = export(metered, file=Path("a.csv"))

    sha256 = the_job(metered).file
    assert sha256 is not None
    size = (tmp_path / "a.csv").stat().st_size
    assert said == (
        f"a.csv: 3 rows, {size} bytes, 7 of 10 intervals are missing\nsha256 {sha256.sha256}"
    )
