"""Processes of the distributed profile: jobs in PostgreSQL, files in an S3 store, real commands.

All that a `Machines` started is killed when its block ends.
"""

import os
import re
import select
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx2
import polars as pl

from tests import make
from tests.brokers import Store
from tests.e2e.service import COMMAND, ENVIRONMENT, WITHIN_S, body, session, wait_until

BUCKET = "exports"
CELERY = (sys.executable, "-m", "celery", "-A", "meterport.celery_app", "worker", "-c", "2")
WHOLE: Mapping[str, str] = MappingProxyType({})
QUEUES = ("-Q", "meterport-small,meterport-large", "--without-mingle", "--without-gossip")


@dataclass(frozen=True)
class Machines:
    """Processes on one home's settings; each `start` is another machine.

    `given` are the settings that they share, besides the data folder. What is `spoilt` has
    the environment of a broken variant.
    """

    home: make.Home
    store: Store
    given: Mapping[str, Any]
    folder: Path
    stack: ExitStack

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def variables(self) -> dict[str, str]:
        given = dict(self.given) | {"data": self.home.settings.data, "log_format": "json"}
        return {f"METERPORT_{name.upper()}": str(value) for name, value in given.items()}

    def start(
        self,
        *command: str,
        spoilt: Mapping[str, str] = WHOLE,
        stdout: int = subprocess.DEVNULL,
    ) -> subprocess.Popen[str]:
        environment = ENVIRONMENT | self.variables | dict(spoilt)
        process = started(command, environment, self.log, stdout=stdout)
        self.stack.callback(end, process)
        return process

    def api(self) -> httpx2.Client:
        process = self.start(*COMMAND, "api", "--port", "0", stdout=subprocess.PIPE)
        assert process.stdout is not None
        select.select([process.stdout], [], [], WITHIN_S)
        said = process.stdout.readline()
        url = re.search(r" on (http://\S+)", said)
        assert url, self.log.read_text()[-2000:]
        client = httpx2.Client(base_url=url[1], trust_env=False, timeout=WITHIN_S)
        return self.stack.enter_context(client)

    def celery(self, pool: str, spoilt: Mapping[str, str] = WHOLE) -> subprocess.Popen[str]:
        return self.start(*CELERY, "-P", pool, *QUEUES, spoilt=spoilt)

    def housekeeping(self, spoilt: Mapping[str, str] = WHOLE) -> subprocess.Popen[str]:
        return self.start(*COMMAND, "housekeeping", spoilt=spoilt)

    def files(self) -> dict[str, int]:
        """What can be seen in the store, with its size."""
        return self.store.sizes(BUCKET, self._prefix)

    def uploads(self) -> list[str]:
        """What was begun and never finished, which cannot be seen, and is paid for."""
        return self.store.uploads(BUCKET, self._prefix)

    @property
    def _prefix(self) -> str:
        return self.home.settings.files_url.rpartition("/")[2]


@contextmanager
def machines(
    folder: Path, store: Store, database_url: str, *frames: pl.DataFrame, **more: object
) -> Iterator[Machines]:
    files_url = f"s3://{BUCKET}/{uuid.uuid4().hex}"
    given = {"database_url": database_url, "files_url": files_url, **store.settings(), **more}
    with ExitStack() as stack:
        home = make.home(folder, *frames, **given)
        stack.callback(home.services.close)
        yield Machines(home, store, given, folder, stack)


def create(api: httpx2.Client, *, minutes: int) -> str:
    answer = api.post("/api/export/csv", json=body("123", 0, minutes))
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job_id"])


def file_of(api: httpx2.Client, job_id: str) -> bytes:
    def ended() -> bool:
        return bool(api.get(f"/api/export/status/{job_id}").json()["status"] != "pending")

    wait_until(ended)
    return api.get(f"/api/export/download/{job_id}").content


def started(
    command: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    *,
    stdout: int = subprocess.DEVNULL,
) -> subprocess.Popen[str]:
    """It leads a session of its own, so that `end` finds whatever it has started."""
    with log.open("ab") as stderr:
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            text=True,
            start_new_session=True,
        )


def end(process: subprocess.Popen[str]) -> None:
    for one in session(process.pid):
        with suppress(ProcessLookupError):
            os.kill(one.pid, signal.SIGKILL)
    process.kill()
    process.wait(WITHIN_S)
    if process.stdout is not None:
        process.stdout.close()
