"""R19: rules by which exports are made, worked at and looked at, beside the model of them.

Rules draw any number, and mean whoever or whatever is at that place of those that fit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

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

from meterport.domain import jobs
from tests import make
from tests.chaos.exports_model import ANYBODY, FLEETS, METERS, ROWS, Export, Real, Who, Wish
from tests.chaos.harness import Chaos

STEPS = 50
WISHES = st.builds(Wish, st.sampled_from(FLEETS), st.sampled_from([1, 60, 2 * ROWS]))
DRAWN = st.integers(0, 10_000)


class Exports(RuleBasedStateMachine):
    """`people`: who may ask. `keys`: the export of each Idempotency-Key, by its owner."""

    template: ClassVar[Path]
    chaos: ClassVar[Chaos]

    def __init__(self) -> None:
        super().__init__()
        self.real = self.begun()
        self.people: list[Who] = [ANYBODY]
        self.known = frozenset(METERS)
        self.exports: dict[str, Export] = {}
        self.keys: dict[tuple[str, str], Export] = {}
        self.steps = 0

    def begun(self) -> Real:
        return Real(self.template)

    def teardown(self) -> None:
        try:
            for number in range(len(self.people)):
                self.history(by=number)
            for export in self.exports.values():
                self.is_told(export)
                self.is_downloaded(export)
        finally:
            self.real.end()
        self.chaos.count(sequences=1, steps=self.steps, exports=len(self.exports))

    # What is asked for.

    @initialize(by=DRAWN, wish=WISHES)
    def begin(self, by: int, wish: Wish) -> None:
        self.create(by=by, wish=wish, rich=False)

    @rule(by=DRAWN, wish=WISHES, rich=st.booleans())
    def create(self, by: int, wish: Wish, rich: bool) -> None:
        who = self._whoever_may(by, wish)
        self._accepted(self._post(who, wish, rich=rich), Export("", who.owner, wish))

    @rule(by=DRAWN, wish=WISHES, rich=st.booleans(), key=st.sampled_from("ab"))
    def create_with_key(self, by: int, wish: Wish, rich: bool, key: str) -> None:
        self._asked_with_key(self._whoever_may(by, wish), wish, rich=rich, key=key)

    def _asked_with_key(self, who: Who, wish: Wish, *, rich: bool, key: str) -> None:
        answer = self._post(who, wish, rich=rich, key=key)
        earlier = self.keys.get((who.owner, key))
        if earlier is None:
            self.keys[who.owner, key] = self._accepted(answer, Export("", who.owner, wish))
        elif earlier.wish == wish:
            assert (answer.status_code, id_in(answer)) == (202, earlier.id)
            assert answer.headers["Idempotency-Replayed"] == "true"
        else:
            assert refusal_in(answer) == (422, "IDEMPOTENCY_KEY_REUSED")

    @precondition(lambda self: self.keys)
    @rule(n=DRAWN, rich=st.booleans())
    def repeat(self, n: int, rich: bool) -> None:
        """As a client does that got no answer."""
        (_, key), export = list(self.keys.items())[n % len(self.keys)]
        self._asked_with_key(self._one_who_sees(export, n), export.wish, rich=rich, key=key)

    @precondition(lambda self: self.exports)
    @rule(n=DRAWN)
    def rerun(self, n: int) -> None:
        earlier = self._any(n)
        answer = self._ask(earlier, "POST", f"/api/exports/{earlier.id}/rerun")
        self._accepted(answer, Export("", earlier.owner, earlier.wish))

    @rule(n=DRAWN)
    def cancel(self, n: int) -> None:
        export = self._any(n)
        answer = self._ask(export, "POST", f"/api/exports/{export.id}/cancel")
        if export.has_ended:
            assert refusal_in(answer) == (409, "EXPORT_NOT_CANCELLABLE")
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
        export.worked(self.real.most_crashes, self.known)

    @precondition(lambda self: self._those("is_free"))
    @rule()
    def work_all(self) -> None:
        for export in self._those("is_free"):
            self.real.work(export.id)
            export.worked(self.real.most_crashes, self.known)

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
        self._swept()

    def _swept(self) -> None:
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
            assert refusal_in(answer) == (416, "RANGE_NOT_SATISFIABLE")
        else:
            assert answer.status_code == 206
            assert answer.content == whole[first : first + length]

    @rule(by=DRAWN)
    def history(self, by: int) -> None:
        who = self.people[by % len(self.people)]
        found = self.real.ask(who, "GET", "/api/exports?limit=200").json()["items"]
        expected = {each.id: each.phase for each in self.exports.values() if who.sees(each)}
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
        rich |= wish.is_fleet
        path = "/api/exports" if rich else "/api/export/csv"
        headers = {} if key is None else {"Idempotency-Key": key}
        return self.real.ask(who, "POST", path, headers, json=wish.body(rich=rich))

    def _ask(
        self, export: Export, method: str, path: str, headers: Mapping[str, str] | None = None
    ) -> Response:
        """By somebody who sees the export."""
        return self.real.ask(self._one_who_sees(export), method, path, headers)

    def _accepted(self, answer: Response, asked: Export) -> Export:
        assert answer.status_code == 202, answer.text
        assert "Idempotency-Replayed" not in answer.headers
        export = replace(asked, id=id_in(answer))
        assert export.id not in self.exports
        self.exports[export.id] = export
        return export

    def _whoever_may(self, n: int, wish: Wish) -> Who:
        fitting = [who for who in self.people if who.may(wish)]
        return fitting[n % len(fitting)]

    def _one_who_sees(self, export: Export, n: int = -1) -> Who:
        """The newest, unless a number is drawn."""
        fitting = [who for who in self.people if who.sees(export)]
        return fitting[n % len(fitting)]

    def _those(self, which: str) -> Sequence[Export]:
        return [export for export in self.exports.values() if getattr(export, which)]

    def _any(self, n: int, which: str = "id") -> Export:
        fitting = self._those(which)
        return fitting[n % len(fitting)]


def id_in(answer: Response) -> str:
    said = answer.json()
    return str(said.get("job_id") or said["id"])


def refusal_in(answer: Response) -> tuple[int, str]:
    """Without a code where it was none."""
    return answer.status_code, answer.headers.get("X-Error-Code", "")


def run(
    chaos: Chaos,
    template: Path,
    *,
    sequences: int,
    shrinks: bool = True,
    machine: type[Exports] = Exports,
) -> None:
    made = type("Machine", (machine,), {"template": template, "chaos": chaos})
    wanted = settings(
        max_examples=sequences,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink) if shrinks else (Phase.generate,),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(seed(chaos.random.randrange(1 << 32))(made), settings=wanted)


def template_in(folder: Path) -> Path:
    """The data folder with which every sequence begins."""
    home = make.home(folder, *(make.many_readings(ROWS, meter=meter) for meter in METERS))
    home.services.close()
    return home.settings.data
