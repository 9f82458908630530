"""R21: random damage to exports, readings and backups. Never served, always named, never restored.

Exports:  every request for a damaged one is refused, also after one that was served; the others
          are served as before; run again, the file has the digest that it had.
Readings: the scrub names each damaged file with its month and meters, and no other.
Backups:  a restore refuses a backup of which a single file was changed, its list as well.
"""

import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import meterport.restore
from meterport.cli_backup import backed_up
from meterport.domain.errors import BackupRefused, MeterportError
from meterport.domain.readings import DamagedFile
from meterport.restore import restore
from meterport.services import open_export
from meterport.services.rerun_export import rerun_export
from meterport.sources.delta_upkeep import DeltaUpkeep
from meterport.sources.table_folder import TableFolder
from meterport.web.app import create_app
from tests import make
from tests.answers import assert_refused
from tests.chaos import damage
from tests.chaos.harness import Chaos
from tests.e2e.service import body, csv_of

pytestmark = pytest.mark.promise("R21")

ROWS = 2_000
METERS = ["a1", "a2"]
"""Of equal readings: exports of the same period differ, and have one size."""

EXPORTS_A_ROUND = 20
REQUESTS = [
    ("GET", {}),
    ("GET", {"Range": "bytes=0-9"}),
    ("GET", {"Range": "bytes=-5"}),
    ("HEAD", {}),
]


@dataclass
class Exports:
    """Finished exports that are damaged, asked for, and run again."""

    chaos: Chaos
    home: make.Home
    client: TestClient
    expected: dict[str, bytes] = field(default_factory=dict)

    def make(self) -> None:
        chance = self.chaos.random
        for _ in range(EXPORTS_A_ROUND // 2):
            minutes = chance.randint(1, ROWS)
            for meter in METERS:
                answer = self.client.post("/api/export/csv", json=body(meter, 0, minutes))
                content = csv_of(meter, first=0, rows=minutes)
                self.expected[answer.json()["job_id"]] = content
        self.home.work()

    def round(self) -> None:
        self.make()
        chance = self.chaos.random
        ids = list(self.expected)
        for job_id in chance.sample(ids, len(ids) // 2):
            self.ask_whole(job_id)
        damaged = self.damage(chance.sample(ids, EXPORTS_A_ROUND // 2))
        for job_id in ids:
            if job_id in damaged:
                self.ask_damaged(job_id, damaged[job_id])
            else:
                self.ask_whole(job_id)
        for job_id in damaged:
            self.run_again(job_id)
        self.chaos.count(exports_damaged=len(damaged), exports_beside=len(ids) - len(damaged))
        self.expected.clear()

    def damage(self, ids: list[str]) -> dict[str, str]:
        """What was done to which; files are exchanged in pairs."""
        chance, done = self.chaos.random, {}
        left = list(ids)
        while left:
            one = left.pop()
            others = [other for other in left if self.expected[other] != self.expected[one]]
            kind = chance.choice([*damage.ONE, "swap"])
            if kind != "swap":
                damage.ONE[kind](self.path(one), chance)
            elif others:
                other = chance.choice(others)
                left.remove(other)
                damage.swap(self.path(one), self.path(other))
                done[other] = kind
            else:
                damage.flip(self.path(one), chance)
            done[one] = kind
        return done

    def path(self, job_id: str) -> Path:
        return self.home.settings.files / job_id / "1"

    def ask_whole(self, job_id: str) -> None:
        answer = self.client.get(f"/api/export/download/{job_id}")
        whole = (answer.status_code, answer.content) == (200, self.expected[job_id])
        self.chaos.expect(whole, f"{job_id} is not damaged, and refused: {answer.status_code}")

    def ask_damaged(self, job_id: str, kind: str) -> None:
        for method, headers in self.chaos.random.sample(REQUESTS, len(REQUESTS)):
            answer = self.client.request(method, f"/api/export/download/{job_id}", headers=headers)
            refused = answer.headers.get("X-Error-Code") == "EXPORT_DAMAGED"
            self.chaos.expect(
                refused and answer.status_code == 409,
                f"{kind}: {method} {headers} is answered {answer.status_code}",
            )
            if refused and method == "GET":
                assert_refused(answer, 409, "EXPORT_DAMAGED")
            self.chaos.count(requests_refused=1)

    def run_again(self, job_id: str) -> None:
        s = self.home.services
        again = rerun_export(
            job_id,
            at=s.intake,
            source=s.source,
        ).job
        self.home.work()
        before, after = s.jobs.get(job_id), s.jobs.get(again.id)
        assert before is not None
        assert after is not None
        same = before.file and after.file and before.file.sha256 == after.file.sha256
        self.chaos.expect(bool(same), f"{job_id} run again has another digest")
        self.expected[again.id] = self.expected[job_id]
        self.ask_whole(again.id)


def damage_exports(chaos: Chaos, folder: Path, *, rounds: int) -> None:
    home = make.home(folder, *(make.many_readings(ROWS, meter=meter) for meter in METERS))
    with TestClient(create_app(home.services, home.settings), base_url="http://localhost") as http:
        exports = Exports(chaos, home, http)
        for _ in range(rounds):
            exports.round()


def test_a_damaged_export_is_never_served(chaos: Chaos, tmp_path: Path) -> None:
    damage_exports(chaos, tmp_path, rounds=chaos.size(2, full=150))

    assert chaos.found == []


def test_a_service_that_compares_no_digest_is_caught(
    chaos: Chaos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = chaos.toothless("no_digest")
    monkeypatch.setattr(open_export.Verified, "has", lambda *_: True)

    damage_exports(broken, tmp_path, rounds=4)

    assert any("flip" in accident for accident in broken.found)


def damage_readings(chaos: Chaos, upkeep: DeltaUpkeep, readings: Path, *, files: int) -> None:
    """Some files at a time, which are then mended."""
    named = upkeep.kept_files()
    done = 0
    while done < files:
        victims = chaos.random.sample(sorted(named), chaos.random.randint(1, len(named) // 2))
        whole = {victim: (readings / victim).read_bytes() for victim in victims}
        for victim in victims:
            kind = chaos.random.choice(list(damage.ONE))
            damage.ONE[kind](readings / victim, chaos.random)
        expected = {
            DamagedFile(
                victim,
                "changed" if (readings / victim).exists() else "missing",
                named[victim].month,
                named[victim].first_meter,
                named[victim].last_meter,
            )
            for victim in victims
        }
        found = set(upkeep.scrub())
        chaos.expect(found == expected, f"named: {found}; damaged: {expected}")
        for victim, data in whole.items():
            (readings / victim).write_bytes(data)
        done += len(victims)
    chaos.count(readings_damaged=done)


@pytest.fixture
def readings(tmp_path: Path) -> make.Home:
    """Files of four months, with one to three meters each."""
    home = make.home(tmp_path)
    for month in range(1, 5):
        start = datetime(2024, month, 1, tzinfo=UTC)
        for n in range(3):
            meters = (f"m{n}-{k}" for k in range(n + 1))
            home.load(*(make.many_readings(500, meter=meter, start=start) for meter in meters))
    return home


def test_the_scrub_names_each_damaged_file_and_no_other(chaos: Chaos, readings: make.Home) -> None:
    folder = readings.settings.readings

    damage_readings(
        chaos, DeltaUpkeep(TableFolder(folder)), folder, files=chaos.size(40, full=1500)
    )

    assert chaos.found == []


def test_a_scrub_that_only_looks_at_sizes_is_caught(chaos: Chaos, readings: make.Home) -> None:
    broken = chaos.toothless("sizes_only")
    folder = readings.settings.readings
    upkeep = DeltaUpkeep(TableFolder(folder))
    upkeep.scrub = upkeep.look_over  # type: ignore[method-assign,assignment]

    damage_readings(broken, upkeep, folder, files=40)

    assert broken.found


def damage_backups(chaos: Chaos, home: make.Home, folder: Path, *, files: int) -> None:
    """One file at a time, which is then mended."""
    backup, new = folder / "backup", folder / "new"
    backed_up(home.settings, backup, as_json=False)
    names = sorted(path for path in backup.rglob("*") if path.is_file())
    for _ in range(files):
        path = chaos.random.choice([*names, backup / "backup.json"])
        kind = chaos.random.choice(list(damage.ONE))
        whole = path.read_bytes()
        damage.ONE[kind](path, chaos.random)
        try:
            restore(make.settings(new / "data"), backup, replace=False)
        except BackupRefused:
            chaos.count(backups_refused=1)
        except MeterportError as error:
            chaos.found.append(f"{kind} of {path.name}: not refused, but {error!r}")
        else:
            chaos.found.append(f"{kind} of {path.name}: restored all the same")
        path.write_bytes(whole)
        shutil.rmtree(new, ignore_errors=True)
    if not chaos.found:
        restore(make.settings(new / "data"), backup, replace=False)


def test_a_damaged_backup_is_never_restored(
    chaos: Chaos, readings: make.Home, tmp_path: Path
) -> None:
    damage_backups(chaos, readings, tmp_path, files=chaos.size(40, full=1000))

    assert chaos.found == []


class Agreeing(str):
    """A digest that is like any other."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False


def test_a_restore_that_compares_no_digest_is_caught(
    chaos: Chaos, readings: make.Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = chaos.toothless("restores_all")
    copied = meterport.restore._copied

    def agreeing(source: Path, to: Path) -> Agreeing:
        copied(source, to)
        return Agreeing()

    monkeypatch.setattr(meterport.restore, "_copied", agreeing)

    damage_backups(broken, readings, tmp_path, files=40)

    assert any("restored all the same" in accident for accident in broken.found)
