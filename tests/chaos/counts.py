"""The run's seed, and what the chaos tests counted: told at the end, and recorded if wanted.

Of a run in several processes the first draws the seed for all, and sums up what they counted.
"""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import report
from tests.chaos.harness import add, drawn_seed

SEED = pytest.StashKey[int]()
COUNTS = pytest.StashKey[dict[str, Counter[str]]]()


class ChaosCounts:
    """To be registered with pytest when it is configured."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        given = getattr(config, "workerinput", {}).get("chaos_seed")
        config.stash[SEED] = given or drawn_seed()
        config.stash[COUNTS] = {}

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput["chaos_seed"] = self._config.stash[SEED]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        for name, counts in getattr(node, "workeroutput", {}).get("chaos", {}).items():
            add(self._config.stash[COUNTS].setdefault(name, Counter()), counts)

    def pytest_sessionfinish(self) -> None:
        output = getattr(self._config, "workeroutput", None)
        if output is not None:
            output["chaos"] = {name: dict(c) for name, c in self._config.stash[COUNTS].items()}

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        counted = self._config.stash[COUNTS].items()
        counts = {name: dict(found) for name, found in counted if found}
        if not counts:
            return
        seed = self._config.stash[SEED]
        terminalreporter.section(f"chaos, METERPORT_CHAOS_SEED={seed}")
        terminalreporter.write_line(report.as_text(counts))
        record_to = os.environ.get("METERPORT_CHAOS_RECORD")
        if record_to and not terminalreporter.stats.get("failed"):
            report.record(counts, seed=seed, to=Path(record_to))
