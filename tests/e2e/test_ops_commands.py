"""The operator's commands as a user meets them: jobs, doctor, backup, restore, erase."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests import make
from tests.e2e.service import Service, csv_of, meterport, running

NOBODYS = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> make.Home:
    return make.home(
        tmp_path_factory.mktemp("ops"),
        make.many_readings(120, meter="123"),
        make.readings(7.0, meter="kitchen", interval_s=900),
    )


@pytest.fixture(scope="module")
def service(home: make.Home) -> Iterator[Service]:
    with running(home.settings.data) as started:
        yield started


@pytest.fixture
def idle(tmp_path: Path) -> Path:
    """The data folder of a service that does not run, with two finished exports."""
    home = make.home(
        tmp_path, make.many_readings(120, meter="123"), make.readings(7.0, meter="kitchen")
    )
    for meter in ("123", "kitchen"):
        home.services.jobs.add(make.request(meter), owner="owner")
    home.work()
    return home.settings.data


def said(*arguments: str | Path, code: int = 0) -> str:
    """What a command prints that ends with that exit code and complains of nothing."""
    done = meterport(*arguments, METERPORT_LOG_LEVEL="warning")
    assert (done.returncode, done.stderr) == (code, ""), done.stdout + done.stderr
    return done.stdout


def refusal(*arguments: str | Path) -> str:
    """The one line that a command says which cannot do what it is asked."""
    done = meterport(*arguments)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.removesuffix("\n")


def listed(data: Path, *options: str) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = json.loads(said("jobs", "--json", *options, "--data", data))
    return jobs


def finding(data: Path, about: str, *options: str, code: int = 0) -> list[dict[str, str]]:
    findings = json.loads(said("doctor", "--json", *options, "--data", data, code=code))
    return [found for found in findings if found["about"] == about]


def test_jobs_are_listed_newest_first_a_line_each(service: Service) -> None:
    first, second = service.create("123"), service.create("unknown")
    service.completed(first)
    service.failed(second)

    newest, before = said("jobs", "--limit", "2", "--data", service.data).splitlines()

    assert newest.split() == [
        *(second, "unknown", "2024-01-01T00:00:00Z", "…", "2024-01-01T01:00:00Z"),
        *("SMART_METER_NOT_FOUND", "0", "rows"),
    ]
    assert before.split() == [
        *(first, "123", "2024-01-01T00:00:00Z", "…", "2024-01-01T01:00:00Z"),
        *("completed", "60", "rows"),
    ]


def test_jobs_are_listed_as_json(service: Service) -> None:
    job_id = service.create("123")
    service.completed(job_id)
    file = service.download(job_id)

    (job,) = listed(service.data, "--limit", "1")

    assert file == csv_of("123", first=0, rows=60)
    for name in ("created_at", "updated_at", "expires_at", "sha256"):
        assert job.pop(name)
    assert job == {
        "job_id": job_id,
        "smart_meter_id": "123",
        "start": "2024-01-01T00:00:00Z",
        "end": "2024-01-01T01:00:00Z",
        "format": "csv",
        "compression": "none",
        "options": {},
        "label": None,
        "status": "completed",
        "attempt": 1,
        "crashes": 0,
        "retries": 0,
        "rows_written": 60,
        "source_version": 1,
        "file_size_bytes": len(file),
        "expired": False,
        "error": None,
    }


def test_a_home_without_jobs_says_so(tmp_path: Path) -> None:
    data = make.home(tmp_path).settings.data

    assert said("jobs", "--data", data) == "no jobs yet\n"
    assert listed(data) == []


def test_config_show_shows_every_setting_and_no_password(tmp_path: Path) -> None:
    variables = {
        "METERPORT_DATABASE_URL": "postgresql+psycopg://meterport:hunter2@db/x",
        "METERPORT_BROKER_URL": "redis://:hunter2@broker/0",
        "METERPORT_READINGS_URL": "postgresql://reader:hunter2@db/x?table=readings",
        "METERPORT_STORE_SECRET_ACCESS_KEY": "hunter2",
    }

    answer = meterport("config", "show", "--data", tmp_path, **variables)

    assert "hunter2" not in answer.stdout + answer.stderr
    shown = json.loads(answer.stdout)
    assert shown["data"] == str(tmp_path)
    assert shown["database_url"] == "postgresql+psycopg://meterport:***@db/x"
    assert shown["broker_url"] == "redis://:***@broker/0"
    assert shown["readings_url"] == "postgresql://reader:***@db/x?table=readings"
    assert shown["store_secret_access_key"] == "**********"  # noqa: S105 - nothing but stars
    assert shown["port"] == 8000


def test_a_waiting_job_is_cancelled_at_once(service: Service) -> None:
    with service.paused():
        job_id = service.create("123")
        answer = said("jobs", "cancel", job_id, "--data", service.data)

    assert answer == f"{job_id} is cancelled\n"
    assert service.failed(job_id).error.code == "EXPORT_CANCELLED"


def test_the_data_folder_may_stand_before_the_order(service: Service) -> None:
    job_id = service.create("123")
    service.completed(job_id)

    again = said("jobs", "--data", service.data, "rerun", job_id).strip()

    assert service.completed(again).file_info.record_count == 60


def test_a_job_that_has_ended_cannot_be_cancelled(service: Service) -> None:
    job_id = service.create("123")
    service.completed(job_id)

    line = refusal("jobs", "cancel", job_id, "--data", service.data)

    assert line == f"meterport: EXPORT_NOT_CANCELLABLE: the export {job_id} is completed already"


def test_a_rerun_gives_a_new_job_with_the_same_file(service: Service) -> None:
    job_id = service.create("123")
    service.completed(job_id)

    again = said("jobs", "rerun", job_id, "--data", service.data).strip()

    assert again != job_id
    service.completed(again)
    assert service.download(again) == service.download(job_id)


@pytest.mark.parametrize(
    ("order", "job_id"), [("cancel", NOBODYS), ("cancel", "no-id"), ("rerun", "' OR 1=1 --")]
)
def test_a_job_that_does_not_exist_is_told(service: Service, order: str, job_id: str) -> None:
    line = refusal("jobs", order, "--data", service.data, "--", job_id)

    assert (
        line == f"meterport: JOB_NOT_FOUND: there is no job '{job_id}'; `meterport jobs` lists them"
    )


@pytest.mark.parametrize(
    "command",
    [
        ("jobs",),
        ("doctor",),
        ("backup", "target"),
        ("erase", "123", "--yes"),
    ],
)
def test_a_data_folder_that_does_not_exist_is_told_and_not_made(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    data = tmp_path / "nowhere"

    line = refusal(*command, "--data", data)

    assert (
        line
        == f"meterport: START_REFUSED: there is no data folder {data}; `meterport serve` makes one"
    )
    assert list(tmp_path.iterdir()) == []


def test_the_doctor_finds_nothing_wrong_beside_a_running_service(service: Service) -> None:
    service.completed(service.create("123"))

    lines = said("doctor", "--scrub", "--data", service.data).splitlines()

    assert {line.split()[0] for line in lines} == {"ok"}
    assert "ok      readings: every file has the right SHA-256" in lines


def test_the_doctor_names_what_is_missing_with_its_remedy(idle: Path) -> None:
    job_id = listed(idle)[0]["job_id"]
    (idle / "exports" / job_id / "1").unlink()

    report = said("doctor", "--data", idle, code=1)

    assert (
        f"ERROR   exports: the file of job {job_id} is missing\n"
        f"        → meterport jobs rerun {job_id}\n"
    ) in report
    assert finding(idle, "exports", code=1) == [
        {
            "level": "error",
            "about": "exports",
            "message": f"the file of job {job_id} is missing",
            "remedy": f"meterport jobs rerun {job_id}",
        }
    ]


def test_the_doctor_finds_a_changed_byte_when_it_scrubs(idle: Path) -> None:
    (path,) = (idle / "readings").glob("month=*/*")
    flip(path)

    report = said("doctor", "--data", idle)
    scrubbed = finding(idle, "readings", "--scrub", code=1)

    assert "ERROR" not in report
    assert [found["level"] for found in scrubbed] == ["ok", "error"]
    assert scrubbed[1]["message"] == (
        f"month=2024-01/{path.name} is changed: readings of 2024-01, meters 123 to kitchen"
    )


def test_a_warning_alone_is_no_failure(idle: Path) -> None:
    (idle / "exports" / NOBODYS).mkdir()
    (idle / "exports" / NOBODYS / "1").write_bytes(b"nobody's")

    report = said("doctor", "--data", idle)

    assert f"WARNING exports: 1 files of no job: {NOBODYS}/1\n" in report


def test_a_schema_that_is_not_up_to_date_is_told_by_every_command(idle: Path) -> None:
    with closing(sqlite3.connect(idle / "meterport.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
        connection.commit()

    line = refusal("doctor", "--data", idle)

    assert (
        line
        == "meterport: START_REFUSED: the database is not up to date; run: meterport db upgrade"
    )


def test_a_home_is_backed_up_beside_the_running_service_and_restored_elsewhere(
    service: Service, tmp_path: Path
) -> None:
    job_id = service.create("123")
    service.completed(job_id)
    file, target = service.download(job_id), tmp_path / "backup"

    report = said("backup", target, "--data", service.data)
    told = said("restore", target, "--data", tmp_path / "new")
    with running(tmp_path / "new") as again:
        restored = again.download(job_id)
        more = again.completed(again.create("kitchen")).file_info.record_count

    assert report.startswith(f"{target}: version 1 of the readings, ")
    assert told.startswith(f"{target}, taken ")
    assert "is restored: version 1 of the readings, " in told
    assert restored == file
    assert more == 1
    assert service.completed(service.create("123")).file_info.record_count == 60


def test_a_backup_reports_as_json(idle: Path, tmp_path: Path) -> None:
    report = json.loads(said("backup", tmp_path / "backup", "--json", "--data", idle))

    assert (report["readings_version"], report["damaged"]) == (1, [])
    assert report["size_bytes"] == sum(file["size_bytes"] for file in report["files"])
    assert {file["path"].partition("/")[0] for file in report["files"]} == {
        "meterport.db",
        "readings",
        "exports",
    }


def test_a_backup_of_a_damaged_home_names_the_damage_and_says_so_by_its_exit_code(
    idle: Path, tmp_path: Path
) -> None:
    job_id = listed(idle)[0]["job_id"]
    flip(idle / "exports" / job_id / "1")

    report = said("backup", tmp_path / "backup", "--data", idle, code=1)

    assert report.splitlines()[1] == (
        f"DAMAGED already, see `meterport doctor`: exports/{job_id}/1"
    )
    assert (tmp_path / "backup" / "backup.json").is_file()


def test_a_target_that_is_there_is_refused(idle: Path, tmp_path: Path) -> None:
    line = refusal("backup", tmp_path, "--data", idle)

    assert (
        line == f"meterport: BACKUP_REFUSED: {tmp_path} exists already; name a folder that does not"
    )


def test_a_restore_under_a_running_service_is_refused(service: Service, tmp_path: Path) -> None:
    said("backup", tmp_path / "backup", "--data", service.data)

    line = refusal("restore", tmp_path / "backup", "--replace", "--data", service.data)

    assert line == (
        "meterport: START_REFUSED: "
        f"another process of meterport works on {service.data}; stop it first"
    )
    assert service.completed(service.create("123")).file_info.record_count == 60


def test_a_restore_into_a_used_home_is_refused_and_replaces_it_when_told(
    idle: Path, tmp_path: Path
) -> None:
    said("backup", tmp_path / "backup", "--data", idle)
    before = listed(idle)

    line = refusal("restore", tmp_path / "backup", "--data", idle)
    told = said("restore", tmp_path / "backup", "--replace", "--data", idle)

    assert line == (
        "meterport: BACKUP_REFUSED: "
        f"{idle / 'meterport.db'} is there already; choose another --data, "
        "or say --replace, which keeps it under another name"
    )
    _, *aside = told.splitlines()
    assert [line.partition(": ")[0] for line in aside] == [
        "kept aside, remove it when you need it no more"
    ] * 3
    assert all(Path(line.partition(": ")[2]).exists() for line in aside)
    assert listed(idle) == before


@pytest.mark.parametrize("kind", ["nothing", "empty", "changed"])
def test_what_is_no_whole_backup_is_refused(idle: Path, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "backup"
    if kind == "empty":
        folder.mkdir()
    if kind == "changed":
        said("backup", folder, "--data", idle)
        flip(folder / "meterport.db")

    line = refusal("restore", folder, "--data", tmp_path / "new")

    if kind == "changed":
        assert line == (
            "meterport: BACKUP_REFUSED: "
            f"{folder}/meterport.db is not what was backed up; nothing was restored, "
            "use another backup"
        )
    else:
        assert (
            line
            == f"meterport: BACKUP_REFUSED: {folder} is no finished backup: it has no backup.json"
        )
    assert {path.name for path in (tmp_path / "new").glob("*")} <= {"home.lock"}


def test_a_home_whose_restore_was_cut_off_starts_nothing(idle: Path) -> None:
    (idle / "restore-under-way").touch()

    for command in (("serve", "--port", "0"), ("jobs",)):
        assert refusal(*command, "--data", idle) == (
            f"meterport: START_REFUSED: a restore into {idle} was cut off; "
            "run `meterport restore BACKUP --replace` again"
        )


def test_an_erased_meter_is_gone_from_readings_files_and_a_later_restore(
    idle: Path, tmp_path: Path
) -> None:
    said("backup", tmp_path / "backup", "--data", idle)

    told = said("erase", "123", "--yes", "--data", idle)
    erased = said("erase", "--list", "--data", idle)
    (tmp_path / "erased.json").write_text(erased)
    restored = said(
        *("restore", tmp_path / "backup", "--data", tmp_path / "new"),
        *("--erasures", tmp_path / "erased.json"),
    )

    assert told == "120 readings of meter 123 are erased, and its files\n"
    assert list(json.loads(erased)) == ["123"]
    assert "erased again: meter 123" in restored.splitlines()
    for data in (idle, tmp_path / "new"):
        meters = json.loads(said("meters", "--json", "--data", data))
        assert [meter["smart_meter_id"] for meter in meters] == ["kitchen"]
        assert {job["smart_meter_id"]: job["expired"] for job in listed(data)} == {
            "123": True,
            "kitchen": False,
        }
        assert len(list((data / "exports").glob("*/*"))) == 1


def test_an_erasure_beside_a_running_service_lets_it_serve_on(tmp_path: Path) -> None:
    home = make.home(tmp_path, make.many_readings(120), make.readings(7.0, meter="kitchen"))
    with running(home.settings.data) as service:
        gone = service.create("123")
        service.completed(gone)
        said("erase", "123", "--yes", "--data", service.data)
        answer = service.http.get(f"/api/export/download/{gone}")
        kept = service.completed(service.create("kitchen")).file_info.record_count
        unknown = service.failed(service.create("123")).error.code

    assert answer.status_code == 410
    assert (kept, unknown) == (1, "SMART_METER_NOT_FOUND")


def test_nothing_is_erased_without_a_yes(idle: Path) -> None:
    done = meterport("erase", "123", "--data", idle)

    assert done.returncode == 1
    assert "Erase every reading and file of meter 123, for ever?" in done.stdout
    assert "Traceback" not in done.stderr
    assert said("erase", "--list", "--data", idle) == "{}\n"


def test_an_id_that_can_be_no_meters_is_refused(idle: Path) -> None:
    line = refusal("erase", "no/meter", "--yes", "--data", idle)

    assert line.startswith(
        "meterport: INVALID_SMART_METER_ID: "
        "smart_meter_id must be 1 to 64 letters, digits or . _ : -"
    )


@pytest.mark.parametrize("text", ["not json", '["no/meter"]'])
def test_a_file_that_lists_no_meters_is_refused(idle: Path, tmp_path: Path, text: str) -> None:
    said("backup", tmp_path / "backup", "--data", idle)
    listing = make.write(tmp_path, "erased.json", text)

    line = refusal(
        *("restore", tmp_path / "backup", "--data", tmp_path / "new", "--erasures", listing)
    )

    assert line.startswith("meterport: ")
    assert not (tmp_path / "new" / "meterport.db").exists()


def flip(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:40] + bytes([data[40] ^ 1]) + data[41:])
