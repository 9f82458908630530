"""R18, Schemathesis: what docs/openapi.json says is so, whatever is asked within it or beside it.

Schemathesis makes requests from the document in four phases (its examples, the bounds of every
value, drawn ones, and series in which answers feed the next requests), and checks every answer:
tests/schemathesis.toml says what is not checked, and why.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from meterport.domain.access import Scope
from tests import make
from tests.chaos.broken_answers import AGAINST_THE_DOCUMENT
from tests.chaos.harness import ROOT, Chaos, quiet_logs
from tests.chaos.live import live
from tests.openapi import CHECKED_IN, checked_in, operations
from tests.unit import keyed

pytestmark = pytest.mark.promise("R18, Schemathesis")

WITHIN_S = 7200
PHASES = "examples,coverage,fuzzing,stateful"
FOUND, NOTHING_FOUND = 1, 0


@pytest.fixture
def home(tmp_path: Path) -> make.Home:
    return make.home(tmp_path, make.many_readings(50), make.many_readings(50, meter="A"))


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with quiet_logs():
        yield


def asked(folder: Path, url: str, *options: str) -> "subprocess.CompletedProcess[str]":
    config = str(ROOT / "tests" / "schemathesis.toml")
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", config]
    command += ["run", str(CHECKED_IN), "--url", url, "--no-color", *options]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=WITHIN_S, check=False
    )


def check_all(chaos: Chaos, folder: Path, url: str, *options: str, phases: str = PHASES) -> None:
    options += ("--phases", phases, "--seed", str(chaos.seed))
    done = asked(folder, url, *options)

    assert done.returncode == NOTHING_FOUND, done.stdout + done.stderr
    generated, passed = re.findall(r"(\d+) generated, (\d+) passed", done.stdout)[0]
    chaos.count(requests=int(generated), as_documented=int(passed))
    number = len(operations(checked_in()))
    assert f"{number} selected / {number} total" in done.stdout


@pytest.mark.timeout(WITHIN_S)
def test_what_the_document_says_is_so(chaos: Chaos, home: make.Home, tmp_path: Path) -> None:
    with live(home) as url:
        check_all(chaos, tmp_path, url, "--max-examples", str(chaos.size(8, full=400)))


@pytest.mark.timeout(WITHIN_S)
@pytest.mark.parametrize(
    ("scopes", "meters", "phases"),
    [(list(Scope), ["*"], PHASES), (["read"], ["123"], "examples,fuzzing")],
    ids=["all", "few"],
)
def test_it_is_so_with_a_key(
    chaos: Chaos,
    home: make.Home,
    tmp_path: Path,
    scopes: list[str],
    meters: list[str],
    phases: str,
) -> None:
    """The limits of a key are switched off."""
    key = keyed.key(home, scopes=scopes, meters=meters)["Authorization"]
    examples = ("--max-examples", str(chaos.size(1, full=200)))
    options = ("--header", f"Authorization: {key}", *examples)

    with live(keyed.home_of(home, creates_per_minute=0, max_active_exports=0)) as url:
        phases = PHASES if chaos.full else phases
        check_all(chaos, tmp_path, url, *options, phases=phases)


@pytest.mark.parametrize("variant", AGAINST_THE_DOCUMENT)
def test_a_product_that_is_not_as_documented_is_caught(
    chaos: Chaos,
    home: make.Home,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variant: str,
) -> None:
    broken = chaos.toothless(variant)
    operation, spoil = AGAINST_THE_DOCUMENT[variant]
    spoil(monkeypatch)

    with live(home) as url:
        options: tuple[str, ...] = ("--phases", "coverage,fuzzing")
        # As many as make it sure that what is broken is met, whatever the seed.
        options += ("--include-operation-id", operation, "--max-examples", "300")
        options += ("--seed", str(broken.seed), "--max-failures", "1", "--no-shrink")
        done = asked(tmp_path, url, *options)

    assert done.returncode == FOUND, done.stdout + done.stderr
