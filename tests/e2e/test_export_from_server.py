"""`meterport export --server`: the same command, and a service elsewhere does the work."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import make
from tests.e2e.service import ENVIRONMENT, Service, running, wait_until

ROWS = make.csv_lines(
    "2024-01-01T00:00:00Z,123,0.5,2.1,230.1,9.1",
    "2024-01-01T00:01:00Z,123,0.6,2.1,230.1,9.1",
)
DAY = ("--from", "2024-01-01", "--to", "2024-01-02")
NAME = "smart_meter_123_20240101_20240102.csv"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    home = make.home(tmp_path / "elsewhere", make.readings(0.5, 0.6), make.readings(1, meter="B"))
    with running(home.settings.data) as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "here"
    made.mkdir()
    return made


def command(service: Service, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "meterport", "export", *arguments, "--server", service.url]


def export(service: Service, folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command(service, *arguments),
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        timeout=100,
        check=False,
    )


def test_the_file_and_its_manifest_come_from_the_service(service: Service, folder: Path) -> None:
    done = export(service, folder, "123", *DAY, "--manifest", "m.json")

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().startswith(f"{NAME}: 2 rows, {len(ROWS)} bytes, no gaps\nsha256 ")
    assert (folder / NAME).read_text() == ROWS
    assert json.loads((folder / "m.json").read_bytes())["rows"] == 2
    assert sorted(path.name for path in folder.iterdir()) == ["m.json", NAME]


def test_options_are_the_services_own(service: Service, folder: Path) -> None:
    words = ("--timezone", "Europe/Berlin", "--decimal", ",", "--columns", "timestamp,energy_kwh")

    done = export(service, folder, "123", *DAY, *words, "-o", "-")

    assert done.stdout == b"timestamp;energy_kwh\n" + b"".join(
        f"2024-01-01T01:0{n}:00+01:00;0,{5 + n}\n".encode() for n in range(2)
    )


def test_several_meters_and_all_of_them(service: Service, folder: Path) -> None:
    two = export(service, folder, "123", "B", *DAY, "-o", "two.csv")
    every = export(service, folder, "all", *DAY, "-o", "all.csv")

    assert (two.returncode, every.returncode) == (0, 0)
    assert (folder / "two.csv").read_bytes() == (folder / "all.csv").read_bytes()
    assert (folder / "all.csv").read_text().count("\n") == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nobody", *DAY), "SMART_METER_NOT_FOUND: Smart meter with ID 'nobody' not found"),
        (("123", *DAY, "--format", "doc"), "UNSUPPORTED_FORMAT: format 'doc' is not supported"),
        (("123", *DAY, "--format", "json", "--bom"), "INVALID_REQUEST: the options under csv say"),
        (("123", "--from", "x", "--to", "y"), "INVALID_REQUEST: "),
        (("123", *DAY, "-o", "no/a.csv"), "INVALID_REQUEST: there is no folder no"),
    ],
)
def test_what_cannot_be_done_is_the_services_own_sentence(
    service: Service, folder: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = export(service, folder, *arguments)

    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode().startswith(f"meterport: {said}")
    assert done.stderr.count(b"\n") == 1
    assert list(folder.iterdir()) == []


def test_an_address_that_is_none_is_told(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "meterport", "export", "123", *DAY, "--server", "localhost:1"],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert (done.returncode, done.stderr) == (
        1,
        "meterport: SERVICE_UNAVAILABLE: --server localhost:1: "
        "the service's address begins with http:// or https://\n",
    )


def test_a_command_that_is_stopped_calls_its_export_off(service: Service, folder: Path) -> None:
    with service.paused():
        process = subprocess.Popen(
            command(service, "123", *DAY),
            cwd=folder,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        (export_,) = wait_until(lambda: service.http.get("/api/exports").json()["items"])
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=60)

    assert (process.returncode, complaint) == (130, b"")
    ended = wait_until(lambda: _ended(service, export_["id"]))
    assert ended["phase"] == "cancelled"
    assert list(folder.iterdir()) == []


def _ended(service: Service, export_id: str) -> dict[str, object] | None:
    told: dict[str, object] = service.http.get(f"/api/exports/{export_id}").json()
    return told if "error" in told else None
