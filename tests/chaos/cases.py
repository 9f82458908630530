"""One export and one import, small enough to be interrupted at every call; what then must hold.

Export: 200 rows of one meter, one job that waits.
Import: a Parquet file that corrects all 200 rows, in two months, and adds 20 of the second; so a
        mixture of old and new would show.
Time:   `time_passes` lets all leases and waits run out, so that no test waits for them.
"""

import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from meterport.bootstrap import connect
from meterport.domain.errors import MeterportError
from meterport.domain.jobs import JobStatus
from meterport.domain.period import Period
from meterport.domain.readings import READING_SCHEMA
from meterport.services.sweep import sweep
from tests import make
from tests.chaos.calls import Call, unsynced
from tests.chaos.harness import Chaos
from tests.e2e.service import csv_of

ROWS = 200
START = datetime(2024, 1, 31, 22, 20, tzinfo=UTC)
OLD = make.many_readings(ROWS, start=START)
NEW = make.many_readings(ROWS + 20, start=START).with_columns(pl.col("energy_kwh") + 5)
CSV = csv_of("123", first=0, rows=ROWS)
LONG_AGO = "2000-01-01 00:00:00.000"


class Case:
    """A home in a template folder, and what a process shall do in a copy of it."""

    do: str

    def __init__(self, template: Path) -> None:
        self.template = template
        self.order: dict[str, Any] = {"settings": {"job_retry_s": 0.01}}

    def fresh(self, folder: Path) -> make.Home:
        shutil.copytree(self.template / "data", folder / "data")
        settings = make.settings(folder / "data")
        return make.Home(settings, connect(settings))

    def check(self, chaos: Chaos, home: make.Home, *, acknowledged: bool) -> None:
        """What holds whatever happened."""

    def check_done(self, chaos: Chaos, home: make.Home) -> None:
        """What holds once a whole process has done the work again, or found it done."""

    def at_risk(self, home: make.Home, calls: Sequence[Call]) -> set[str]:
        """What the user was promised and a power cut after all those calls might take."""
        return unsynced(calls) & {str(path) for path in self.promised(home)}

    def promised(self, home: make.Home) -> set[Path]:
        raise NotImplementedError


class ExportCase(Case):
    do = "job"

    def __init__(self, template: Path) -> None:
        super().__init__(template)
        home = make.home(template, make.many_readings(ROWS))
        request = make.request(minutes=ROWS)
        self.job_id = home.services.jobs.add(request, owner="tenant").job.id

    def check(self, chaos: Chaos, home: make.Home, *, acknowledged: bool) -> None:
        for path in home.settings.files.glob("*-*/*"):
            chaos.expect(path.read_bytes() == CSV, f"{path.name} is visible, but not whole")
        job = home.services.jobs.get(self.job_id)
        assert job is not None
        if job.status is JobStatus.COMPLETED:
            self._check_file(chaos, home)
        else:
            chaos.expect(job.status is JobStatus.PENDING, f"the job is {job.status}")
            chaos.expect(not acknowledged, "the worker went on as if the job were completed")

    def check_done(self, chaos: Chaos, home: make.Home) -> None:
        job = home.services.jobs.get(self.job_id)
        assert job is not None
        chaos.expect(job.status is JobStatus.COMPLETED, f"in the end the job is {job.status}")
        if job.file is None:
            return
        self._check_file(chaos, home)
        sweep(archive=home.services.archive, objects=home.services.objects)
        files = {path for path in home.settings.files.rglob("*") if path.is_file()}
        needed = {home.settings.files / job.file.key}
        chaos.expect(files == needed, f"left over: {files - needed}")

    def promised(self, home: make.Home) -> set[Path]:
        """Nothing before the row says `completed`."""
        kept = [file for _, file in home.services.archive.kept_files()]
        files = {home.settings.files / file.key for file in kept}
        return files | {path.parent for path in files}

    def _check_file(self, chaos: Chaos, home: make.Home) -> None:
        job = home.services.jobs.get(self.job_id)
        assert job is not None
        assert job.file is not None
        path = home.settings.files / job.file.key
        whole = path.exists() and path.read_bytes() == CSV
        chaos.expect(whole, f"completed, but {job.file.key} is not the whole file")
        told = (job.file.rows, job.file.size_bytes, job.file.sha256)
        chaos.expect(told == (ROWS, len(CSV), sha256(CSV).hexdigest()), f"the row says {told}")


class ImportCase(Case):
    do = "import"

    def __init__(self, template: Path) -> None:
        super().__init__(template)
        make.home(template, OLD)
        NEW.write_parquet(template / "new.parquet")
        self.order["files"] = [str(template / "new.parquet")]

    def check(self, chaos: Chaos, home: make.Home, *, acknowledged: bool) -> None:
        files = live_files(home)
        chaos.expect(bool(files), "the table cannot be opened")
        for path in files:
            whole = path.exists() and sha256(path.read_bytes()).hexdigest() == path.stem
            chaos.expect(whole, f"the table names {path.name}, which is not whole")
        rows = all_rows(home)
        old = not acknowledged and rows is not None and rows.equals(OLD)
        new = rows is not None and rows.equals(NEW)
        chaos.expect(old or new, f"neither old nor new; acknowledged: {acknowledged}")

    def check_done(self, chaos: Chaos, home: make.Home) -> None:
        self.check(chaos, home, acknowledged=True)
        meter = home.services.catalog.get("123")
        ends = meter and (meter.first, meter.last, meter.rows)
        right = (START, NEW["timestamp"][-1], NEW.height)
        chaos.expect(ends == right, f"the catalogue says {ends}")
        level = home.services.catalog.version() == home.services.source.version()
        chaos.expect(level, "the catalogue is not level with the table")
        readings = home.settings.readings
        left = [*readings.glob("_staging-*"), *readings.glob("month=*/.*")]
        chaos.expect(not left, f"left over: {left}")

    def promised(self, home: make.Home) -> set[Path]:
        """Of an import that was acknowledged."""
        readings = home.settings.readings
        files = {*live_files(home), *readings.glob("_delta_log/*.json")}
        return files | {path.parent for path in files}


def live_files(home: make.Home) -> list[Path]:
    """Those that the table's newest version names; none if it cannot be opened."""
    try:
        return [Path(uri) for uri in DeltaTable(str(home.settings.readings)).file_uris()]
    except DeltaError:
        return []


def all_rows(home: make.Home) -> pl.DataFrame | None:
    """None: they cannot be read."""
    always = Period(datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
    columns = READING_SCHEMA.names()
    try:
        return pl.concat(home.services.source.scan(["123"], always, columns=columns))
    except MeterportError:
        return None


CASES: Mapping[str, type[Case]] = {"export": ExportCase, "import": ImportCase}


def time_passes(home: make.Home) -> None:
    with closing(sqlite3.connect(home.settings.data / "meterport.db")) as database, database:
        for table, column in (
            ("jobs", "lease_until"),
            ("jobs", "not_before"),
            ("leases", "lease_until"),
        ):
            statement = f"UPDATE {table} SET {column} = ? WHERE {column} IS NOT NULL"  # noqa: S608
            database.execute(statement, (LONG_AGO,))
