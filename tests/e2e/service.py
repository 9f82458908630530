"""A real `meterport serve` for tests: started, asked, paused, stopped, killed.

Waits:     every one is bounded by WITHIN_S, which only ends a test that would otherwise hang.
Processes: `serve` leads a session of its own, and whatever is left in it when the block ends is
           killed; so nothing outlives a test, whatever the test did to it.
"""

import json
import os
import re
import select
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import httpx2
import pytest
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from meterport.domain.period import iso_utc
from tests import make

WITHIN_S = 60.0
ENVIRONMENT = {name: value for name, value in os.environ.items() if "METERPORT_" not in name}
COMMAND = (sys.executable, "-m", "meterport")
T = TypeVar("T")


def wait_until(predicate: Callable[[], T | None], *, every_s: float = 0.02) -> T:
    """The predicate's first true answer."""
    deadline = time.monotonic() + WITHIN_S
    while not (answer := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited for {WITHIN_S:.0f} s, and it did not come true")
        time.sleep(every_s)
    return answer


class Answer(BaseModel):
    """A body of the frozen tier as a strict client reads it: these keys, and no other."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


Utc = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]


class Accepted(Answer):
    job_id: str
    status: Literal["pending"]
    message: Literal["Export job created successfully"]


class Progress(Answer):
    percent: Annotated[int, Field(ge=0, le=99)]
    records_written: Annotated[int, Field(gt=0)]
    records_expected: int


class Pending(Answer):
    job_id: str
    status: Literal["pending"]
    message: Literal["Job is being processed"]
    created_at: Utc
    updated_at: Utc
    progress: Progress | None = None


class ExportPeriod(Answer):
    start: Utc
    end: Utc


class FileInfo(Answer):
    filename: str
    download_url: str
    file_size_bytes: int
    record_count: int
    export_period: ExportPeriod


class Completed(Answer):
    job_id: str
    status: Literal["completed"]
    message: Literal["Export completed successfully"]
    created_at: Utc
    updated_at: Utc
    file_info: FileInfo


class Error(Answer):
    code: str
    message: str
    details: str


class Failed(Answer):
    job_id: str
    status: Literal["failed"]
    message: Literal["Export failed"]
    created_at: Utc
    updated_at: Utc
    error: Error


class Refused(Answer):
    """The envelope of every error that is not a failed job."""

    status: Literal["error"]
    message: str
    error: Error
    request_id: str


Status = Annotated[Pending | Completed | Failed, Field(discriminator="status")]
STATUS: TypeAdapter[Pending | Completed | Failed] = TypeAdapter(Status)


@dataclass(frozen=True)
class Process:
    """`state` is the letter of ps: T is stopped."""

    pid: int
    parent: int
    state: str


def session(leader: int) -> list[Process]:
    """The living processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            state, parent, _, own, *_ = path.read_text().rpartition(")")[2].split()
            if int(own) == leader and state not in "ZX":
                found.append(Process(int(path.parent.name), int(parent), state))
    return found


@dataclass(frozen=True)
class Service:
    """A running service. What it logs goes to the file `log`."""

    url: str
    process: subprocess.Popen[str]
    data: Path
    log: Path
    http: httpx2.Client
    workers_wanted: int

    def create(self, meter: str = "123", *, first: int = 0, minutes: int = 60) -> str:
        """The id of an accepted export of those minutes since 2024 began."""
        answer = self.http.post("/api/export/csv", json=body(meter, first, minutes))
        assert answer.status_code == 202, answer.text
        return Accepted.model_validate_json(answer.text).job_id

    def status(self, job_id: str) -> Pending | Completed | Failed:
        answer = self.http.get(f"/api/export/status/{job_id}")
        assert answer.status_code == 200, answer.text
        return STATUS.validate_json(answer.text)

    def ended(self, job_id: str) -> Completed | Failed:
        def ended() -> Completed | Failed | None:
            status = self.status(job_id)
            return None if isinstance(status, Pending) else status

        answer = wait_until(ended)
        assert isinstance(answer, Completed | Failed)
        return answer

    def completed(self, job_id: str) -> Completed:
        status = self.ended(job_id)
        assert isinstance(status, Completed), status
        return status

    def failed(self, job_id: str) -> Failed:
        status = self.ended(job_id)
        assert isinstance(status, Failed), status
        return status

    def download(self, job_id: str) -> bytes:
        answer = self.http.get(f"/api/export/download/{job_id}")
        assert answer.status_code == 200, answer.text
        return answer.content

    def workers(self) -> set[int]:
        """The ids of the living workers, once there are as many as there should be."""
        return wait_until(self._all_workers)

    def events(self, name: str) -> list[dict[str, Any]]:
        return [event for event in logged(self.log) if event["event"] == name]

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No worker runs inside, and none of them holds the database meanwhile."""
        stopped = wait_until(self._paused)
        try:
            yield
        finally:
            resume(stopped)

    def _paused(self) -> set[int] | None:
        workers = self.workers()
        freeze(workers)
        if database_is_free(self.data):
            return workers
        resume(workers)
        return None

    def _all_workers(self) -> set[int] | None:
        assert self.process.poll() is None, f"the service has ended: {self.log.read_text()}"
        found = self.children("worker")
        return found if len(found) == self.workers_wanted else None

    def children(self, command: str) -> set[int]:
        """The processes that `serve` started with that command of ours."""
        own = (p.pid for p in session(self.process.pid) if p.parent == self.process.pid)
        return {pid for pid in own if command in _command_line(pid)}

    def stop(self) -> int:
        """The exit code after SIGTERM."""
        self.process.terminate()
        return self.process.wait(WITHIN_S)

    def kill(self, pids: set[int]) -> None:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not pids & {p.pid for p in session(self.process.pid)})


@contextmanager
def running(
    data: Path, *, workers: int = 1, inside: Sequence[str] = (), **variables: object
) -> Iterator[Service]:
    """A service on that folder; `inside` is put before its command."""
    command = [*inside, *COMMAND, "serve", "--data", str(data), "--port", "0"]
    command += ["--workers", str(workers)]
    log = Path(tempfile.mkdtemp(prefix="serve-", dir=data.parent)) / "log"
    # Made beforehand, so that a test can act at the very moment when the service is ready.
    with httpx2.Client(trust_env=False, timeout=WITHIN_S) as http, log.open("wb") as stderr:
        process = subprocess.Popen(
            command,
            env=ENVIRONMENT | {name: str(value) for name, value in variables.items()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
        )
        try:
            http.base_url = url = _told(process, log)
            yield Service(url, process, data, log, http, workers)
        finally:
            end_session(process)
            assert process.stdout is not None
            process.stdout.close()


def _told(process: subprocess.Popen[str], log: Path) -> str:
    """The URL in the line that says that the service is ready."""
    assert process.stdout is not None
    select.select([process.stdout], [], [], WITHIN_S)
    said = process.stdout.readline()
    ready = re.search(r" on (http://\S+) with ", said)
    assert ready, f"not ready: {said!r}; exit code {process.poll()}; {log.read_text()}"
    return ready[1]


def end_session(process: subprocess.Popen[Any]) -> None:
    """Kill what is left; the leader first, since it starts workers anew."""
    process.kill()
    process.wait(WITHIN_S)

    def ended() -> bool:
        left = session(process.pid)
        for one in left:
            with suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGKILL)
        return not left

    wait_until(ended)


def _command_line(pid: int) -> list[str]:
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return []


def freeze(pids: set[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: all(_state(pid) in "TZ" for pid in pids))


def resume(pids: set[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def database_is_free(data: Path) -> bool:
    with closing(sqlite3.connect(data / "meterport.db", timeout=0)) as connection:
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            return False
        return True


def with_mounts(script: str) -> list[str]:
    """Put before a command: it runs, with its own mounts, after the script that made them."""
    prefix = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec"]
    try:
        subprocess.run([*prefix, "mount -t tmpfs tmpfs /mnt"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        message = f"NO NAMESPACES: a mount of one's own is not permitted ({error})"
        warnings.warn(pytest.PytestWarning(message), stacklevel=2)
        pytest.skip(message)
    return [*prefix, f'{script}; exec "$@"', "sh"]


class Gate:
    """A job's part file that takes only the bytes which are let through, as a slow disk would.

    It must be there before the attempt begins, and an attempt that met it cannot publish.
    """

    def __init__(self, data: Path, job_id: str, *, attempt: int) -> None:
        parts = data / "exports" / ".parts"
        parts.mkdir(exist_ok=True)
        os.mkfifo(parts / f"{job_id}.{attempt}")
        self._pipe = os.open(parts / f"{job_id}.{attempt}", os.O_RDONLY | os.O_NONBLOCK)

    def __enter__(self) -> "Gate":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._pipe)

    def let_through(self, size_bytes: int) -> None:
        left = size_bytes

        def passed() -> bool:
            nonlocal left
            with suppress(BlockingIOError):
                left -= len(os.read(self._pipe, min(left, 1 << 20)))
            return not left

        wait_until(passed, every_s=0.001)

    def open(self) -> None:
        """Let everything through until the writer closes the part."""
        os.set_blocking(self._pipe, True)
        while os.read(self._pipe, 1 << 20):
            pass


def body(meter: str, first: int, minutes: int) -> dict[str, object]:
    start = make.JANUARY + timedelta(minutes=first)
    end = start + timedelta(minutes=minutes)
    return make.body(smart_meter_id=meter, start_datetime=iso_utc(start), end_datetime=iso_utc(end))


def csv_of(meter: str, *, first: int, rows: int) -> bytes:
    """The contract's CSV of those rows of make.many_readings, written without its encoder."""
    energy_kwh = make.many_readings(first + rows)["energy_kwh"].to_list()
    times = (make.JANUARY + timedelta(minutes=n) for n in range(first, first + rows))
    lines = [
        f"{time:%Y-%m-%dT%H:%M:%SZ},{meter},{value},2.1,230.1,9.1"
        for time, value in zip(times, energy_kwh[first:], strict=True)
    ]
    return make.csv_lines(*lines).encode()


def logged(log: Path) -> list[dict[str, Any]]:
    """Every event of a log; of two processes that wrote at once, a line may hold two."""
    events, decoder = [], json.JSONDecoder()
    for line in log.read_text().splitlines():
        rest = line
        while rest.startswith("{"):
            event, end = decoder.raw_decode(rest)
            events.append(event)
            rest = rest[end:]
    return events


def meterport(
    *arguments: str | Path, inside: Sequence[str] = (), **variables: object
) -> subprocess.CompletedProcess[str]:
    """Run one of the program's commands to its end."""
    return subprocess.run(
        [*inside, *COMMAND, *map(str, arguments)],
        env=ENVIRONMENT | {name: str(value) for name, value in variables.items()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
