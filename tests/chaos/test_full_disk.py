"""R7: a disk with 0 to 120 % of the space that is needed, for exports, for all, for an import.

Disk:   a tmpfs of the service's own; a filler leaves as much of it free as chance says.
Exports: whole, or failed with STORAGE_FULL and without a trace; refused while only the reserve is
        left; and once there is space again the next one works. Nothing accepted is lost.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from meterport.adapters.local_disk import LocalDisk, free_bytes
from tests import make
from tests.chaos.harness import Chaos, spoilt
from tests.e2e.service import (
    Completed,
    Failed,
    Pending,
    Refused,
    Service,
    body,
    csv_of,
    running,
    wait_until,
    with_mounts,
)

pytestmark = pytest.mark.promise("R7")

ROWS = 20_000
SIZES = [60, 5_000, ROWS]
MIB = 1 << 20
DISK_MIB = 64
ROUNDS = 6
DATABASE_BYTES = 256 << 10
"""With less than that a database on the disk may not be able to commit."""

RESERVES_MIB = {"exports": (0, None), "all": (None, 1)}
FULL = {
    "There is no space left for the file": (
        "Free space in the files folder, or point METERPORT_FILES_URL elsewhere"
    ),
    "There is too little space left on the disk": (
        "Free space in {folder}/, or move it to a larger disk; "
        "METERPORT_DISK_RESERVE_MIB is left free"
    ),
}


@cache
def expected(minutes: int) -> bytes:
    return csv_of("123", first=0, rows=minutes)


@dataclass
class Disk:
    """A service's disk, as this process sees it, and what lies on it besides."""

    seen: Path
    reserve_bytes: int
    has_database: bool

    @property
    def is_in_reserve(self) -> bool:
        return free_bytes(self.seen) < self.reserve_bytes

    @property
    def stops_database(self) -> bool:
        return self.has_database and free_bytes(self.seen) < DATABASE_BYTES

    def leave_free(self, size_bytes: int) -> None:
        with (self.seen / "filler").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, free_bytes(self.seen) - size_bytes))

    def make_room(self) -> None:
        (self.seen / "filler").unlink(missing_ok=True)


@dataclass
class Exporting:
    """Exports while the disk fills up, round by round."""

    chaos: Chaos
    service: Service
    disk: Disk
    exports: Path
    finished: dict[str, int] = field(default_factory=dict)

    def round(self) -> None:
        chance = self.chaos.random
        minutes = chance.choice(SIZES)
        free = int(chance.uniform(0, 1.2) * len(expected(minutes)))
        tries = self.vain_tries()
        with self.service.paused():
            posted = [self.post(minutes)]
            self.disk.leave_free(free + chance.choice([0, self.disk.reserve_bytes]))
            posted.append(self.post(minutes))
            stuck = self.disk.stops_database
        accepted = [job_id for job_id in posted if job_id is not None]
        if stuck:
            # The reserve was taken by others; what was accepted ends once there is space.
            wait_until(lambda: self.vain_tries() > tries or self.is_ended(accepted[0]))
            self.chaos.count(stuck=1)
            self.disk.make_room()
        for job_id in accepted:
            self.check(job_id, minutes)
        parts = [path.name for path in (self.exports / ".parts").glob("*")]
        self.chaos.expect(not parts, f"left behind: {parts}")
        self.disk.make_room()
        if (again := self.post(minutes)) is not None:
            self.check(again, minutes)
            self.chaos.expect(again in self.finished, f"{again} failed although there is space")

    def vain_tries(self) -> int:
        """How often a worker could not claim, or not record what became of its claim."""
        vain = ("worker_waits", "export_without_database")
        return sum(len(self.service.events(name)) for name in vain)

    def is_ended(self, job_id: str) -> bool:
        return not isinstance(self.service.status(job_id), Pending)

    def post(self, minutes: int) -> str | None:
        """The job's id; None where it was refused because only the reserve is left."""
        full = self.disk.is_in_reserve
        answer = self.service.http.post("/api/export/csv", json=body("123", 0, minutes))
        if answer.status_code == 202:
            self.chaos.count(accepted=1)
            self.chaos.expect(not full, "accepted although only the reserve was left")
            return str(answer.json()["job_id"])
        self.chaos.count(refused=1)
        self.chaos.expect(full, "refused although there is space")
        code = Refused.model_validate_json(answer.text).error.code
        self.chaos.expect((answer.status_code, code) == (507, "STORAGE_FULL"), answer.text)
        return None

    def check(self, job_id: str, minutes: int) -> None:
        ended = self.service.ended(job_id)
        if isinstance(ended, Completed):
            self.chaos.count(completed=1)
            self.finished[job_id] = minutes
            self.check_file(job_id)
        else:
            self.chaos.count(failed=1)
            self.chaos.expect(is_told(ended, self.disk), f"{job_id} says {ended.error}")
            self.chaos.expect(not (self.exports / job_id).exists(), f"{job_id} left a file")

    def check_file(self, job_id: str) -> None:
        answer = self.service.http.get(f"/api/export/download/{job_id}")
        whole = answer.content == expected(self.finished[job_id])
        self.chaos.expect(whole, f"{job_id}: {answer.status_code}, and not its bytes")


def is_told(failed: Failed, disk: Disk) -> bool:
    error = failed.error
    details = FULL.get(error.message, "").format(folder=disk.seen.name)
    return (error.code, error.details) == ("STORAGE_FULL", details)


@contextmanager
def on_a_disk(
    home: make.Home, place: str, *, reserve_mib: int | None, **variables: Any
) -> Iterator[tuple[Service, Disk]]:
    """A service with its `exports`, or with `all` that it has, on a disk of its own."""
    disk = home.settings.data.parent / "disk"
    disk.mkdir()
    script = f"mount -t tmpfs -o size={DISK_MIB}m tmpfs '{disk}'"
    data = home.settings.data
    if place == "all":
        script, data = f"{script}; cp -r '{data}'/. '{disk}'", disk
    else:
        variables["METERPORT_FILES_URL"] = disk
    if reserve_mib is not None:
        variables["METERPORT_DISK_RESERVE_MIB"] = reserve_mib
    variables |= {"METERPORT_JOB_RETRY_S": 0.01, "METERPORT_JOB_RETRIES": 1}
    with running(data, inside=with_mounts(script), **variables) as service:
        seen = Path(f"/proc/{service.process.pid}/root{disk}")
        reserve_bytes = None if reserve_mib is None else reserve_mib * MIB
        yield (
            service,
            Disk(
                seen,
                LocalDisk([seen], reserve_bytes).reserve_bytes(seen),
                has_database=place == "all",
            ),
        )


def fill_while_exporting(
    chaos: Chaos, home: make.Home, place: str, reserve_mib: int | None, *variants: str
) -> None:
    spoiling = spoilt(*variants) if variants else {}
    with on_a_disk(home, place, reserve_mib=reserve_mib, **spoiling) as (service, disk):
        seen = replace(service, data=disk.seen if place == "all" else service.data)
        exports = disk.seen / "exports" if place == "all" else disk.seen
        exporting = Exporting(chaos, seen, disk, exports)
        workers = service.workers()
        for _ in range(ROUNDS):
            exporting.round()
            if chaos.found:
                return
        for job_id in exporting.finished:
            exporting.check_file(job_id)
        chaos.expect(service.workers() == workers, "a worker died")
        chaos.count(rounds=ROUNDS)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make.home(tmp_path_factory.mktemp("loaded"), make.many_readings(ROWS)).settings.data


@pytest.fixture
def home(loaded: Path, tmp_path: Path) -> make.Home:
    return make.copy_of(loaded, tmp_path)


@pytest.mark.parametrize("place", RESERVES_MIB)
def test_exports_on_a_disk_that_fills_up_are_whole_or_told_and_leave_nothing(
    chaos: Chaos, loaded: Path, tmp_path: Path, place: str
) -> None:
    for n in range(chaos.size(1, full=10)):
        home = make.copy_of(loaded, tmp_path / str(n))
        fill_while_exporting(chaos, home, place, RESERVES_MIB[place][n % 2])

    assert chaos.found == []


@pytest.mark.parametrize("variant", ["parts_left_behind", "full_disk_overlooked"])
def test_a_service_that_leaves_parts_or_publishes_them_is_caught(
    chaos: Chaos, home: make.Home, variant: str
) -> None:
    broken = chaos.toothless(variant)

    fill_while_exporting(broken, home, "exports", 0, variant)

    assert broken.found
