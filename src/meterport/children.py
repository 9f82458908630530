"""The processes that `serve` starts: watched, started again with a pause, told to stop, ended."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from meterport.settings import Settings, environment_of

STOP_GRACE_S = 30.0
LONGEST_PAUSE_S = 10.0

log = structlog.get_logger()


@dataclass(frozen=True)
class Child:
    """A command of ours, and the descriptors that it inherits."""

    command: Sequence[str]
    fds: Sequence[int] = ()


class Children:
    """One that ends is started again, after a pause that grows if it ended soon."""

    def __init__(self, settings: Settings, children: Sequence[Child]) -> None:
        self._environment = environment_of(settings)
        self._first_pause_s = settings.worker_restart_s
        self._stopping = threading.Event()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._deadline = 0.0
        self._keepers = [
            threading.Thread(target=self._keep, args=(child,), daemon=True) for child in children
        ]

    @contextmanager
    def running(self) -> Iterator[None]:
        for keeper in self._keepers:
            keeper.start()
        try:
            yield
        finally:
            self.stop()
            self._end()

    def stop(self) -> None:
        """Tell them to stop, and start none any more; may be called again."""
        with self._lock:
            if not self._stopping.is_set():
                self._deadline = time.monotonic() + STOP_GRACE_S
            self._stopping.set()
            running = list(self._running)
        for process in running:
            process.terminate()

    def _keep(self, child: Child) -> None:
        pause_s = self._first_pause_s
        while not self._stopping.is_set():
            started = time.monotonic()
            told = self._lived(child)
            if self._stopping.is_set():
                return
            if time.monotonic() - started > LONGEST_PAUSE_S:
                pause_s = self._first_pause_s
            log.warning(f"{child.command[0]}_died", **told, restart_in_s=pause_s)
            self._stopping.wait(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _lived(self, child: Child) -> dict[str, object]:
        """Start it, wait for its end, and tell of that."""
        try:
            process = self._started(child)
        except OSError as error:  # no memory or no process left: it may pass
            return {"reason": error.strerror}
        if process is None:
            return {}
        code = process.wait()
        self._running.discard(process)
        return {"pid": process.pid, "code": code}

    def _started(self, child: Child) -> subprocess.Popen[bytes] | None:
        command = [sys.executable, "-m", "meterport", *child.command, "--parent", str(os.getpid())]
        # Under the lock, so that none starts behind the back of `stop`.
        with self._lock:
            if self._stopping.is_set():
                return None
            process = subprocess.Popen(  # noqa: S603 - our own program, no input in the command
                command,
                env=self._environment,
                pass_fds=child.fds,
                # A group of its own: Ctrl-C is for us, who then tell the children.
                process_group=0,
            )
            self._running.add(process)
            return process

    def _end(self) -> None:
        for keeper in self._keepers:
            keeper.join(max(0.0, self._deadline - time.monotonic()))
        for process in list(self._running):
            if process.poll() is None:
                log.warning("child_killed", pid=process.pid)
                process.kill()
