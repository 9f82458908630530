"""The chaos tests' chance and cases."""

import os
import random
from collections import Counter
from collections.abc import Mapping

import pytest

from tests.chaos.cases import CASES, Case
from tests.chaos.counts import COUNTS, SEED
from tests.chaos.harness import Chaos


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
