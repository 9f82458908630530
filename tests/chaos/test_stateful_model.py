"""R19: exports are what a simple model says, whatever happens to them in whatever order.

Full: 500 sequences of 50 steps; four runs have the 2,000 of the catalogue.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import structlog
from httpx2 import Response
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from meterport.adapters import sql_jobs
from meterport.adapters.local_files import LocalFiles
from meterport.adapters.sql_jobs import SqlJobs
from meterport.domain import jobs
from meterport.web import download
from tests import make
from tests.chaos.exports_model import METER, ROWS, UNKNOWN_METER, WHO, Export, Real, Who, Wish
from tests.chaos.harness import Chaos

pytestmark = pytest.mark.promise("R19")

STEPS = 50
WISHES = st.builds(
    Wish, st.sampled_from([METER, METER, METER, UNKNOWN_METER]), st.sampled_from([1, 60, 2 * ROWS])
)
ANYBODY = st.sampled_from(WHO)
DRAWN = st.integers(0, 10_000)


class Exports(RuleBasedStateMachine):
    """Rules draw any number, and mean the export at that place of those that fit."""

    template: ClassVar[Path]
    chaos: ClassVar[Chaos]

    def __init__(self) -> None:
        super().__init__()
        self.real = Real(self.template)
        self.exports: dict[str, Export] = {}
        self.keys: dict[tuple[Who, str], Export] = {}
        self.steps = 0

    def teardown(self) -> None:
        try:
            for who in WHO:
                self.history(who=who)
            for export in self.exports.values():
                self.is_told(export)
                self.is_downloaded(export)
        finally:
            self.real.end()
        self.chaos.count(sequences=1, steps=self.steps, exports=len(self.exports))

    # What is asked for.

    @initialize(who=ANYBODY, wish=WISHES)
    def begin(self, who: Who, wish: Wish) -> None:
        self.create(who=who, wish=wish, rich=False)

    @rule(who=ANYBODY, wish=WISHES, rich=st.booleans())
    def create(self, who: Who, wish: Wish, rich: bool) -> None:
        self._accepted(self._post(who, wish, rich=rich), Export("", who, wish))

    @rule(who=ANYBODY, wish=WISHES, rich=st.booleans(), key=st.sampled_from("ab"))
    def create_with_key(self, who: Who, wish: Wish, rich: bool, key: str) -> None:
        answer = self._post(who, wish, rich=rich, key=key)
        earlier = self.keys.get((who, key))
        if earlier is None:
            self.keys[who, key] = self._accepted(answer, Export("", who, wish))
        elif earlier.wish == wish:
            assert (answer.status_code, _id_in(answer)) == (202, earlier.id)
            assert answer.headers["Idempotency-Replayed"] == "true"
        else:
            assert _refusal(answer) == (422, "IDEMPOTENCY_KEY_REUSED")

    @precondition(lambda self: self.keys)
    @rule(n=DRAWN, rich=st.booleans())
    def repeat(self, n: int, rich: bool) -> None:
        """As a client does that got no answer."""
        (who, key), export = list(self.keys.items())[n % len(self.keys)]
        self.create_with_key(who=who, wish=export.wish, rich=rich, key=key)

    @precondition(lambda self: self.exports)
    @rule(n=DRAWN)
    def rerun(self, n: int) -> None:
        earlier = self._any(n)
        answer = self._ask(earlier, "POST", f"/api/exports/{earlier.id}/rerun")
        self._accepted(answer, Export("", earlier.who, earlier.wish))

    @rule(n=DRAWN)
    def cancel(self, n: int) -> None:
        export = self._any(n)
        answer = self._ask(export, "POST", f"/api/exports/{export.id}/cancel")
        if export.has_ended:
            assert _refusal(answer) == (409, "EXPORT_NOT_CANCELLABLE")
        else:
            export.cancelled()
            assert (answer.status_code, answer.json()["phase"]) == (200, "cancelled")

    @rule(n=DRAWN)
    def delete(self, n: int) -> None:
        export = self._any(n)
        assert self._ask(export, "DELETE", f"/api/exports/{export.id}").status_code == 204
        export.deleted()

    # What befalls it.

    @precondition(lambda self: self._those("is_free"))
    @rule(n=DRAWN)
    def work(self, n: int) -> None:
        export = self._any(n, "is_free")
        self.real.work(export.id)
        export.worked(self.real.most_crashes)

    @precondition(lambda self: self._those("is_free"))
    @rule()
    def work_all(self) -> None:
        for export in self._those("is_free"):
            self.real.work(export.id)
            export.worked(self.real.most_crashes)

    @precondition(lambda self: self._those("is_free"))
    @rule(n=DRAWN)
    def kill(self, n: int) -> None:
        export = self._any(n, "is_free")
        self.real.kill_a_worker_at(export.id)
        export.killed()

    @precondition(lambda self: self._those("held"))
    @rule(n=DRAWN)
    def lease_runs_out(self, n: int) -> None:
        export = self._any(n, "held")
        self.real.let_lease_run_out(export.id)
        export.lease_has_run_out()

    @precondition(lambda self: self._those("has_file"))
    @rule(n=DRAWN)
    def expire(self, n: int) -> None:
        export = self._any(n, "has_file")
        self.real.let_file_expire(export.id)
        export.phase = jobs.Phase.EXPIRED

    @rule()
    def sweep(self) -> None:
        self.real.sweep()
        for export in self.exports.values():
            export.has_file &= export.phase is jobs.Phase.COMPLETED
        _, drafts = self.real.files()
        assert drafts <= {export.id for export in self._those("held")}

    @rule()
    def restart(self) -> None:
        self.real.restart()

    # What is looked at.

    @rule(n=DRAWN)
    def status(self, n: int) -> None:
        self.is_told(self._any(n))

    @rule(n=DRAWN)
    def download(self, n: int) -> None:
        self.is_downloaded(self._any(n))

    @precondition(lambda self: self._those("has_file"))
    @rule(n=DRAWN, first=st.integers(0, 20_000), length=st.integers(1, 20_000))
    def download_range(self, n: int, first: int, length: int) -> None:
        export = self._any(n, "has_file")
        asked = {"Range": f"bytes={first}-{first + length - 1}"}
        answer = self._ask(export, "GET", f"/api/export/download/{export.id}", asked)
        whole = export.wish.csv
        if export.download_status != 200:
            assert answer.status_code == export.download_status
        elif first >= len(whole):
            assert _refusal(answer) == (416, "RANGE_NOT_SATISFIABLE")
        else:
            assert answer.status_code == 206
            assert answer.content == whole[first : first + length]

    @rule(who=ANYBODY)
    def history(self, who: Who) -> None:
        found = self.real.ask(who, "GET", "/api/exports?limit=200").json()["items"]
        expected = {each.id: each.phase for each in self.exports.values() if each.who == who}
        assert {entry["id"]: entry["phase"] for entry in found} == expected

    @invariant()
    def what_was_accepted_is_there_and_nothing_else(self) -> None:
        self.steps += 1
        expected = {export.id: export.phase for export in self.exports.values()}
        assert self.real.phases() == expected

    @invariant()
    def files_are_of_those_that_have_one(self) -> None:
        files, _ = self.real.files()
        assert files == {export.id for export in self._those("has_file")}

    def is_told(self, export: Export) -> None:
        """In both tiers."""
        rich = self._ask(export, "GET", f"/api/exports/{export.id}").json()
        assert (rich["phase"], rich["attempt"]) == (export.phase, export.attempts)
        frozen = self._ask(export, "GET", f"/api/export/status/{export.id}").json()
        assert (frozen["job_id"], frozen["status"]) == (export.id, export.status)
        if frozen["status"] == "completed":
            assert frozen["file_info"]["record_count"] == export.wish.rows
            assert rich["file"]["size_bytes"] == len(export.wish.csv)

    def is_downloaded(self, export: Export) -> None:
        answer = self._ask(export, "GET", f"/api/export/download/{export.id}")
        assert answer.status_code == export.download_status
        if answer.status_code == 200:
            assert answer.content == export.wish.csv

    def _post(self, who: Who, wish: Wish, *, rich: bool, key: str | None = None) -> Response:
        path = "/api/exports" if rich else "/api/export/csv"
        headers = {} if key is None else {"Idempotency-Key": key}
        return self.real.ask(who, "POST", path, headers, json=wish.body(rich=rich))

    def _ask(
        self, export: Export, method: str, path: str, headers: Mapping[str, str] | None = None
    ) -> Response:
        return self.real.ask(export.who, method, path, headers)

    def _accepted(self, answer: Response, asked: Export) -> Export:
        assert answer.status_code == 202, answer.text
        assert "Idempotency-Replayed" not in answer.headers
        export = replace(asked, id=_id_in(answer))
        assert export.id not in self.exports
        self.exports[export.id] = export
        return export

    def _those(self, which: str) -> Sequence[Export]:
        return [export for export in self.exports.values() if getattr(export, which)]

    def _any(self, n: int, which: str = "id") -> Export:
        fitting = self._those(which)
        return fitting[n % len(fitting)]


def _id_in(answer: Response) -> str:
    said = answer.json()
    return str(said.get("job_id") or said["id"])


def _refusal(answer: Response) -> tuple[int, str]:
    """Without a code where it was none."""
    return answer.status_code, answer.headers.get("X-Error-Code", "")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """A hundred thousand requests are not worth a line each."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder with which every sequence begins."""
    home = make.home(tmp_path_factory.mktemp("model"), make.many_readings(ROWS))
    home.services.close()
    return home.settings.data


def run(chaos: Chaos, template: Path, *, sequences: int, shrinks: bool = True) -> None:
    made = type("Exports", (Exports,), {"template": template, "chaos": chaos})
    wanted = settings(
        max_examples=sequences,
        stateful_step_count=STEPS,
        database=None,
        phases=(Phase.generate, Phase.shrink) if shrinks else (Phase.generate,),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(seed(chaos.random.randrange(1 << 32))(made), settings=wanted)


@pytest.mark.timeout(3600)
def test_exports_are_what_the_model_says(chaos: Chaos, template: Path) -> None:
    run(chaos, template, sequences=chaos.size(8, full=500))


def files_outlive_their_exports(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LocalFiles, "delete", lambda self, key: None)


def calling_off_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    def cancel(self: SqlJobs, job_id: str) -> jobs.Job:
        job = self.get(job_id)
        assert job is not None
        return replace(job, phase=jobs.Phase.CANCELLED)

    patch.setattr(SqlJobs, "cancel", cancel)


def a_key_makes_two(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sql_jobs, "_insert_key", lambda *arguments: None)


def a_range_lacks_its_last_byte(patch: pytest.MonkeyPatch) -> None:
    requested = download._requested_part

    def shorter(*arguments: Any) -> download.Part | None:
        part = requested(*arguments)
        return part and download.Part(part.first, max(part.first, part.end - 1))

    patch.setattr(download, "_requested_part", shorter)


@pytest.mark.parametrize(
    "spoil",
    [
        files_outlive_their_exports,
        calling_off_is_forgotten,
        a_key_makes_two,
        a_range_lacks_its_last_byte,
    ],
)
def test_a_product_that_does_anything_else_is_caught(
    chaos: Chaos,
    template: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[pytest.MonkeyPatch], None],
) -> None:
    spoil(monkeypatch)

    with pytest.raises(AssertionError):
        run(chaos.toothless(spoil.__name__), template, sequences=100, shrinks=False)
