"""The API, its workers and the housekeeping on one machine: start, serve, stop."""

import fcntl
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import FrameType
from typing import Any

import structlog
import uvicorn

from meterport.adapters.local_dispatch import listening
from meterport.bootstrap import Services, prepare
from meterport.children import Child, Children
from meterport.data_folder import usable
from meterport.domain.errors import StartRefused
from meterport.domain.jobs import Lane
from meterport.durable import make_folder
from meterport.processes import StopFlag
from meterport.settings import PREFIX, Settings
from meterport.web.app import create_app
from meterport.web.deadlines import allow_open_files
from meterport.web.protocol import Protocol
from meterport.web.watch import Watch

log = structlog.get_logger()


def serve(settings: Settings, *, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; `ready` gets the base URL once requests are accepted.

    Raises StartRefused if the address, the port or the data folder cannot be used.
    """
    with only_one(settings):
        services = prepare(settings)
        check_keys(services, settings)
        server = Server(api_config(services, settings))
        # From here on a signal is an order to stop, also before and after uvicorn listens to it.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, server.handle_exit)
        _serve(server, settings, ready)


def _serve(server: "Server", settings: Settings, ready: Callable[[str], None]) -> None:
    with (
        bound(settings.host, settings.port) as listener,
        listening(settings.data) as wake,
        _children(settings, wake.fileno()) as children,
        _stopped_at_once(server, children),
    ):
        ready(_base_url(listener))
        server.run(sockets=[listener])


def serve_api(settings: Settings, *, ready: Callable[[str], None]) -> None:
    """The API alone, of which any number may run on one database."""
    services = prepare(settings)
    check_keys(services, settings)
    server = Server(api_config(services, settings))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle_exit)
    with bound(settings.host, settings.port) as listener:
        ready(_base_url(listener))
        server.run(sockets=[listener])


def _base_url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class Server(uvicorn.Server):
    """Says when it was told to stop, which is long before the last download has ended.

    Who waits for a job is answered then, so that nobody holds the service up.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        allow_open_files()
        self.told_to_stop = StopFlag()
        app: Any = config.app
        self._watch: Watch = app.state.watch

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self.told_to_stop.set()
        self._watch.stop()


@contextmanager
def _children(settings: Settings, wake_fd: int) -> Iterator[Children]:
    command = ("worker", "--wake-fd", str(wake_fd))
    any_job = Child(command, (wake_fd,))
    # One of several takes no large job, so that small ones never wait behind those.
    small_only = Child((*command, "--lane", Lane.SMALL), (wake_fd,))
    workers = [small_only if settings.workers > 1 else any_job]
    workers += [any_job] * (settings.workers - 1)
    children = Children(settings, [*workers, Child(("housekeeping",))])
    with children.running():
        yield children


@contextmanager
def _stopped_at_once(server: Server, children: Children) -> Iterator[None]:
    """Jobs are handed back as soon as the order comes, while downloads still run."""

    def stop() -> None:
        server.told_to_stop.wait()
        children.stop()

    threading.Thread(target=stop, name="stop", daemon=True).start()
    try:
        yield
    finally:
        server.told_to_stop.set()


def check_keys(services: Services, settings: Settings) -> None:
    """Raises StartRefused where keys are asked for, and nobody could have one."""
    now = datetime.now(UTC)
    is_one_alive = any(key.is_alive(now) for key in services.keys.all())
    if is_one_alive and not settings.asks_for_keys:
        # Such as behind a proxy on this machine, through which anybody would be on loopback.
        log.warning(
            "keys_not_asked_for",
            host=settings.host,
            remedy=f"{PREFIX}AUTH=keys, if others than this machine's users reach the service",
        )
    if settings.asks_for_keys and not is_one_alive:
        raise StartRefused(
            f"the service on {settings.host} asks for keys, and there is none; make one with "
            "meterport keys create --scopes admin --meters '*'"
        )


def api_config(services: Services, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(services, settings),
        http=Protocol,
        ws="none",
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=10,
    )


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
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
        with only_one(settings):
            pass


@contextmanager
def only_one(settings: Settings) -> Iterator[None]:
    """The lock goes with the process, however it ends."""
    with usable(settings):
        make_folder(settings.data.absolute())
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
