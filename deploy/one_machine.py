"""The distributed profile on one machine, from wheels: `make demo-distributed`.

Starts PostgreSQL, Valkey and an S3 store (SeaweedFS) on loopback, two APIs, three Celery workers
and the housekeeping; exports a fleet; kills a worker in the middle; downloads the file through
the other API and compares it with what one process alone writes. All but the file goes at the end.
"""

import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from rich.console import Console

from meterport.bootstrap import Services, prepare
from meterport.client import Client
from meterport.demo import progress_bar
from meterport.domain.jobs import Job
from meterport.domain.period import Period
from meterport.domain.readings import DEFAULT_COLUMNS
from meterport.domain.sheets import Sheet
from meterport.encoders import FORMATS
from meterport.services.choose_meters import choose_meters
from meterport.services.demo_readings import load_test_meters
from meterport.services.load_demo import load_demo
from meterport.services.submit_export import submit_export
from meterport.settings import load_settings
from meterport.telemetry import configure_logs
from tests.brokers import Store, Valkey, seaweedfs, valkey
from tests.servers import postgres

METERS, DAYS = 200, 180
START = datetime(2026, 1, 1, tzinfo=UTC)
PART_ROWS = 50_000
PATIENCE_S = 120.0
LANES = ("meterport-small", "meterport-small,meterport-large", "meterport-small,meterport-large")
FOLDER = Path("meterport-data/downloads")

console = Console(highlight=False, soft_wrap=True)
MeterportProcess = subprocess.Popen[str]


def main() -> None:
    arguments = ArgumentParser(description="The distributed profile on one machine.")
    arguments.add_argument("--days", type=int, default=DAYS, help="how many of each meter")
    period = Period(START, START + timedelta(days=arguments.parse_args().days))
    configure_logs("console", "error")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="meterport-")))
        machine = Machine(folder, variables(stack, folder))
        stack.callback(machine.stop)
        services = loaded(period)
        stack.callback(services.close)
        apis, workers = started(machine)
        job = asked(services, period)
        killed_in_the_middle(services, job, workers[-1])
        target = downloaded(apis[1], job)
        verified(services, job, target)


def variables(stack: ExitStack, folder: Path) -> dict[str, str]:
    """The servers, started, as meterport's settings."""
    with console.status("Starting PostgreSQL, Valkey and SeaweedFS …"):
        database: str = stack.enter_context(postgres())
        broker: Valkey = stack.enter_context(valkey())
        store: Store = stack.enter_context(seaweedfs())
        store.make_bucket("meterport")
    console.print(f"Database: {database}\nBroker:   {broker.url}\nStore:    {store.endpoint}")
    chosen = {
        "DATA": str(folder / "data"),
        "DATABASE_URL": database,
        "BROKER_URL": broker.url,
        "FILES_URL": "s3://meterport/exports",
        "READINGS_URL": "s3://meterport/readings",
        "PART_ROWS": str(PART_ROWS),
        "JOB_LEASE_S": "3",
        "LOG_LEVEL": "error",
    }
    return {f"METERPORT_{name}": value for name, value in chosen.items()} | store.variables()


@dataclass
class Machine:
    """Starts meterport's processes, each in a session of its own, and ends them."""

    folder: Path
    variables: dict[str, str]

    def __post_init__(self) -> None:
        self.processes: list[MeterportProcess] = []
        os.environ |= self.variables

    def start(self, *arguments: str, stdout: int = subprocess.DEVNULL) -> MeterportProcess:
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - our own programs
                [sys.executable, "-m", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def stop(self) -> None:
        for process in self.processes:
            kill(process, signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                kill(process, signal.SIGKILL)
            if process.stdout is not None:
                process.stdout.close()

    def api(self) -> str:
        """Its address."""
        process = self.start("meterport", "api", "--port", "0", stdout=subprocess.PIPE)
        assert process.stdout is not None  # noqa: S101 - asked for a line above
        select.select([process.stdout], [], [], PATIENCE_S)
        said = re.search(r"http://\S+", process.stdout.readline())
        if said is None:
            raise SystemExit("the API did not start:\n" + (self.folder / "log").read_text())
        return said[0]


def loaded(period: Period) -> Services:
    services = prepare(load_settings())
    with console.status(f"Loading {METERS} meters …"):
        began = time.monotonic()
        merged = load_demo(
            load_test_meters(METERS),
            period.start,
            period.end,
            source=services.source,
            store=services.readings,
            catalog=services.catalog,
            audit=services.audit,
        )
    console.print(
        f"Readings: {merged.rows_new:,} rows of {METERS} meters "
        f"in {time.monotonic() - began:.1f} s, s3://meterport/readings"
    )
    return services


def started(machine: Machine) -> tuple[list[str], list[MeterportProcess]]:
    with console.status("Starting two APIs, three Celery workers, the housekeeping …"):
        celery = ("celery", "-A", "meterport.celery_app", "worker", "-c", "1", "--loglevel=error")
        workers = [machine.start(*celery, "-n", f"w{n}", "-Q", q) for n, q in enumerate(LANES, 1)]
        machine.start("meterport", "housekeeping")
        apis = [machine.api() for _ in range(2)]
    console.print(f"APIs:     {', '.join(apis)}\nWorkers:  one for small exports, two for any")
    return apis, workers


def asked(services: Services, period: Period) -> Job:
    request = choose_meters("all", period, source=services.source, catalog=services.catalog)
    job = submit_export(request, at=services.intake).job
    days = (period.end - period.start).days
    console.print(f"Fleet:    {len(request.fleet)} meters, {days} days: job {job.id}")
    return job


def killed_in_the_middle(services: Services, job: Job, worker: MeterportProcess) -> None:
    """Returns when the export is finished."""
    with progress_bar(console) as bar:
        task = bar.add_task("Export:  ", total=None)

        def now() -> Job:
            found = services.jobs.get(job.id)
            assert found is not None  # noqa: S101 - it was just stored
            bar.update(task, completed=found.rows_written, total=found.rows_expected)
            return found

        wait(lambda: now().rows_written > 3 * PART_ROWS)
        kill(worker, signal.SIGKILL)
        rows = now().rows_written
        bar.console.print(f"Killed:   a worker and its child (kill -9), at {rows:,} rows")
        wait(lambda: now().file or now().error)
        ended = now()
        bar.update(task, total=ended.rows_written)
    if ended.error is not None:
        raise SystemExit(f"the export failed: {ended.error.message}")
    attempts = [piece.key.rpartition("-")[2] for piece in services.jobs.pieces(ended)]
    again = sum(attempt != "1" for attempt in attempts)
    console.print(f"Parts:    {len(attempts)}, {again} of them begun again, joined to one file")


def downloaded(api: str, job: Job) -> Path:
    FOLDER.mkdir(parents=True, exist_ok=True)
    target = FOLDER / job.request.filename("csv")
    Client(api).download(job.id, target)
    return target


def verified(services: Services, job: Job, target: Path) -> None:
    """What one process writes, without parts, has to have the same bytes."""
    ended = services.jobs.get(job.id)
    alone = Hashed()
    meters = services.jobs.meters(job)
    frames = services.source.scan(meters, job.request.period, columns=DEFAULT_COLUMNS)
    sheet = Sheet(tuple(meters), job.request.period, job.created_at)
    FORMATS["csv"].encode(frames, alone, sheet)
    data = target.read_bytes()
    if ended is None or ended.file is None or alone.sha256.hexdigest() != ended.file.sha256:
        raise SystemExit("the file is not what one process writes")
    console.print(
        f"File:     {target} ({len(data):,} bytes, {ended.file.rows:,} rows)\n"
        f"Verified: SHA-256 {ended.file.sha256}\n"
        "          is that of the download, and of what one process alone writes without parts\n"
    )
    for line in data[:300].decode().splitlines()[:4]:
        console.print("  " + line)
    console.print("  …")


class Hashed:
    def __init__(self) -> None:
        self.sha256 = sha256()

    def write(self, data: bytes, /) -> None:
        self.sha256.update(data)


def wait(until: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not until():
        if time.monotonic() > deadline:
            raise SystemExit(f"it did not happen within {PATIENCE_S:.0f} s")
        time.sleep(0.02)


def kill(process: MeterportProcess, number: int) -> None:
    """The process and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


if __name__ == "__main__":
    main()
