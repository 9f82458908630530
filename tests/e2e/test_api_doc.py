"""docs/api.md is true: its curl lines run, one after the other, and so does its Python."""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import make
from tests.e2e.service import COMMAND, ENVIRONMENT, Service, running
from tests.unit import pages

PAGE = pages.read("docs/api.md")
ADDRESSES = ("http://127.0.0.1:8000", "http://localhost:8000", "localhost:8000")
STRICT = f"""set -e
curl() {{ command curl --silent --show-error --fail-with-body "$@"; echo; }}
meterport() {{ {shlex.join(COMMAND)} "$@"; }}
"""
"""A line that the service refuses ends the script, and says with which answer."""


def blocks(language: str) -> list[str]:
    return [block.text for block in pages.blocks(PAGE) if block.language == language]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    home = make.home(tmp_path / "home", make.many_readings(44_640), make.readings(1, meter="A-1"))
    with running(home.settings.data) as made:
        yield made


def run(command: list[str], script: str, service: Service, folder: Path) -> str:
    for address in ADDRESSES:
        script = script.replace(address, service.url)
    done = subprocess.run(
        command,
        input=script,
        cwd=folder,
        env=ENVIRONMENT | {"METERPORT_DATA": str(service.data)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    return done.stdout


def test_every_line_of_the_shell_runs(service: Service, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("NO CURL: the lines of docs/api.md are not run")
    rows = ["timestamp,Usage", "2024-03-01T00:00,500", "2024-03-01T00:15,250"]
    make.write(tmp_path, "readings.csv", rows)
    lines = blocks("sh")

    told = run(["bash"], STRICT + "\n".join(lines), service, tmp_path)

    assert len(lines) >= 12
    assert (tmp_path / "january-1.csv").read_text().count("\n") == 1441
    by_link = tmp_path / "january-by-link.csv"
    assert by_link.read_bytes() == (tmp_path / "january-1.csv").read_bytes()
    assert '"rows_new":2,' in told
    assert "event: " in told


def test_the_python_runs(service: Service, tmp_path: Path) -> None:
    (script,) = blocks("python")

    run([sys.executable, "-"], script, service, tmp_path)

    (file,) = tmp_path.glob("*.parquet")
    assert file.read_bytes()[:4] == b"PAR1"
