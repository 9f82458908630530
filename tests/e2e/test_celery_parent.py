"""Celery's parent makes no call of Polars before it forks: its children would hang in theirs.

Polars' pool of threads tells: its first call starts it, its import does not, and no fork copies it.
"""

import re
from contextlib import ExitStack
from pathlib import Path

from tests.brokers import free_port
from tests.chaos.harness import spoilt
from tests.e2e.machines import CELERY, end, started
from tests.e2e.service import ENVIRONMENT, session, wait_until

STARTED_BY_CALLS = re.compile(r"polars-\d+|async-executor.*|tokio.*")
CHILDREN = 2


def threads(pid: int) -> set[str]:
    return {path.read_text().strip() for path in Path(f"/proc/{pid}/task").glob("*/comm")}


def started_by_calls(folder: Path, *variants: str) -> set[str]:
    """The threads of a worker's parent which only calls of native libraries start."""
    environment = ENVIRONMENT | {
        "METERPORT_DATA": str(folder),
        "METERPORT_BROKER_URL": f"redis://127.0.0.1:{free_port()}/0",  # the pool does not wait
        **(spoilt(*variants) if variants else {}),
    }
    with ExitStack() as stack:
        parent = started([*CELERY, "-P", "prefork"], environment, folder / "log")
        stack.callback(end, parent)
        wait_until(lambda: len(session(parent.pid)) > CHILDREN)
        return {name for name in threads(parent.pid) if STARTED_BY_CALLS.fullmatch(name)}


def test_a_workers_parent_makes_no_call_of_polars_before_it_forks(tmp_path: Path) -> None:
    assert started_by_calls(tmp_path) == set()


def test_a_parent_that_makes_one_is_caught(tmp_path: Path) -> None:
    assert "polars-0" in started_by_calls(tmp_path, "polars_before_the_fork")


def test_an_import_of_polars_alone_is_not_taken_for_a_call(tmp_path: Path) -> None:
    """Every variant imports it, also one that changes nothing here."""
    assert started_by_calls(tmp_path, "hurried_housekeeping") == set()
