"""The API and its workers on one machine: start, watch, restart, stop."""

import fcntl
import ipaddress
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
import uvicorn

from meterport.adapters.local_dispatch import listening
from meterport.bootstrap import Services, prepare, usable
from meterport.domain.errors import StartRefused
from meterport.housekeeping import keep_house
from meterport.settings import PREFIX, Settings
from meterport.web.app import create_app

STOP_GRACE_S = 30.0
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.1, 10.0

log = structlog.get_logger()


def serve(settings: Settings, *, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; `ready` gets the base URL once requests are accepted.

    Raises StartRefused if the address, the port or the data folder cannot be used.
    """
    check_address(settings)
    services = prepare(settings)
    server = _api(services, settings)
    # From here on a signal is an order to stop, also before and after uvicorn listens to it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    with (
        _only_one(settings),
        _bound(settings.host, settings.port) as listener,
        listening(settings.data) as wake,
        Workers(settings, wake.fileno()).running(),
        _housekeeping(services),
    ):
        host, port = listener.getsockname()[:2]
        ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")
        server.run(sockets=[listener])


def check_address(settings: Settings) -> None:
    if settings.auth == "off" and not is_loopback(settings.host):
        raise StartRefused(
            f"{settings.host} can be reached by others, and the service asks for no keys yet; "
            f"listen on 127.0.0.1, or accept that with {PREFIX}AUTH=insecure-off"
        )


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Workers:
    """Worker processes; one that ends is started again, after a pause if it ended soon."""

    def __init__(self, settings: Settings, wake_fd: int) -> None:
        self._settings = settings
        self._wake_fd = wake_fd
        self._stopping = threading.Event()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()

    @contextmanager
    def running(self) -> Iterator[None]:
        keepers = [
            threading.Thread(target=self._keep, name=f"worker-{number}", daemon=True)
            for number in range(self._settings.workers)
        ]
        for keeper in keepers:
            keeper.start()
        try:
            yield
        finally:
            self._stop(keepers)

    def _keep(self) -> None:
        backoff_s = FIRST_BACKOFF_S
        while (worker := self._started()) is not None:
            started = time.monotonic()
            code = worker.wait()
            self._running.discard(worker)
            if self._stopping.is_set():
                return
            log.warning("worker_died", pid=worker.pid, code=code, restart_in_s=backoff_s)
            self._stopping.wait(backoff_s)
            lived_s = time.monotonic() - started
            backoff_s = (
                FIRST_BACKOFF_S
                if lived_s > LONGEST_BACKOFF_S
                else min(2 * backoff_s, LONGEST_BACKOFF_S)
            )

    def _started(self) -> subprocess.Popen[bytes] | None:
        command = [sys.executable, "-m", "meterport", "worker"]
        command += ["--wake-fd", str(self._wake_fd), "--parent", str(os.getpid())]
        # Under the lock, so that no worker starts behind the back of _stop.
        with self._lock:
            if self._stopping.is_set():
                return None
            worker = subprocess.Popen(  # noqa: S603 - our own program, no input in the command
                command,
                env=_environment(self._settings),
                pass_fds=[self._wake_fd],
                # A group of its own: Ctrl-C is for us, who then tell the workers.
                process_group=0,
            )
            self._running.add(worker)
            return worker

    def _stop(self, keepers: list[threading.Thread]) -> None:
        with self._lock:
            self._stopping.set()
            workers = list(self._running)
        for worker in workers:
            worker.terminate()
        deadline = time.monotonic() + STOP_GRACE_S
        for keeper in keepers:
            keeper.join(max(0.0, deadline - time.monotonic()))
        for worker in workers:
            if worker.poll() is None:
                log.warning("worker_killed", pid=worker.pid)
                worker.kill()


def _environment(settings: Settings) -> dict[str, str]:
    """The settings as a child process reads them, also those that came by option."""
    given = settings.model_dump(mode="json", exclude_defaults=True)
    own = {f"{PREFIX}{name.upper()}": _as_variable(value) for name, value in given.items()}
    return dict(os.environ) | own


def _as_variable(value: object) -> str:
    return ",".join(value) if isinstance(value, list) else str(value)


def _api(services: Services, settings: Settings) -> uvicorn.Server:
    config = uvicorn.Config(
        create_app(services, settings),
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=10,
    )
    return uvicorn.Server(config)


@contextmanager
def _housekeeping(services: Services) -> Iterator[None]:
    stopping = threading.Event()
    keeper = threading.Thread(target=keep_house, args=(services, stopping), name="housekeeping")
    keeper.start()
    try:
        yield
    finally:
        stopping.set()
        keeper.join()


@contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise StartRefused(
            f"cannot listen on {host}:{port}: {error.strerror}; "
            f"choose another with --port or {PREFIX}PORT"
        ) from error
    with listener:
        yield listener


def check_free(settings: Settings) -> None:
    """Raises StartRefused if a service runs on this data folder."""
    if settings.data.is_dir():
        with _only_one(settings):
            pass


@contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    """The lock goes with the process, however it ends."""
    with usable(settings):
        lock = (settings.data / "serve.lock").open("a")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartRefused(
                f"another meterport serves {settings.data} already; stop it, or choose "
                "another --data"
            ) from error
        yield
