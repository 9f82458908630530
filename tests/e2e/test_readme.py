"""The README's commands, run as printed; only the port is a free one."""

import gzip
import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest

from tests import make

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def shell_blocks(section: str) -> list[str]:
    text = README.partition(f"## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", text, re.DOTALL)


@contextmanager
def serving(data: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "meterport", "serve", "--data", str(data), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split(" on ")[1].split()[0]
        finally:
            process.terminate()


def test_the_curl_lines_work_as_printed(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("NO CURL: the README's lines were not run")
    home = make.home(tmp_path, make.readings(0.5, 0.6))
    (lines,) = shell_blocks("Three curl lines")
    assert lines.count("curl ") == 3

    with serving(home.settings.data) as base_url:
        script = lines.replace("http://127.0.0.1:8000", base_url)
        done = subprocess.run(
            ["bash", "-e", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    assert done.returncode == 0, done.stderr
    assert '"job_id":"' in done.stdout
    assert (tmp_path / "smart_meter_123_20240101_20240131.csv").read_text() == make.csv_lines(
        "2024-01-01T00:00:00Z,123,0.5,2.1,230.1,9.1", "2024-01-01T00:01:00Z,123,0.6,2.1,230.1,9.1"
    )


def test_the_lines_about_formats_work_as_printed(tmp_path: Path) -> None:
    home = make.home(
        tmp_path,
        make.readings(0.5, 0.25, meter="123", interval_s=1800),
        make.readings(1.0, meter="124", interval_s=1800),
    )
    (lines,) = shell_blocks("Formats")
    assert lines.count("meterport export ") == len(lines.splitlines()) == 3

    done = subprocess.run(
        ["bash", "-e", "-c", f'meterport() {{ "{sys.executable}" -m meterport "$@"; }}\n{lines}'],
        cwd=tmp_path,
        env={
            "METERPORT_DATA": str(home.settings.data),
            "PYTHONPATH": str(ROOT / "src"),
            "PATH": "/usr/bin:/bin",
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "hours.csv").read_text() == (
        make.HEADER + ",gap\n2024-01-01T01:00:00+01:00,123,0.75,2.1,230.1,9.1,\n"
    )
    feed = gzip.decompress((tmp_path / "green-button.xml.gz").read_bytes())
    assert b"<value>500000</value>" in feed
    table = pl.read_parquet(tmp_path / "all.parquet")
    assert table["smart_meter_id"].to_list() == ["123", "123", "124"]
    assert json.loads((tmp_path / "all.json").read_text())["energy_kwh"] == {
        "123": 0.75,
        "124": 1.0,
    }


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    (lines,) = shell_blocks("Two commands")

    targets = re.findall(r"^make ([a-z-]+)", lines, re.MULTILINE)

    assert targets == ["demo", "test"]
    for target in targets:
        dry = subprocess.run(
            ["make", "--dry-run", target], cwd=ROOT, check=False, capture_output=True
        )
        assert dry.returncode == 0


def test_make_alone_prints_what_there_is() -> None:
    printed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    for target in ("demo", "test", "setup", "check", "serve", "bench"):
        assert f"make {target} " in printed


def test_the_demo_does_the_main_job(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "meterport", "demo", "--data", str(data)],
            env={"METERPORT_PORT": str(port), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "2024-01-01T00:00:00Z,123," in done.stdout
    assert "44568/44568" in done.stdout
    assert done.stderr == ""
    file = data / "downloads" / "smart_meter_123_20240101_20240131.csv"
    assert len(file.read_text().splitlines()) == 44_569


def test_the_distributed_demo_ends_with_a_verified_file(tmp_path: Path) -> None:
    (line,) = shell_blocks("More than one machine")
    assert line == "make demo-distributed\n"
    dry = subprocess.run(
        ["make", "--dry-run", "demo-distributed"], cwd=ROOT, check=True, capture_output=True
    )
    assert "python -m deploy.one_machine\n" in dry.stdout.decode()

    done = subprocess.run(
        [sys.executable, "-m", "deploy.one_machine", "--days", "30"],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Killed:   a worker" in done.stdout
    assert "Verified: SHA-256" in done.stdout
    (file,) = (tmp_path / "meterport-data" / "downloads").iterdir()
    lines = file.read_text().splitlines()
    assert lines[0] == "timestamp,smart_meter_id,energy_kwh,power_kw,voltage_v,current_a"
    assert f"({file.stat().st_size:,} bytes, {len(lines) - 1:,} rows)" in done.stdout
    assert len({line.split(",")[1] for line in lines[1:]}) == 200
