"""R6: fsync or fdatasync returns EIO. What was not synced is never called done.

Covered: every fsync (parts, data files, folders, log entries) and every fdatasync (SQLite's journal
and database) of one export and one import; few: some of them, drawn. All of them are the main
thread's, unless a heartbeat comes between; then the heartbeat's n-th fails beside its n-th.
After each: the row never says `completed`, and no import is acknowledged, where its own file's or
folder's sync failed; a process without the fault then does the work, with the expected bytes, and
what is acknowledged in the end would survive a power cut.
Not promised: SQLite itself passes over an error of the folder's sync that follows the making of its
journal. Journals are truncated, not removed, so the name is there since the first start.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests import make
from tests.chaos.calls import SYNCS, Call
from tests.chaos.cases import Case, time_passes
from tests.chaos.faults import Tracer, traced
from tests.chaos.harness import Chaos

pytestmark = pytest.mark.promise("R6")


def fail_sync(sync: str, chaos: Chaos, case: Case, tracer: Tracer, folder: Path) -> int:
    """How many syncs failed."""
    home, earlier = case.fresh(folder), len(chaos.found)
    data, first, second = home.settings.data, folder / "first", folder / "second"
    calls = tracer.run(case.do, data, fail_sync=sync, done=str(first), **case.order)
    failed = [call.path for call in calls if call.injected]
    _check_failed(chaos, case, home, calls, acknowledged=first.exists())
    time_passes(home)
    calls += tracer.run(case.do, data, done=str(second), **case.order)
    chaos.expect(second.exists(), "the second process did not finish")
    case.check_done(chaos, home)
    at_risk = case.at_risk(home, calls)
    chaos.expect(not at_risk, f"acknowledged, but a power cut might take {at_risk}")
    chaos.found[earlier:] = [f"{sync}, {failed}: {said}" for said in chaos.found[earlier:]]
    return len(failed)


def _check_failed(
    chaos: Chaos, case: Case, home: make.Home, calls: Sequence[Call], *, acknowledged: bool
) -> None:
    """A worker goes on after a failed attempt, so of an export only the row is a promise."""
    if case.do == "import":
        by_sqlite = str(home.settings.data)
        failed = any(call.injected and call.path != by_sqlite for call in calls)
        chaos.expect(not (failed and acknowledged), "acknowledged, though a sync had failed")
        case.check(chaos, home, acknowledged=acknowledged)
    else:
        case.check(chaos, home, acknowledged=False)
        at_risk = case.at_risk(home, calls)
        chaos.expect(not at_risk, f"completed, but a power cut might take {at_risk}")


def syncs_of(case: Case, tracer: Tracer, folder: Path) -> list[str]:
    """All of a run that nothing disturbs, as "fsync:1", "fsync:2" …"""
    calls = tracer.run(case.do, case.fresh(folder).settings.data, **case.order)
    made = Counter(call.name for call in calls if call.name in SYNCS)
    return [f"{name}:{n}" for name in sorted(made) for n in range(1, made[name] + 1)]


@pytest.mark.parametrize("name", ["export", "import"])
def test_what_was_not_synced_is_not_called_done(
    chaos: Chaos, cases: Mapping[str, Case], tmp_path: Path, name: str
) -> None:
    case = cases[name]
    with traced(tmp_path / "zygote") as tracer:
        syncs = syncs_of(case, tracer, tmp_path / "whole")
        for sync in chaos.some(syncs, 6):
            failed = fail_sync(sync, chaos, case, tracer, tmp_path / sync)
            chaos.count(failed_syncs=failed, **{f"{name}s": 2})

    assert chaos.found == []


@pytest.mark.parametrize("layer", [False, True], ids=["traced", "layer"])
@pytest.mark.parametrize("name", ["export", "import"])
def test_a_product_that_ignores_it_is_caught(
    chaos: Chaos, cases: Mapping[str, Case], tmp_path: Path, name: str, layer: bool
) -> None:
    broken, case = chaos.toothless(f"ignores_eio:{name}"), cases[name]

    with traced(tmp_path / "zygote", "ignores_eio", layer=layer) as tracer:
        for number in range(1, 5):
            fail_sync(f"fsync:{number}", broken, case, tracer, tmp_path / str(number))
            if broken.found:
                break

    assert broken.found
