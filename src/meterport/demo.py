"""The demo: load invented meters, serve, run the contract's own example through HTTP, show it."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from meterport.bootstrap import prepare
from meterport.client import Client
from meterport.domain.errors import StartRefused
from meterport.serve import check_free
from meterport.services.demo_readings import DEMO_METERS, load_test_meters
from meterport.services.load_demo import DEMO_START, load_demo
from meterport.settings import Settings

METER, START, END = "123", "2024-01-01T00:00:00Z", "2024-01-31T23:59:59Z"
START_PATIENCE_S = 60.0
SHOWN_LINES = 4

console = Console(highlight=False, soft_wrap=True)


def run_demo(settings: Settings, *, extra_meters: int, days: int, stay: bool) -> None:
    """For load tests `extra_meters` more are loaded, each with `days` days until now."""
    check_free(settings)
    _load(settings, extra_meters, days)
    with _service(settings) as (base_url, process):
        _export(Client(base_url), settings.data / "downloads")
        if stay:
            console.print(
                f"\nServing on {base_url} until Ctrl-C. Its documentation: {base_url}/docs"
            )
            process.wait()
    console.print("The service has stopped; its data stay in the data folder.")


def _load(settings: Settings, extra_meters: int, days: int) -> None:
    services = prepare(settings)
    now = datetime.now(UTC)
    began = time.monotonic()
    with console.status("Loading the demo meters …"):
        rows = 0
        for meters, start in (
            (DEMO_METERS, DEMO_START),
            (
                load_test_meters(extra_meters),
                now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days),
            ),
        ):
            merged = load_demo(
                meters,
                start,
                now,
                source=services.source,
                store=services.readings,
                catalog=services.catalog,
                audit=services.audit,
            )
            rows += merged.rows_new
    console.print(
        f"Readings: {rows:,} new rows in {time.monotonic() - began:.1f} s; "
        f"{len(services.catalog.all())} meters in {settings.data}/readings"
    )


@contextmanager
def _service(settings: Settings) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    port = _free_port(settings.port)
    command = [sys.executable, "-m", "meterport", "serve", "--data", str(settings.data)]
    command += ["--port", str(port), "--log-level", "warning"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 - our own program
    base_url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_up(Client(base_url), process)
        console.print(f"Service:  {base_url}")
        yield base_url, process
    finally:
        process.terminate()
        process.wait()


def _free_port(preferred: int) -> int:
    """The port of the README's curl lines, or another if something else has it."""
    for port in (preferred, 0):
        try:
            with socket.create_server(("127.0.0.1", port)) as probe:
                return int(probe.getsockname()[1])
        except OSError:
            continue
    raise StartRefused("no port on 127.0.0.1 is free")


def _wait_until_up(client: Client, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_PATIENCE_S
    while not client.is_up():
        if process.poll() is not None or time.monotonic() > deadline:
            raise StartRefused("the service did not start; what it wrote above says why")
        time.sleep(0.05)


def _export(client: Client, folder: Path) -> None:
    console.print(f"Request:  meter {METER}, {START} to {END}, as CSV")
    job_id = client.create(METER, START, END)
    console.print(f"Job:      {job_id}")
    with progress_bar(console) as bar:
        task = bar.add_task("Export:  ", total=None)
        status = client.wait(job_id, told=lambda status: _show(bar, task, status))
    folder.mkdir(exist_ok=True)
    target = folder / status["file_info"]["filename"]
    client.download(job_id, target)
    _show_file(target, status["file_info"])


def _show(bar: Progress, task: TaskID, status: dict[str, Any]) -> None:
    if "progress" in status:
        progress = status["progress"]
        bar.update(task, completed=progress["records_written"], total=progress["records_expected"])
    if "file_info" in status:
        rows = status["file_info"]["record_count"]
        bar.update(task, completed=rows, total=rows)


def progress_bar(on: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        console=on,
    )


def _show_file(path: Path, info: dict[str, Any]) -> None:
    size = f"{info['file_size_bytes']:,} bytes, {info['record_count']:,} rows"
    console.print(f"File:     {path} ({size}; SHA-256 checked)\n")
    with path.open(encoding="utf-8") as file:
        for _ in range(SHOWN_LINES):
            console.print("  " + file.readline().rstrip("\n"))
    console.print("  …")
