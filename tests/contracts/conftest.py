"""What the contract tests share: databases and readings of each kind, waiting, doing at once."""

import resource
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Protocol, TypeVar

import polars as pl
import pytest
from sqlalchemy import URL, Engine, MetaData, NullPool, create_engine, make_url, select, text

from meterport.adapters.sql_database import Database
from meterport.adapters.sql_schema import upgrade
from meterport.domain.period import Period
from meterport.domain.readings import FRAME_ROWS, Merged
from meterport.ports import ReadingSource, ReadingStore, ReadingUpkeep
from meterport.sources.delta import DeltaSource
from meterport.sources.delta_store import FILE_ROWS, DeltaReadings
from meterport.sources.delta_upkeep import DeltaUpkeep
from meterport.sources.table_files import TableFiles
from tests.contracts.places import File, FolderPlace, Place, new_store_place

T = TypeVar("T")
Row = tuple[str, str, float | None]
ALL = Period(datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
COLUMNS = ("smart_meter_id", "timestamp", "energy_kwh")


def wait_until(predicate: Callable[[], T | None], *, within_s: float = 60) -> T:
    """The first true answer; the bound only ends a test that would otherwise hang."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        answer = predicate()
        if answer:
            return answer
        time.sleep(0.02)
    raise AssertionError(f"it did not come true within {within_s} s")


def at_once(count: int, act: Callable[[int], T]) -> list[T]:
    """What `count` threads got that began together."""
    barrier = Barrier(count)

    def begin(number: int) -> T:
        barrier.wait(60)
        return act(number)

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(begin, range(count)))


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """Let the kernel refuse whatever would make a file longer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Postgres:
    """Makes databases on the run's PostgreSQL and drops them again."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self._admin: Engine = create_engine(url, isolation_level="AUTOCOMMIT")

    def create(self, template: str = "template1") -> str:
        name = f"test_{uuid.uuid4().hex}"
        self._run(f"CREATE DATABASE {name} TEMPLATE {template}")
        # Nothing may lean on a server that happens to run in UTC.
        self._run(f"ALTER DATABASE {name} SET timezone TO 'Asia/Kolkata'")
        return name

    def drop(self, name: str) -> None:
        self._run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def disconnect(self, name: str) -> None:
        """End every connection to the database, as a restarted server does."""
        self._run(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = :name",
            name=name,
        )

    def url(self, name: str) -> str:
        url: URL = self._url.set(database=name)
        return url.render_as_string(hide_password=False)

    def close(self) -> None:
        self._admin.dispose()

    def _run(self, statement: str, **values: str) -> None:
        with self._admin.connect() as connection:
            connection.execute(text(statement), values)


@pytest.fixture(scope="session")
def postgres(postgres_url: str) -> Iterator[Postgres]:
    server = Postgres(postgres_url)
    yield server
    server.close()


@pytest.fixture(scope="session")
def migrated(postgres: Postgres) -> str:
    """The name of a PostgreSQL database to copy: cheaper than a migration for each test."""
    name = postgres.create()
    database = Database(postgres.url(name))
    upgrade(database)
    database.engine.dispose()
    return name


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database to copy."""
    path = tmp_path_factory.mktemp("migrated") / "meterport.db"
    database = Database(f"sqlite:///{path}")
    upgrade(database)
    database.engine.dispose()
    return path


class Emptied:
    """One PostgreSQL database for many tests: back to what the migrations left, in no time."""

    def __init__(self, server: Postgres, name: str) -> None:
        self.url = server.url(name)
        self._server = server
        self._name = name
        self._engine = create_engine(self.url, poolclass=NullPool)
        self._tables = MetaData()
        self._tables.reflect(self._engine)
        with self._engine.connect() as connection:
            self._left = [
                (t, connection.execute(select(t)).all()) for t in self._tables.tables.values()
            ]

    def empty(self) -> None:
        # A test that failed may have left a transaction open.
        self._server.disconnect(self._name)
        with self._engine.begin() as connection:
            # Only a superuser may: the audit log refuses to be emptied.
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            connection.execute(text(f"TRUNCATE {', '.join(self._tables.tables)} RESTART IDENTITY"))
            for table, rows in self._left:
                if rows:
                    connection.execute(table.insert(), [row._asdict() for row in rows])


@pytest.fixture(scope="session")
def emptied(postgres: Postgres, migrated: str) -> Emptied:
    return Emptied(postgres, postgres.create(template=migrated))


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without any table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/meterport.db"
        return
    server: Postgres = request.getfixturevalue("postgres")
    name = server.create()
    yield server.url(name)
    server.drop(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database of the newest schema, with no job and no meter in it."""
    if request.param == "sqlite":
        copy = shutil.copy(request.getfixturevalue("migrated_file"), tmp_path / "meterport.db")
        made = Database(f"sqlite:///{copy}")
    else:
        shared: Emptied = request.getfixturevalue("emptied")
        shared.empty()
        made = Database(shared.url)
    yield made
    made.engine.dispose()


@dataclass(frozen=True)
class Readings:
    """A store of readings, and the source that reads what is in it."""

    store: ReadingStore
    source: ReadingSource
    place: Place

    @property
    def files(self) -> TableFiles:
        return self.place.files

    def at(self, path: str) -> File:
        return self.place.at(path)

    def merge(
        self,
        *batches: pl.DataFrame,
        known: Mapping[str, int] | None = None,
        fence: Callable[[], None] = lambda: None,
    ) -> Merged:
        return self.store.merge(batches, known_intervals=lambda _: known or {}, fence=fence)

    def frames(
        self, *meters: str, period: Period = ALL, version: int | None = None
    ) -> list[list[Row]]:
        found = self.source.scan(meters or "ABC", period, columns=COLUMNS, version=version)
        return [[(m, f"{t:%m-%dT%H:%M}", kwh) for m, t, kwh in f.iter_rows()] for f in found]

    def rows(self, *meters: str, period: Period = ALL, version: int | None = None) -> list[Row]:
        """(meter, MM-DDTHH:MM, energy_kwh), in the source's order; of A, B and C unless named."""
        frames = self.frames(*meters, period=period, version=version)
        return [row for frame in frames for row in frame]


class OpenReadings(Protocol):
    def __call__(self, *, file_rows: int = FILE_ROWS, frame_rows: int = FRAME_ROWS) -> Readings: ...


def delta_table(
    place: Place, *, file_rows: int = FILE_ROWS, frame_rows: int = FRAME_ROWS
) -> Readings:
    """The table there, which is made unless it exists."""
    store = DeltaReadings(place.files, file_rows=file_rows)
    store.create()
    return Readings(store, DeltaSource(place.files, frame_rows=frame_rows), place)


def delta_folder(folder: Path) -> Readings:
    return delta_table(FolderPlace(folder))


@pytest.fixture(params=["folder", "store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where the test's one table of readings lies."""
    if request.param == "folder":
        return FolderPlace(tmp_path / "readings")
    return new_store_place(request.getfixturevalue("s3"), tmp_path / "staging")


@pytest.fixture
def open_readings(place: Place) -> OpenReadings:
    """Opens the test's one store of readings, with the sizes that the test chooses."""
    return partial(delta_table, place)


@pytest.fixture
def readings(open_readings: OpenReadings) -> Readings:
    return open_readings()


@pytest.fixture
def upkeep(readings: Readings) -> ReadingUpkeep:
    return DeltaUpkeep(readings.files)
