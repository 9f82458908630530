"""What one machine does of the work of many: figures for docs/scaling.md.

    make bench-scaling

Starts PostgreSQL and an S3 store from wheels on loopback. Counts claims a second on both databases;
exports one fleet with one and with two worker processes, from a folder to a folder and from a
store to a store; imports; and opens readings tables of many files. Prints a table.
"""

import os
import platform
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from deltalake import DeltaTable
from sqlalchemy import create_engine, make_url, text

from meterport.bootstrap import Services, prepare
from meterport.domain.errors import ExportCancelled
from meterport.domain.exports import ExportRequest
from meterport.domain.jobs import Job, Lease
from meterport.domain.period import Period
from meterport.services.choose_meters import choose_meters
from meterport.services.demo_readings import load_test_meters
from meterport.services.load_demo import load_demo
from meterport.services.submit_export import submit_export
from meterport.settings import Settings
from meterport.sources.delta_table import DataFile, commit, create, data_files
from meterport.sources.table_folder import TableFolder
from meterport.telemetry import configure_logs
from tests.brokers import Store, seaweedfs
from tests.servers import postgres

METERS, DAYS, PART_ROWS = 200, 365, 250_000
START = datetime(2025, 1, 1, tzinfo=UTC)
PERIOD = Period(START, START + timedelta(days=DAYS))
CLAIMS = 400
TABLES = (1_000, 10_000, 100_000)


def main() -> None:
    configure_logs("console", "error")
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database = stack.enter_context(postgres())
        store = stack.enter_context(seaweedfs())
        store.make_bucket("bench")
        claims(folder, database)
        fleets(folder, database, store)
    with tempfile.TemporaryDirectory() as name:
        tables(Path(name))


def claims(folder: Path, database: str) -> None:
    """Claim and hand over again: what bounds the jobs, or parts, a second."""
    for name, url in (("SQLite", ""), ("PostgreSQL", fresh(database))):
        services = prepare(Settings(data=folder / f"claims-{name}", database_url=url))
        for threads in (1, 4):
            for _ in range(CLAIMS):
                services.jobs.add(ExportRequest("123", PERIOD), owner="bench")
            seconds = timed(lambda s=services, n=threads: taken(s, n))
            print(
                f"{name}: claim and complete, {threads} at once: {CLAIMS / seconds:,.0f} a second"
            )
        services.close()


def taken(services: Services, threads: int) -> None:
    def one(number: int) -> None:
        while (job := services.jobs.claim(Lease(f"bench-{number}"))) is not None:
            services.jobs.fail(job, ExportCancelled())

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, range(threads)))


def fleets(folder: Path, database: str, store: Store) -> None:
    for place in ("folder", "store"):
        given: dict[str, object] = {"data": folder / place, "database_url": fresh(database)}
        given |= {"part_rows": PART_ROWS, "disk_reserve_mib": 0, "log_level": "error"}
        if place == "store":
            given |= {"readings_url": "s3://bench/readings", "files_url": "s3://bench/exports"}
            given |= store.settings()
        settings = Settings.model_validate(given)
        services = prepare(settings)
        loading = timed(lambda s=services: load(s))
        rows = sum(meter.rows for meter in services.catalog.all())
        print(f"{place}: import of {rows:,} rows: {rows / loading:,.0f} rows/s")
        for workers in (1, 2):
            with processes(given, workers):
                export(services)  # the first one warms them
                job, seconds = export(services)
            speed = f"{rows / seconds:,.0f} rows/s in {len(services.jobs.pieces(job))} parts"
            print(f"{place}: fleet, {workers} worker processes: {speed}, {seconds:.1f} s in all")
        assert job.file is not None
        print(f"{place}: {job.file.size_bytes / rows:.1f} bytes a row of CSV")
        services.close()


def load(services: Services) -> None:
    load_demo(
        load_test_meters(METERS),
        PERIOD.start,
        PERIOD.end,
        source=services.source,
        store=services.readings,
        catalog=services.catalog,
        audit=services.audit,
    )


def export(services: Services) -> tuple[Job, float]:
    request = choose_meters("all", PERIOD, source=services.source, catalog=services.catalog)
    began = time.perf_counter()
    job = submit_export(request, at=services.intake).job
    while (now := services.jobs.get(job.id)) is not None and now.file is None:
        assert now.error is None, now.error
        time.sleep(0.02)
    assert now is not None
    return now, time.perf_counter() - began


@contextmanager
def processes(given: Mapping[str, object], count: int) -> Iterator[None]:
    variables = {f"METERPORT_{name.upper()}": str(value) for name, value in given.items()}
    command = [sys.executable, "-m", "meterport", "worker"]
    running = [subprocess.Popen(command, env=os.environ | variables) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(60)


def tables(folder: Path) -> None:
    """What every look at the readings costs, when their table has that many files."""
    for count in TABLES:
        table = folder / str(count)
        write_log(table, count)
        seconds = min(timed(lambda t=table: data_files(DeltaTable(str(t)))) for _ in range(3))
        print(f"a readings table of {count:,} files: {seconds:.2f} s to open")


def write_log(table: Path, count: int) -> None:
    """A table that has only a log: one commit that adds so many files."""
    create(TableFolder(table))
    day = datetime(2025, 1, 1, tzinfo=UTC)
    files = [
        DataFile(
            f"month=2025-01/{n:064x}.parquet",
            8_000_000,
            1_000_000,
            "2025-01",
            f"m{n}",
            f"m{n}",
            day,
            day,
        )
        for n in range(count)
    ]
    commit(TableFolder(table), DeltaTable(str(table)), files, [])


def fresh(database: str) -> str:
    """The URL of a new database on that server."""
    name = f"bench_{uuid.uuid4().hex}"
    engine = create_engine(database, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return make_url(database).set(database=name).render_as_string(hide_password=False)


def timed(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
