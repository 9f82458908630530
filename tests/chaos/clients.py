"""Hundreds of bare connections to a service, and what they cost its process.

None of them is a client that means well; `Others` are.
"""

import resource
import select
import selectors
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

import httpx2

from tests.e2e.service import STATUS, Completed, Service, body, csv_of, wait_until

LEAST_BUFFER = 1
"""Bytes: the system makes the least of it that it has."""
BURST = 80


def allow_sockets() -> None:
    """As many as this process may have; a thousand are usual, and too few."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connected(service: Service, *, deaf: bool = False) -> socket.socket:
    """`deaf`: with so small a buffer that it is full at once."""
    address = urlsplit(service.url)
    made = socket.socket()
    if deaf:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LEAST_BUFFER)
    made.settimeout(60)
    made.connect((address.hostname, address.port))
    return made


@dataclass(frozen=True)
class HalfRequest:
    """What is sent, and then again and again: nothing, or always the same little."""

    begin: bytes
    piece: bytes = b""


class Crowd:
    """Connections that send half requests, until the service has cut all of them off."""

    def __init__(self, service: Service, *, every_s: float) -> None:
        self._service = service
        self._every_s = every_s
        self._next = 0.0
        self._selector = selectors.DefaultSelector()
        self.left: dict[socket.socket, HalfRequest] = {}
        self.cut_off = 0

    def __enter__(self) -> "Crowd":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for connection in self.left:
            connection.close()
        self._selector.close()

    def join(self, request: HalfRequest) -> None:
        connection = connected(self._service)
        self.left[connection] = request
        connection.sendall(request.begin)
        connection.setblocking(False)
        self._selector.register(connection, selectors.EVENT_READ)

    def all_cut_off(self) -> bool:
        """To be asked again and again: meanwhile they go on."""
        for key, _ in self._selector.select(0):
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            if is_over(connection):
                self._leave(connection)
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + self._every_s
            self._send_pieces()
        return not self.left

    def _send_pieces(self) -> None:
        for connection, request in list(self.left.items()):
            if request.piece:
                try:
                    connection.send(request.piece)
                except OSError:
                    self._leave(connection)

    def _leave(self, connection: socket.socket) -> None:
        del self.left[connection]
        self._selector.unregister(connection)
        connection.close()
        self.cut_off += 1


def is_over(connection: socket.socket) -> bool:
    """Whether the service has closed it."""
    try:
        return not connection.recv(65536)
    except (BlockingIOError, TimeoutError):
        return False
    except OSError:
        return True


def is_dropped(connection: socket.socket) -> bool:
    """Whether the service has cut it off, though nothing of it is read."""
    poll = select.poll()
    poll.register(connection, 0)
    return bool(poll.poll(0))


@dataclass
class Others:
    """Clients who mean well: they ask for exports, and want them whole and at once."""

    service: Service
    key: Mapping[str, str] = field(default_factory=dict)
    exports: list[str] = field(default_factory=list)
    accidents: list[str] = field(default_factory=list)

    @contextmanager
    def served_meanwhile(self, clients: int = 2) -> Iterator[None]:
        """All of them have been served when the block begins, and once more when it ends."""
        stop = threading.Event()
        with ThreadPoolExecutor(clients) as threads:
            asking = [threads.submit(self._ask, stop) for _ in range(clients)]
            try:
                self._served_again(asking)
                yield
                self._served_again(asking)
            finally:
                stop.set()
        errors = [one.exception() for one in asking]
        self.accidents += [f"another was not served: {error!r}" for error in errors if error]

    def _served_again(self, asking: Sequence[Future[None]]) -> None:
        wanted = len(self.exports) + 2 * len(asking)
        wait_until(lambda: len(self.exports) >= wanted or any(one.done() for one in asking))

    def _ask(self, stop: threading.Event) -> None:
        url, key = self.service.url, self.key
        with httpx2.Client(base_url=url, headers=key, trust_env=False, timeout=60) as http:
            while not stop.is_set():
                self.exports.append(self._export(http))

    def _export(self, http: httpx2.Client) -> str:
        created = http.post("/api/export/csv", json=body("123", 0, 60))
        assert created.status_code == 202, created.text
        job_id: str = created.json()["job_id"]
        wait_until(lambda: self._is_completed(http, job_id), every_s=0.05)
        answer = http.get(f"/api/export/download/{job_id}")
        assert answer.content == csv_of("123", first=0, rows=60), answer.status_code
        return job_id

    def _is_completed(self, http: httpx2.Client, job_id: str) -> bool:
        answer = http.get(f"/api/export/status/{job_id}")
        assert answer.status_code == 200, answer.text
        return isinstance(STATUS.validate_json(answer.text), Completed)


class Burden:
    """What the API's own process has: open files, threads, and memory of its own."""

    def __init__(self, service: Service) -> None:
        self._proc = Path(f"/proc/{service.process.pid}")

    def open_files(self) -> int:
        return len(list((self._proc / "fd").iterdir()))

    def threads(self) -> int:
        return self._of("Threads")

    def private_mib(self) -> int:
        """Without the code of libraries, of which all processes have the same pages."""
        return self._of("RssAnon") >> 10

    def _of(self, name: str) -> int:
        lines = (self._proc / "status").read_text().splitlines()
        (value,) = (line.split()[1] for line in lines if line.startswith(f"{name}:"))
        return int(value)


def warmed_up(service: Service) -> Burden:
    """After as many requests at once as its threads and connections can take."""

    def ask(_: int) -> None:
        assert service.http.get("/api/exports").status_code == 200

    with ThreadPoolExecutor(BURST) as threads:
        list(threads.map(ask, range(4 * BURST)))
    return Burden(service)
