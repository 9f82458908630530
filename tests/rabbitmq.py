"""RabbitMQ for tests, where it is installed: loopback only, on free ports, in its own folders."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from meterport.adapters.celery_dispatch import broker
from tests.brokers import free_port
from tests.servers import WITHIN_S

DEBIANS = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""The program itself; what is on Debian's PATH runs it in the system's own folders."""


def installed() -> Path:
    """Skips the test where there is none."""
    found = str(DEBIANS) if DEBIANS.is_file() else shutil.which("rabbitmq-server")
    if found is None or shutil.which("epmd") is None:
        message = "NO RABBITMQ: rabbitmq-server is not on PATH; Celery over amqp:// is not tested"
        warnings.warn(pytest.PytestWarning(message), stacklevel=2)
        pytest.skip(message)
    return Path(found)


@dataclass
class RabbitMq:
    """A server that can be killed, and started again on its port with what it had kept."""

    program: Path
    folder: Path
    port: int = field(default_factory=free_port)
    epmd_port: int = field(default_factory=free_port)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def start(self) -> None:
        # Its own, in the foreground: the daemon that Erlang would start outlives the test.
        epmd = ["epmd", "-address", "127.0.0.1", "-port", str(self.epmd_port)]
        self.processes = [self._started(epmd), self._started([str(self.program)])]
        deadline = time.monotonic() + WITHIN_S
        while not self._answers():
            ended = self.processes[1].poll() is not None
            if ended or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "log").read_text(errors="replace")[-3000:])
            time.sleep(0.1)

    def kill(self) -> None:
        for process in reversed(self.processes):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(WITHIN_S)
        self.processes = []

    def _started(self, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.folder),
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self.epmd_port),
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "none"),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "none.env"),
        }

    def _answers(self) -> bool:
        with suppress(OSError), broker(self.url).connection_for_read() as connection:
            connection.connect()
            return True
        return False


@contextmanager
def rabbitmq() -> Iterator[RabbitMq]:
    program = installed()
    with tempfile.TemporaryDirectory(prefix=f"rabbitmq-{uuid.uuid4().hex[:8]}-") as name:
        server = RabbitMq(program, Path(name))
        try:
            server.start()
            yield server
        finally:
            server.kill()
