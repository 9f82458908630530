"""How soon a job starts on an idle service, and what the idle service costs.

Starts `meterport serve` on a fresh folder with one meter-month of minutes, posts exports one
after another with a pause between them, and reads the two clocks from the jobs table: both
are the database's. Then leaves the service alone and counts its processor time.

    make bench
"""

import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from meterport.bootstrap import prepare
from meterport.client import Client
from meterport.services.demo_readings import DEMO_METERS
from meterport.services.load_demo import DEMO_START, load_demo
from meterport.settings import Settings

JOBS = 100
PAUSE_S = 0.1
IDLE_S = 30.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        load(data)
        with service(data) as (client, pids):
            run_jobs(client)
            idle = idle_share(pids)
        waits_ms = sorted(started - created for created, started in clocks_ms(data))
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"accepted → started, {JOBS} jobs on an idle service, ms:", end=" ")
    print(f"median {statistics.median(waits_ms):.0f}, 90 % {waits_ms[int(JOBS * 0.9)]:.0f}", end="")
    print(f", worst {waits_ms[-1]:.0f}")
    print(f"idle service ({len(pids)} processes): {idle:.2%} of a core over {IDLE_S:.0f} s")


def load(data: Path) -> None:
    services = prepare(Settings(data=data))
    load_demo(
        DEMO_METERS[:1],
        DEMO_START,
        datetime(2024, 2, 1, tzinfo=UTC),
        source=services.source,
        store=services.readings,
        catalog=services.catalog,
        audit=services.audit,
    )


@contextmanager
def service(data: Path) -> Iterator[tuple[Client, list[int]]]:
    command = [sys.executable, "-m", "meterport", "serve", "--data", str(data), "--port", "0"]
    command += ["--log-level", "warning"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    base_url = process.stdout.readline().split(" on ")[1].split()[0]
    try:
        yield Client(base_url), [process.pid, *children(process.pid)]
    finally:
        process.terminate()
        process.wait()


def run_jobs(client: Client) -> None:
    for _ in range(JOBS + 1):
        job_id = client.create("123", "2024-01-01T00:00:00Z", "2024-01-01T01:00:00Z")
        client.wait(job_id, told=lambda status: None)
        time.sleep(PAUSE_S)


def clocks_ms(data: Path) -> list[tuple[float, float]]:
    """Created and started, of all jobs but the first, which waits for the workers to be up."""
    with sqlite3.connect(data / "meterport.db") as database:
        rows = database.execute(
            "SELECT created_at, started_at FROM jobs ORDER BY created_at LIMIT -1 OFFSET 1"
        ).fetchall()
    return [(epoch_ms(created), epoch_ms(started)) for created, started in rows]


def epoch_ms(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000


def idle_share(pids: list[int]) -> float:
    time.sleep(2.0)
    before = sum(map(cpu_s, pids))
    time.sleep(IDLE_S)
    return (sum(map(cpu_s, pids)) - before) / IDLE_S


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def children(pid: int) -> list[int]:
    """Of all its threads: a worker is the child of the thread that watches it."""
    time.sleep(2.0)
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


if __name__ == "__main__":
    main()
