"""R5: what is said to be done has reached the disk before, in this order.

Export: the part's last write < fsync(part) < rename to its final name < fsync(folder of the job),
        fsync(exports) < the commit that says `completed`, down to the sync of its journal.
Import: each data file's last write < fsync < rename < fsync(month) < its log entry has its name;
        the entry's last write < fsync < link to its name < fsync(log folder) < the catalogue's
        commit < acknowledged.
POST:   the request is read < the row is written < its commit is synced < 202 is sent.
Seen in one run of each under strace, from all threads, SQLite and Delta Lake included.
"""

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import httpx2
import pytest

from tests import make
from tests.chaos.calls import LINKS, RENAMES, SYNCS, WRITES, Call, commits, unsynced
from tests.chaos.cases import Case
from tests.chaos.faults import Tracer, traced
from tests.chaos.harness import WITHIN_S, Chaos, wait_until

pytestmark = pytest.mark.promise("R5")

NOWHERE = -1


class Log:
    """The calls of a run; each question is answered with the place of the last such call."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self.calls = calls
        self.commits = commits(calls)

    def written(self, path: Path) -> int:
        return self._last(path, lambda call: call.name in WRITES or call.creates)

    def synced(self, path: Path) -> int:
        return self._last(path, lambda call: call.name in SYNCS)

    def named(self, path: Path) -> int:
        def gave_it(call: Call) -> bool:
            return call.name in RENAMES | LINKS and call.path == str(path)

        return self._last(path, gave_it)

    def talked(self, name: str, begin: str) -> int:
        told = (at for at, c in enumerate(self.calls) if c.name == name and begin in c.said)
        return next(told, NOWHERE)

    def _last(self, path: Path, kind: Callable[[Call], bool]) -> int:
        names = self._names(str(path))
        calls = enumerate(self.calls)
        found = [at for at, call in calls if call.done and call.path in names and kind(call)]
        return max(found, default=NOWHERE)

    def _names(self, path: str) -> set[str]:
        """That name, and all that the file had before."""
        names = {path}
        for call in reversed(self.calls):
            if call.name in RENAMES | LINKS and call.done and call.path in names:
                names.add(call.paths[0])
        return names


def in_order(chaos: Chaos, what: str, **places: int) -> None:
    chaos.count(orders=1)
    order = list(places.values())
    right = NOWHERE not in order and order == sorted(order)
    chaos.expect(right, f"{what}: not in order, or missing: {places}")


def export_in_order(chaos: Chaos, case: Case, tracer: Tracer, folder: Path) -> None:
    home = case.fresh(folder)
    log = Log(tracer.run(case.do, home.settings.data, **case.order))
    database = home.settings.data / "meterport.db"
    for _, file in home.services.archive.kept_files():
        final = home.settings.files / file.key
        in_order(
            chaos,
            "export",
            written=log.written(final),
            synced=log.synced(final),
            named=log.named(final),
            folder_synced=log.synced(final.parent),
            exports_synced=log.synced(home.settings.files),
            row_written=_last_write_to_database(log, database),
            committed=max(log.commits, default=NOWHERE),
        )
        at_risk = unsynced(log.calls) & {str(final), str(final.parent)}
        chaos.expect(not at_risk, f"a power cut might take {at_risk}")
        chaos.count(publishes=1)


def import_in_order(chaos: Chaos, case: Case, tracer: Tracer, folder: Path) -> None:
    home, done = case.fresh(folder), folder / "done"
    log = Log(tracer.run(case.do, home.settings.data, done=str(done), **case.order))
    readings = home.settings.readings
    entry = readings / "_delta_log" / f"{2:020}.json"
    for final in _new_files(log, readings):
        in_order(
            chaos,
            "data file",
            written=log.written(final),
            synced=log.synced(final),
            named=log.named(final),
            month_synced=log.synced(final.parent),
            entry_named=log.named(entry),
        )
        chaos.count(publishes=1)
    log_synced = log.synced(entry.parent)
    later = [at for at in log.commits if at > log_synced] + [NOWHERE]
    in_order(
        chaos,
        "log entry",
        written=log.written(entry),
        synced=log.synced(entry),
        named=log.named(entry),
        log_synced=log_synced,
        catalogue_committed=later[0],
        acknowledged=log.written(done),
    )
    at_risk = unsynced(log.calls) & {str(entry), *map(str, readings.glob("month=*/*"))}
    chaos.expect(not at_risk, f"a power cut might take {at_risk}")


def post_in_order(chaos: Chaos, case: Case, tracer: Tracer, folder: Path) -> None:
    home, port = case.fresh(folder), _free_port()
    statuses: list[int] = []

    def post() -> None:
        url = f"http://127.0.0.1:{port}"
        with httpx2.Client(base_url=url, trust_env=False, timeout=WITHIN_S) as http:
            wait_until(lambda: _listens(port))
            statuses.append(http.post("/api/export/csv", json=make.body()).status_code)

    log = Log(tracer.watch("api", home.settings.data, post, port=port))
    chaos.expect(statuses == [202], f"the answer was {statuses}")
    asked, answered = log.talked("recvfrom", "POST /api"), log.talked("sendto", "HTTP/1.1 202")
    before = Log(log.calls[:answered])
    in_order(
        chaos,
        "POST",
        asked=asked,
        row_written=_last_write_to_database(before, home.settings.data / "meterport.db"),
        committed=max(before.commits, default=NOWHERE),
        answered=answered,
    )
    chaos.count(posts=1)


def _last_write_to_database(log: Log, database: Path) -> int:
    return max(log.written(database), log.written(database.with_name("meterport.db-wal")))


def _new_files(log: Log, readings: Path) -> Iterator[Path]:
    for path in sorted(readings.glob("month=*/*.parquet")):
        if log.named(path) != NOWHERE:
            yield path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


ORDERS = {
    "export": ("export", export_in_order),
    "import": ("import", import_in_order),
    "post": ("export", post_in_order),
}


@pytest.mark.parametrize("order", ORDERS)
def test_what_is_said_is_on_the_disk_before(
    chaos: Chaos, cases: Mapping[str, Case], tmp_path: Path, order: str
) -> None:
    name, in_order_ = ORDERS[order]
    with traced(tmp_path / "zygote") as tracer:
        in_order_(chaos, cases[name], tracer, tmp_path)

    assert chaos.found == []


@pytest.mark.parametrize("layer", [False, True], ids=["traced", "layer"])
@pytest.mark.parametrize(
    ("order", "variant"),
    [
        ("export", "no_fsync"),
        ("export", "commit_before_rename"),
        ("import", "no_fsync"),
        ("import", "log_before_data"),
        ("post", "no_sync_in_database"),
    ],
)
def test_a_product_in_another_order_is_caught(
    chaos: Chaos, cases: Mapping[str, Case], tmp_path: Path, order: str, variant: str, layer: bool
) -> None:
    broken, (name, in_order_) = chaos.toothless(variant), ORDERS[order]

    with traced(tmp_path / "zygote", variant, layer=layer) as tracer:
        in_order_(broken, cases[name], tracer, tmp_path)

    assert broken.found
