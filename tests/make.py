"""Makers of test data with readable defaults."""

import io
import shutil
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from meterport.bootstrap import Services, prepare
from meterport.domain.errors import SourceUnavailable
from meterport.domain.exports import ExportRequest
from meterport.domain.jobs import Job, Lease, RetryPolicy
from meterport.domain.period import Period
from meterport.domain.readings import READING_SCHEMA, Merged
from meterport.domain.sheets import Sheet
from meterport.encoders import csv
from meterport.services.import_readings import import_batches
from meterport.services.submit_export import submit_export
from meterport.services.work_job import Workplace, work_job
from meterport.settings import Settings

JANUARY = datetime(2024, 1, 1, tzinfo=UTC)
HEADER = "timestamp,smart_meter_id,energy_kwh,power_kw,voltage_v,current_a"


def readings(
    *energy_kwh: float | None,
    meter: str = "123",
    start: datetime = JANUARY,
    interval_s: int = 60,
    power_kw: float | None = 2.1,
) -> pl.DataFrame:
    """One reading per value, one interval after another."""
    times = [start + timedelta(seconds=interval_s * i) for i in range(len(energy_kwh))]
    rows = {
        "timestamp": times,
        "interval_s": [interval_s] * len(times),
        "smart_meter_id": [meter] * len(times),
        "energy_kwh": list(energy_kwh),
        "power_kw": [power_kw] * len(times),
        "voltage_v": [230.1] * len(times),
        "current_a": [9.1] * len(times),
        "energy_export_kwh": [None] * len(times),
        "quality": [None] * len(times),
    }
    return pl.DataFrame(rows, schema=READING_SCHEMA)


def many_readings(rows: int, *, meter: str = "123", start: datetime = JANUARY) -> pl.DataFrame:
    """A reading a minute; the n-th has n thousandths of a kWh, to tell rows apart."""
    # Not by Polars, which multiplies by the reciprocal and is off by the last digit.
    kwh = pl.Series(np.arange(rows) / 1000)
    empty = pl.Series([None], dtype=pl.Float64)
    return pl.DataFrame(
        {
            "timestamp": pl.datetime_range(
                start, start + timedelta(minutes=rows - 1), "1m", time_unit="us", eager=True
            ),
            "interval_s": pl.repeat(60, rows, dtype=pl.Int32, eager=True),
            "smart_meter_id": pl.repeat(meter, rows, eager=True),
            "energy_kwh": kwh,
            "power_kw": pl.repeat(2.1, rows, eager=True),
            "voltage_v": pl.repeat(230.1, rows, eager=True),
            "current_a": pl.repeat(9.1, rows, eager=True),
            "energy_export_kwh": empty.new_from_index(0, rows),
            "quality": pl.Series([None], dtype=pl.String).new_from_index(0, rows),
        },
        schema=READING_SCHEMA,
    )


def period(start: datetime = JANUARY, *, minutes: int = 60) -> Period:
    return Period(start, start + timedelta(minutes=minutes))


def request(meter: str = "123", *, minutes: int = 60, start: datetime = JANUARY) -> ExportRequest:
    return ExportRequest(meter, period(start, minutes=minutes))


def error() -> SourceUnavailable:
    return SourceUnavailable("The readings store cannot be read", "The log names the cause")


def body(**changes: object) -> dict[str, object]:
    """The contract's own request; a change to None takes the field out."""
    fields: dict[str, object] = {
        "smart_meter_id": "123",
        "start_datetime": "2024-01-01T00:00:00Z",
        "end_datetime": "2024-01-31T23:59:59Z",
        "format": "csv",
    }
    return {name: value for name, value in (fields | changes).items() if value is not None}


def settings(data: Path, **given: object) -> Settings:
    return Settings.model_validate({"data": data, "port": 0, "workers": 1} | given)


@dataclass(frozen=True)
class Home:
    """A data folder that is ready for work, and the services on it."""

    settings: Settings
    services: Services

    def load(self, *frames: pl.DataFrame) -> Merged:
        return import_batches(
            frames,
            source=self.services.source,
            store=self.services.readings,
            catalog=self.services.catalog,
            audit=self.services.audit,
        )

    def submit(self, request: ExportRequest) -> Job:
        """Ask for that export."""
        return submit_export(request, at=self.services.intake).job

    def work(self, policy: RetryPolicy = RetryPolicy()) -> None:  # noqa: B008 - it is frozen
        """Run every job that waits, here and now."""
        at = Workplace(
            jobs=self.services.jobs,
            source=self.services.source,
            catalog=self.services.catalog,
            objects=self.services.objects,
            lease=Lease("worker-of-the-test"),
            stopping=threading.Event(),
            policy=policy,
        )
        while work_job(at):
            pass


def home(folder: Path, *frames: pl.DataFrame, **given: object) -> Home:
    chosen = settings(folder / "data", **given)
    made = Home(chosen, prepare(chosen))
    if frames:
        made.load(*frames)
    return made


def opened(home: Home, **given: object) -> Home:
    """The same home with other settings."""
    chosen = home.settings.model_copy(update=given)
    return Home(chosen, prepare(chosen))


def lease(duration: timedelta) -> Lease:
    return Lease("worker-of-the-test", duration)


def copy_of(data: Path, folder: Path) -> Home:
    """A home of its own on a copy of that data folder."""
    shutil.copytree(data, folder / "data")
    return home(folder)


def csv_bytes(frames: Iterable[pl.DataFrame]) -> bytes:
    """The contract's file of those readings."""
    sink = io.BytesIO()
    csv.FORMAT.encode(frames, sink, Sheet(("123",), period(), JANUARY))
    return sink.getvalue()


def csv_lines(*rows: str) -> str:
    return "\n".join((HEADER, *rows)) + "\n"


def file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"bytes")
    return path


def write(folder: Path, name: str, lines: Sequence[str] | str) -> Path:
    path = folder / name
    path.write_text(lines if isinstance(lines, str) else "\n".join(lines) + "\n", encoding="utf-8")
    return path
