"""`meterport export` as a process: what it writes, what it says, and what it leaves behind."""

import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from meterport.adapters.sql_database import Database
from meterport.adapters.sql_tables import jobs as jobs_table
from meterport.domain.jobs import Job
from tests import make
from tests.e2e.service import (
    ENVIRONMENT,
    WITHIN_S,
    csv_of,
    end_session,
    running,
    session,
    wait_until,
)

DAY = ("--from", "2024-01-01", "--to", "2024-01-02")
NAME = "smart_meter_123_20240101_20240102"
ROWS = make.csv_lines(
    "2024-01-01T00:00:00Z,123,0.5,2.1,230.1,9.1",
    "2024-01-01T00:01:00Z,123,0.6,2.1,230.1,9.1",
)
REQUEST = {
    "smart_meter_id": "123",
    "start": "2024-01-01T00:00:00Z",
    "end": "2024-01-02T00:00:00Z",
    "format": "csv",
    "compression": "none",
}
NOBODYS = "00000000-0000-4000-8000-000000000000"
MANY = 30_000
SLOWLY = """
import time
from dataclasses import replace
from meterport import cli
from meterport.encoders import csv
from meterport.services import run_export

def body(frames, sink, sheet):
    for frame in frames:
        csv.body([frame], sink, sheet)
        time.sleep(0.05)

run_export.SLICE_ROWS = 50
run_export.FORMATS = dict(run_export.FORMATS) | {"csv": replace(csv.FORMAT, body=body)}
cli.main()
"""
"""The command on a disk that takes half a minute for MANY rows."""


@pytest.fixture
def home(tmp_path: Path) -> make.Home:
    return make.home(
        tmp_path,
        make.readings(0.5, 0.6),
        make.readings(1.5, meter="kitchen"),
        make.many_readings(MANY, meter="long"),
    )


def meterport(
    folder: Path, *arguments: str, data: str = "data"
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "meterport", *arguments, "--data", data],
        cwd=folder,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=WITHIN_S,
        check=False,
    )


def said(folder: Path, *arguments: str) -> str:
    """What a command prints that ends well and complains of nothing."""
    done = meterport(folder, *arguments)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr
    return done.stdout.decode()


def refusal(folder: Path, *arguments: str) -> str:
    """The one line of a command that cannot do what it is asked."""
    done = meterport(folder, *arguments)
    assert (done.returncode, done.stdout) == (1, b""), done.stderr
    assert done.stderr.count(b"\n") == 1, done.stderr
    return done.stderr.decode().removesuffix("\n")


def files(folder: Path) -> list[str]:
    """What lies beside the data folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir() if path.name != "data")


def newest(home: make.Home) -> Job:
    return home.services.archive.recent(1)[0]


@contextmanager
def slowly(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-c", SLOWLY, *arguments, "--data", "data"],
        cwd=folder,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        end_session(process)
        process.communicate()


def in_the_middle(home: make.Home) -> Job:
    """The job, once rows are being written."""

    def written() -> Job | None:
        jobs: Sequence[Job] = home.services.archive.recent(1)
        return jobs[0] if jobs and jobs[0].rows_written else None

    return wait_until(written)


def left_in_store(home: make.Home) -> list[str]:
    return list(home.services.objects.keys())


def test_the_file_comes_under_its_own_name_with_a_line_that_tells_of_it(
    tmp_path: Path, home: make.Home
) -> None:
    line = said(tmp_path, "export", "123", *DAY)

    assert (tmp_path / f"{NAME}.csv").read_text() == ROWS
    sha256 = hashlib.sha256(ROWS.encode()).hexdigest()
    assert line == f"{NAME}.csv: 2 rows, {len(ROWS)} bytes, no gaps\nsha256 {sha256}\n"
    assert files(tmp_path) == [f"{NAME}.csv"]


def test_the_file_can_be_read_by_its_owner_only(tmp_path: Path, home: make.Home) -> None:
    make.write(tmp_path, "open.json", "old").chmod(0o666)

    said(tmp_path, "export", "123", *DAY, "-o", "a.csv", "--manifest", "open.json", "--force")

    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.csv", "open.json")]
    assert modes == [0o600, 0o600]


def test_every_option_reaches_the_file(tmp_path: Path, home: make.Home) -> None:
    content = said(
        tmp_path,
        *("export", "kitchen", "123", "--from", "2024-01-01", "--to", "2024-01-01T01:02"),
        *("--timezone", "Europe/Berlin", "--columns", "timestamp, smart_meter_id, energy_kwh"),
        *("--interval-label", "both", "--gaps", "flag", "--with-count", "--resolution", "raw"),
        *("--decimal", ",", "--delimiter", "|", "--line-end", "crlf", "--bom", "--no-header"),
        *("--as-of", str(home.services.source.version()), "-o", "-"),
    )

    assert content == (
        "\ufeff2024-01-01T01:00:00+01:00|2024-01-01T01:01:00+01:00|123|0,5|1|\r\n"
        "2024-01-01T01:01:00+01:00|2024-01-01T01:02:00+01:00|123|0,6|1|\r\n"
        "2024-01-01T01:00:00+01:00|2024-01-01T01:01:00+01:00|kitchen|1,5|1|\r\n"
    )


def test_standard_output_gets_the_bytes_and_nothing_else(tmp_path: Path, home: make.Home) -> None:
    done = meterport(tmp_path, "export", "123", *DAY, "-o", "-", "--json")

    assert (done.returncode, done.stdout, done.stderr) == (0, ROWS.encode(), b"")
    assert files(tmp_path) == []


def test_a_reader_that_has_enough_ends_the_command_without_a_traceback(
    tmp_path: Path, home: make.Home
) -> None:
    command = f"{sys.executable} -m meterport export long --from 2024-01-01 --to 2024-02-01 -o -"

    done = subprocess.run(
        ["bash", "-c", f"{command} --data data | head -n 1"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        timeout=WITHIN_S,
        check=False,
    )

    assert done.stdout.decode() == make.HEADER + "\n"
    assert done.stderr == b""


def test_the_manifest_lies_beside_the_file_and_is_the_jobs(tmp_path: Path, home: make.Home) -> None:
    home.load(make.readings(0.7, start=make.JANUARY.replace(minute=9)))

    said(tmp_path, "export", "123", *DAY, "-o", "a.csv", "--manifest", "a.json")

    manifest = json.loads((tmp_path / "a.json").read_text())
    job = newest(home)
    assert said(tmp_path, "jobs", "manifest", job.id) == (tmp_path / "a.json").read_text()
    file = (tmp_path / "a.csv").read_bytes()
    assert manifest == {
        "job_id": job.id,
        "request": REQUEST,
        "rows": 3,
        "size_bytes": len(file),
        "sha256": hashlib.sha256(file).hexdigest(),
        "source_version": job.source_version,
        "timezone": "UTC",
        "readings": 3,
        "first_timestamp": "2024-01-01T00:00:00Z",
        "last_timestamp": "2024-01-01T00:09:00Z",
        "expected": 10,
        "present": 3,
        "energy_kwh": {"123": 1.8},
        "checks": {
            "power_is_not_energy_per_hour": 3,
            "power_exceeds_voltage_times_current": 0,
        },
        "gap_count": 1,
        "gaps": [
            {
                "smart_meter_id": "123",
                "start": "2024-01-01T00:02:00Z",
                "end": "2024-01-01T00:09:00Z",
                "intervals": 7,
            }
        ],
        "days": [
            {"smart_meter_id": "123", "day": "2024-01-01"}
            | {"expected": 10, "present": 3, "energy_kwh": 1.8}
        ],
    }


def test_what_is_told_of_the_file_is_json_if_asked_for(tmp_path: Path, home: make.Home) -> None:
    told = json.loads(said(tmp_path, "export", "123", *DAY, "--compression", "gzip", "--json"))

    file = (tmp_path / f"{NAME}.csv.gz").read_bytes()
    job = newest(home)
    assert told == {
        "file": f"{NAME}.csv.gz",
        "job_id": job.id,
        "format": "csv",
        "compression": "gzip",
        "rows": 2,
        "size_bytes": len(file),
        "sha256": hashlib.sha256(file).hexdigest(),
        "source_version": job.source_version,
        "intervals_expected": 2,
        "intervals_present": 2,
    }


@pytest.mark.parametrize(
    ("meters", "name", "lines"),
    [
        (["123", "kitchen"], "smart_meters_20240101_20240102.csv", 4),
        (["kitchen", "123", "123"], "smart_meters_20240101_20240102.csv", 4),
        (["all"], "smart_meters_20240101_20240102.csv", 4 + 1440),
    ],
)
def test_several_meters_make_one_file_in_order_of_their_ids(
    tmp_path: Path, home: make.Home, meters: list[str], name: str, lines: int
) -> None:
    said(tmp_path, "export", *meters, *DAY)

    content = (tmp_path / name).read_text().splitlines()
    assert content[:3] == ROWS.splitlines()
    assert content[3] == "2024-01-01T00:00:00Z,kitchen,1.5,2.1,230.1,9.1"
    assert len(content) == lines
    assert files(tmp_path) == [name]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["nobody", *DAY],
            "SMART_METER_NOT_FOUND: Smart meter with ID 'nobody' not found "
            "(The specified smart meter does not exist in the system)",
        ),
        (
            ["123", "nobody", *DAY],
            "SMART_METER_NOT_FOUND: Smart meter with ID 'nobody' not found "
            "(The specified smart meter does not exist in the system)",
        ),
        (
            ["../x", *DAY],
            "INVALID_SMART_METER_ID: "
            "smart_meter_id must be 1 to 64 letters, digits or . _ : - and begin with a letter "
            "or digit, not '../x'",
        ),
        (
            ["123", "--from", "2024-02-30", "--to", "2024-03-01"],
            "INVALID_REQUEST: --from '2024-02-30' is no day of the calendar",
        ),
        (
            ["123", "--from", "2024-01-01", "--to", "soon"],
            "INVALID_REQUEST: --to must be a date such as 2024-03-31 or a date-time such as "
            "2024-03-31T00:00:00Z, not 'soon'",
        ),
        (
            ["123", "--from", "2024-01-02", "--to", "2024-01-01"],
            "INVALID_DATE_RANGE: "
            "end (2024-01-01T00:00:00Z) must be after start (2024-01-02T00:00:00Z)",
        ),
        (
            ["123", "--from", "2098-01-01", "--to", "2099-01-01"],
            "START_NOT_IN_PAST: "
            "--from 2098-01-01T00:00:00Z is not in the past; choose an earlier one",
        ),
        (
            ["123", *DAY, "--format", "doc"],
            "UNSUPPORTED_FORMAT: "
            "format 'doc' is not supported; known: csv, json, ndjson, xml, nem12, parquet, xlsx",
        ),
        (
            ["123", *DAY, "--resolution", "2h"],
            "INVALID_RESOLUTION: "
            "resolution '2h' is not known; known: raw, 1m, 5m, 15m, 30m, 1h, 1d, 1mo",
        ),
        (
            ["123", *DAY, "--format", "json", "--bom"],
            "INVALID_REQUEST: the options under csv say nothing in format json",
        ),
        (
            ["123", *DAY, "--as-of", "99"],
            "VERSION_GONE: Version 99 of the readings is not kept; the newest is 1 "
            "(Ask for a version that is kept, or leave as_of out to get the newest)",
        ),
    ],
)
def test_what_cannot_be_done_is_one_line_and_leaves_no_file(
    tmp_path: Path, home: make.Home, arguments: list[str], line: str
) -> None:
    assert refusal(tmp_path, "export", *arguments) == f"meterport: {line}"
    assert files(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_stopped_leaves_nothing_and_calls_its_job_off(
    tmp_path: Path, home: make.Home, number: signal.Signals
) -> None:
    arguments = ("export", "long", "--from", "2024-01-01", "--to", "2024-02-01", "-o", "a.csv")

    with slowly(tmp_path, *arguments) as process:
        job = in_the_middle(home)
        process.send_signal(number)
        ended = process.wait(WITHIN_S)
        assert process.stderr is not None
        complaint = process.stderr.read()
        still_running = session(process.pid)

    assert (ended, complaint) == (130, b"")
    assert still_running == []
    assert files(tmp_path) == []
    stopped = home.services.jobs.get(job.id)
    assert stopped is not None
    assert (stopped.status, stopped.error and stopped.error.code) == ("failed", "EXPORT_CANCELLED")
    assert left_in_store(home) == []


def test_after_a_kill_the_command_gives_a_whole_file(tmp_path: Path, home: make.Home) -> None:
    arguments = ("export", "long", "--from", "2024-01-01", "--to", "2024-02-01", "-o", "a.csv")

    with slowly(tmp_path, *arguments) as process:
        in_the_middle(home)
        process.kill()
        process.wait(WITHIN_S)
    after_the_kill = files(tmp_path)
    said(tmp_path, *arguments)

    assert after_the_kill == []
    assert (tmp_path / "a.csv").read_bytes() == csv_of("long", first=0, rows=MANY)
    assert files(tmp_path) == ["a.csv"]


def test_it_works_beside_a_running_service(tmp_path: Path, home: make.Home) -> None:
    arguments = ("export", "long", "--from", "2024-01-01", "--to", "2024-02-01")

    with running(home.settings.data, workers=2) as service:
        asked = [service.create("long", minutes=MANY) for _ in range(3)]
        for name in ("a.csv", "b.csv"):
            said(tmp_path, *arguments, "-o", name)
        downloads = [(service.completed(job_id), service.download(job_id)) for job_id in asked]
        own = service.download(newest(home).id)

    whole = csv_of("long", first=0, rows=MANY)
    assert {content == whole for _, content in downloads} == {True}
    assert own == (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes() == whole


def test_a_job_without_a_manifest_says_why(tmp_path: Path, home: make.Home) -> None:
    meterport(tmp_path, "export", "nobody", *DAY)
    failed = newest(home).id
    said(tmp_path, "export", "123", *DAY)
    expired = newest(home).id
    expire(home, expired)
    waiting = home.submit(make.request()).id

    assert refusal(tmp_path, "jobs", "manifest", NOBODYS) == (
        f"meterport: JOB_NOT_FOUND: there is no job '{NOBODYS}'; `meterport jobs` lists them"
    )
    assert refusal(tmp_path, "jobs", "manifest", failed) == (
        "meterport: EXPORT_FAILED: the export failed: Smart meter with ID 'nobody' not found "
        "(The specified smart meter does not exist in the system)"
    )
    assert refusal(tmp_path, "jobs", "manifest", expired) == (
        "meterport: EXPORT_EXPIRED: the file is no longer kept; ask for the export again "
        "(METERPORT_KEEP_FILES_DAYS says how long a file is kept)"
    )
    assert refusal(tmp_path, "jobs", "manifest", waiting) == (
        "meterport: EXPORT_NOT_READY: the export is not finished; ask its status and try again"
    )


def expire(home: make.Home, job_id: str) -> None:
    past: dict[str, Any] = {"expires_at": datetime(2024, 2, 1, tzinfo=UTC)}
    with Database(home.settings.jobs_url).write() as connection:
        connection.execute(update(jobs_table).where(jobs_table.c.id == job_id).values(**past))


def test_the_home_is_told_if_it_is_not_there(tmp_path: Path) -> None:
    done = meterport(tmp_path, "export", "123", *DAY, data="nowhere")

    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == (
        b"meterport: START_REFUSED: there is no data folder nowhere; `meterport serve` makes one\n"
    )
    assert os.listdir(tmp_path) == []
