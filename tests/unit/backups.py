"""Homes to back up and restore: made, copied, looked at."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from starlette.testclient import TestClient

from meterport.bootstrap import archive_in, erase, prepare
from meterport.domain.backups import Backup
from meterport.domain.jobs import Job, Lease
from meterport.restore import Restored, restore
from meterport.services.back_up import back_up
from meterport.settings import Settings
from meterport.web.app import create_app
from tests import make
from tests.unit.exports import now, submitted

CSV = make.csv_lines("2024-01-01T00:00:00Z,123,0.5,2.1,230.1,9.1").encode()


@dataclass(frozen=True)
class Used:
    """A home with two meters, one of which was corrected, and a finished export of each."""

    home: make.Home
    export: Job
    others_export: Job


def used(home: make.Home) -> Used:
    home.load(make.readings(0.5), make.readings(0.7, 0.8, meter="other"))
    export, others = submitted(home), submitted(home, "other")
    home.work()
    home.load(make.readings(0.75))
    return Used(home, now(home, export), now(home, others))


def begun(home: make.Home, *, version: int) -> Job:
    """An attempt at a job of meter 123, still at work, that reads that version."""
    submitted(home)
    job = home.services.jobs.claim(Lease("another worker", timedelta(hours=1)))
    assert job is not None
    assert home.services.jobs.begin(job, source_version=version, rows_expected=1)
    return now(home, job)


def erased(home: make.Home, meter: str = "123") -> None:
    erase(home.services, meter)


def backed_up(home: make.Home, target: Path) -> Backup:
    s = home.services
    return back_up(
        target,
        database=s.copier,
        archive_in=archive_in,
        source=s.source,
        upkeep=s.upkeep,
        objects=s.objects,
        leases=s.leases,
    )


def restored(folder: Path, data: Path, **given: object) -> make.Home:
    """A new home there, made of that backup."""
    settings = make.settings(data, **given)
    restore(settings, folder, replace=False)
    return opened(settings)


def put_back(home: make.Home, folder: Path) -> Restored:
    """The backup in the home's own place."""
    return restore(home.settings, folder, replace=True)


def opened(settings: Settings) -> make.Home:
    return make.Home(settings, prepare(settings))


def energy_kwh(home: make.Home, meter: str = "123") -> list[float]:
    frames = home.services.source.scan([meter], make.period(), columns=["energy_kwh"])
    return [value for frame in frames for value in frame["energy_kwh"].to_list()]


def meters(home: make.Home) -> list[str]:
    return [meter.smart_meter_id for meter in home.services.catalog.all()]


def versions(home: make.Home) -> list[int]:
    return [version for version in range(20) if home.services.source.keeps(version)]


def asked(home: make.Home) -> AbstractContextManager[TestClient]:
    """A client of the API on that home."""
    app = create_app(home.services, home.settings)
    return TestClient(app, base_url="http://localhost", raise_server_exceptions=False)


def content(folder: Path) -> dict[str, bytes]:
    """Every file below the folder, but the lock, with its bytes."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "home.lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def file_in(folder: Path, pattern: str) -> Path:
    (path,) = (path for path in folder.glob(pattern) if path.is_file())
    return path


def flip(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:40] + bytes([data[40] ^ 1]) + data[41:])
