"""The chaos tests' chance, counts and closing table."""

import os
import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.chaos import report
from tests.chaos.cases import CASES, Case
from tests.chaos.harness import Chaos, drawn_seed

SEED = pytest.StashKey[int]()
COUNTS = pytest.StashKey[dict[str, Counter[str]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SEED] = drawn_seed()
    config.stash[COUNTS] = {}


@pytest.fixture
def chaos(request: pytest.FixtureRequest) -> Chaos:
    """Of the test that says with `pytest.mark.promise("R1")` which of the catalogue it is."""
    mark = request.node.get_closest_marker("promise")
    name = str(mark.args[0])
    seed = request.config.stash[SEED]
    counts = request.config.stash[COUNTS].setdefault(name, Counter())
    chance = random.Random(f"{seed}:{request.node.nodeid}")  # noqa: S311 - to be replayed
    return Chaos(name, seed, counts, chance, full=os.environ.get("METERPORT_CHAOS") == "full")


@pytest.fixture(scope="session")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Case]:
    return {name: case(tmp_path_factory.mktemp(name)) for name, case in CASES.items()}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    config = terminalreporter.config
    counts = {name: dict(found) for name, found in config.stash[COUNTS].items() if found}
    if not counts:
        return
    seed = config.stash[SEED]
    terminalreporter.section(f"chaos, METERPORT_CHAOS_SEED={seed}")
    terminalreporter.write_line(report.as_text(counts))
    record_to = os.environ.get("METERPORT_CHAOS_RECORD")
    if record_to and not terminalreporter.stats.get("failed"):
        report.record(counts, seed=seed, to=Path(record_to))
