"""R2: a worker and an import are killed after every call that changes a file.

Covered: each call of the whole process, in the order in which its threads make them: creating
(open with O_CREAT or O_TRUNC), writing, syncing, renaming, linking, removing files and folders in
the data folder, SQLite's and Delta Lake's own calls among them. A kill after the n-th call leaves
what a kill before the (n + 1)-th leaves; a kill before the first leaves the home as it was.
After each kill: what a user may see (tests/chaos/cases.py), and what the next process makes of it,
up to the disk: what it acknowledges is synced, also where the killed one had not come to it.
Few: calls that are drawn, and each that gives a file its final name; full: every call, until the
work is done before the kill comes.
"""

from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

import pytest

from tests.chaos.calls import LINKS, RENAMES, Call
from tests.chaos.cases import Case, time_passes
from tests.chaos.faults import Tracer, traced
from tests.chaos.harness import Chaos

pytestmark = pytest.mark.promise("R2")

NEVER = 1_000_000


def kill_after(call: int, chaos: Chaos, case: Case, tracer: Tracer, folder: Path) -> list[Call]:
    """The calls that it made."""
    home, earlier = case.fresh(folder), len(chaos.found)
    data, first, second = home.settings.data, folder / "first", folder / "second"
    calls = tracer.run(case.do, data, kill_at=call, done=str(first), **case.order)
    made = [call for call in calls if call.changes(data)]
    case.check(chaos, home, acknowledged=first.exists())
    time_passes(home)
    calls += tracer.run(case.do, data, done=str(second), **case.order)
    chaos.expect(second.exists(), "the second process did not finish")
    case.check_done(chaos, home)
    at_risk = case.at_risk(home, calls)
    chaos.expect(not at_risk, f"acknowledged, but a power cut might take {at_risk}")
    at = f"after call {len(made)}, {made[-1]}"
    chaos.found[earlier:] = [f"{at}: {said}" for said in chaos.found[earlier:]]
    return made


def some_of(chaos: Chaos, made: Sequence[Call]) -> list[int]:
    named = {at for at, call in enumerate(made, 1) if call.name in RENAMES | LINKS}
    return sorted(named | set(chaos.some(range(1, len(made) + 1), 22)))


@pytest.mark.parametrize("name", ["export", "import"])
def test_killed_after_any_call_it_loses_nothing(
    chaos: Chaos, cases: Mapping[str, Case], tmp_path: Path, name: str
) -> None:
    case = cases[name]
    with traced(tmp_path / "zygote") as tracer:
        whole = kill_after(NEVER, chaos, case, tracer, tmp_path / "whole")
        for call in count(1) if chaos.full else some_of(chaos, whole):
            made = kill_after(call, chaos, case, tracer, tmp_path / str(call))
            if len(made) < call:
                break
            chaos.count(points=1, **{f"{name}s": 2})

    assert chaos.found == []


@pytest.mark.parametrize(
    ("name", "variant"), [("export", "commit_before_rename"), ("import", "log_before_data")]
)
@pytest.mark.parametrize("layer", [False, True], ids=["traced", "layer"])
def test_a_product_without_that_order_is_caught(
    chaos: Chaos, cases: Mapping[str, Case], tmp_path: Path, name: str, variant: str, layer: bool
) -> None:
    """Both orders go wrong near the end, so it is looked for from there."""
    broken, case = chaos.toothless(variant), cases[name]

    with traced(tmp_path / "zygote", variant, layer=layer) as tracer:
        made = kill_after(NEVER, broken, case, tracer, tmp_path / "whole")
        for call in range(len(made), 0, -1):
            kill_after(call, broken, case, tracer, tmp_path / str(call))
            if broken.found:
                break

    assert broken.found
