"""R7: an import on a disk with 0 to 120 % of the space that it needs, beside a running service.

It is done, or refused in one line: then the readings are what they were, and what it had written
is gone, so that it costs the service no space. With space it can be repeated.
"""

import errno
import itertools
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import pytest

from meterport.adapters.local_disk import free_bytes
from meterport.domain.errors import ImportRefused, StorageFull
from meterport.sources.delta_store import DeltaReadings
from meterport.sources.table_folder import TableFolder
from tests import make
from tests.chaos.harness import Chaos
from tests.chaos.load import csv_with
from tests.chaos.test_full_disk import Disk, on_a_disk
from tests.e2e.service import Service, meterport

pytestmark = pytest.mark.promise("R7")

ROWS = 100_000
NEED_BYTES = 3 << 20
"""About what such an import takes at its peak: the rows twice, once of them by month."""

ROUNDS = 3
SLACK_BYTES = 128 << 10
"""The database and the log may grow meanwhile."""


def values(rows: int, value: int, meter: str = "123") -> pl.DataFrame:
    """Of each reading one column is noise, so that a file of them takes its space."""
    noise = pl.int_range(rows, eager=True).hash(seed=value).cast(pl.Float64) / 2**64
    frame = make.many_readings(rows, meter=meter)
    return frame.with_columns(energy_kwh=pl.lit(float(value)), energy_export_kwh=noise)


@dataclass
class Importing:
    chaos: Chaos
    service: Service
    disk: Disk
    files: Path
    value: int = 0

    def round(self) -> None:
        chance = self.chaos.random
        wanted = self.value + 1
        file = self.files / f"{wanted}.parquet"
        values(ROWS, wanted).write_parquet(file)
        free = int(chance.uniform(0, 1.2) * NEED_BYTES) + chance.choice(
            [0, self.disk.reserve_bytes]
        )
        self.disk.leave_free(free)
        before = free_bytes(self.disk.seen)
        if self.is_imported(file):
            self.value = wanted
        else:
            self.chaos.count(imports_refused=1)
            lost = before - free_bytes(self.disk.seen)
            self.chaos.expect(lost < SLACK_BYTES, f"a refused import keeps {lost} bytes of {free}")
        self.disk.make_room()
        self.check()
        if self.value != wanted:
            self.chaos.expect(self.is_imported(file), "refused although there is space")
            self.value = wanted
            self.check()

    def is_imported(self, file: Path) -> bool:
        """Else it was refused in one line."""
        pid = self.service.process.pid
        inside = ["nsenter", f"--target={pid}", "--user", "--mount", "--preserve-credentials"]
        data = self.disk.seen.parts[4:]
        done = meterport("import", file, "--data", Path("/", *data), inside=inside)
        if done.returncode == 0:
            self.chaos.count(imports=1)
            return True
        one_line = done.stderr.startswith("meterport: ") and done.stderr.count("\n") == 1
        self.chaos.expect(one_line and done.returncode == 1, f"the import says {done.stderr}")
        return False

    def check(self) -> None:
        """The readings are those of the last import that was done, all of them."""
        job_id = self.service.create("123", minutes=ROWS)
        self.service.completed(job_id)
        right = self.service.download(job_id) == csv_with(self.value, rows=ROWS)
        self.chaos.expect(right, f"the readings are not those of import {self.value}")


def fill_while_importing(chaos: Chaos, home: make.Home) -> None:
    home.load(values(ROWS, 0))
    with on_a_disk(home, "all", reserve_mib=None) as (service, disk):
        importing = Importing(chaos, service, disk, home.settings.data.parent)
        for _ in range(ROUNDS):
            importing.round()
            if chaos.found:
                return


def test_an_import_on_a_disk_that_fills_up_is_done_or_refused_and_leaves_nothing(
    chaos: Chaos, tmp_path: Path
) -> None:
    for n in range(chaos.size(1, full=10)):
        fill_while_importing(chaos, make.home(tmp_path / str(n)))

    assert chaos.found == []


@dataclass
class FullAfter:
    """A disk that is full from its n-th check on."""

    checks_left: int

    def check(self) -> None:
        self.checks_left -= 1
        if self.checks_left < 0:
            raise StorageFull("no space", "make some")


def refuse_at_each_check(chaos: Chaos, home: make.Home) -> None:
    """An import of three months, refused at its first look at the disk, at its second …"""
    home.load(values(ROWS, 0))
    before = files(home)
    for checks in itertools.count():
        full = FullAfter(checks)
        store = DeltaReadings(TableFolder(home.settings.readings), space=full)
        stopped = make.Home(home.settings, replace(home.services, readings=store))
        try:
            stopped.load(values(ROWS, 1))
        except ImportRefused:
            left = sorted(files(home) - before)
            chaos.expect(not left, f"refused at check {checks + 1}, it left {left}")
        else:
            break
    chaos.count(imports_refused=checks)
    chaos.expect(checks > 3, f"it looked at the disk only {checks} times")
    chaos.expect(home.services.source.version() == 2, "a refused import made a version")


def files(home: make.Home) -> set[str]:
    return set(TableFolder(home.settings.readings).data_files())


def test_an_import_that_is_refused_at_any_time_leaves_nothing(chaos: Chaos, tmp_path: Path) -> None:
    refuse_at_each_check(chaos, make.home(tmp_path))

    assert chaos.found == []


def test_an_import_that_leaves_its_files_is_caught(
    chaos: Chaos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = chaos.toothless("files_of_refused_imports")
    monkeypatch.setattr(DeltaReadings, "_undone", lambda *_: nullcontext())

    refuse_at_each_check(broken, make.home(tmp_path))

    assert any("it left" in accident for accident in broken.found)


def test_an_import_that_finds_no_room_to_begin_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **how: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    home = make.home(tmp_path)
    monkeypatch.setattr(tempfile, "mkdtemp", full)

    with pytest.raises(ImportRefused, match="No space left on device"):
        home.load(make.readings(0.5))
