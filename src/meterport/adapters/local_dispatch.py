"""Wake-up on one machine: a Unix datagram socket in the data folder.

The workers of one `serve` share its socket, so that a datagram wakes exactly one idle worker.
Nothing depends on it: a datagram that is lost or finds no room is made up for by polling.
"""

import os
import select
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from meterport.domain.jobs import JobId, Lane

NAME = "wake.sock"


class LocalDispatch:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def wake(self, job_id: JobId, lane: Lane) -> None:
        with (
            suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender,
            _short_path(self._folder) as path,
        ):
            sender.sendto(job_id.encode(), path)

    def remind(self, stranded: Sequence[tuple[JobId, Lane]]) -> None:
        # Datagrams that find no room are dropped.
        for job_id, lane in stranded:
            self.wake(job_id, lane)


@contextmanager
def listening(folder: Path) -> Iterator[socket.socket]:
    """Bind the folder's socket; whoever bound it before is no longer woken."""
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    with receiver, _short_path(folder) as path:
        (folder / NAME).unlink(missing_ok=True)
        receiver.bind(path)
        try:
            yield receiver
        finally:
            (folder / NAME).unlink(missing_ok=True)


class SocketWakeups:
    """`fd` is the socket that `serve` bound, None for a worker that was started by hand."""

    def __init__(self, fd: int | None) -> None:
        self._receiver = None if fd is None else socket.socket(fileno=fd)

    def wait(self, *, others: Sequence[int], timeout_s: float) -> None:
        watched: list[socket.socket | int] = [*others]
        if self._receiver is not None:
            watched.append(self._receiver)
        ready, _, _ = select.select(watched, [], [], timeout_s)
        if self._receiver in ready and self._receiver is not None:
            # Another idle worker may have taken the datagram.
            with suppress(BlockingIOError):
                self._receiver.recv(64)


@contextmanager
def _short_path(folder: Path) -> Iterator[str]:
    """A socket's path holds about 100 bytes; a deep folder is reached through its descriptor."""
    plain = str(folder / NAME)
    if len(os.fsencode(plain)) < 100 or not Path("/proc/self/fd").is_dir():
        yield plain
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{descriptor}/{NAME}"
    finally:
        os.close(descriptor)
