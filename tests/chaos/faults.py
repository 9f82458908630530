"""Processes that are killed at a chosen file-system call, whose fsync fails, or that are watched.

With strace:    it attaches to a process that has stopped itself. To be killed after its n-th call,
                the process is stopped (SIGSTOP, injected) after every call that might change a
                file, and only goes on once that call is counted: so n counts the calls of all its
                threads, in the order in which they really happened, and a kill takes all threads.
                (strace's own `when=N` counts each thread apart, and would never reach the calls of
                a thread that makes fewer of them than another.) Calls that two threads make in the
                same instant count as two but may both be over at the kill.
                A sync fails by `when=N`: the N-th fsync, or fdatasync, of each thread.
Without strace: the layer in tests/chaos/layer.py does the same from inside, for the calls that
                Python makes. Said loudly. METERPORT_CHAOS_TRACER=layer chooses it.
"""

import itertools
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.chaos.calls import CHANGES, Call, Reader, calls_of
from tests.chaos.harness import ROOT, WITHIN_S, Zygote, gone, is_stopped, kill, wait_until, zygote

# With ?, for not every processor has all of them.
_CHANGES = ",".join(f"?{name}" for name in sorted(CHANGES))
# A stop stops all threads; those that only compute need not be many.
_FEW_THREADS = {"POLARS_MAX_THREADS": "1", "TOKIO_WORKER_THREADS": "1"}
_TRACED = f"trace={_CHANGES},?recvfrom,?sendto"
_STOPPING = f"inject={_CHANGES}:signal=SIGSTOP"


class Tracer(Protocol):
    processes: Zygote

    def run(
        self, do: str, data: Path, *, kill_at: int = 0, fail_sync: str = "", **order: Any
    ) -> list[Call]:
        """All calls of a process that was killed after `kill_at` of them, or went to its end.

        0 is never. Only those count that succeeded and may have changed something in `data`.
        `fail_sync` is such as "fsync:3": the third fsync returns EIO.
        """

    def watch(self, do: str, data: Path, meanwhile: Callable[[], None], **order: Any) -> list[Call]:
        """All calls of a process that runs until `meanwhile` has returned, and is then killed."""


@contextmanager
def traced(folder: Path, variant: str = "", *, layer: bool = False) -> Iterator[Tracer]:
    """Strace, or the layer where strace cannot be used or the layer is asked for."""
    layer = layer or not strace_works()
    with zygote(folder, variant, layer=layer, distributed=False, **_FEW_THREADS) as processes:
        yield _Layer(processes, folder) if layer else _Strace(processes)


@cache
def strace_works() -> bool:
    reason = _hindrance()
    if reason:
        message = f"NO STRACE ({reason}): faults are injected in Python, into fewer calls"
        warnings.warn(pytest.PytestWarning(message), stacklevel=2)
    return not reason


def _hindrance() -> str:
    """Why a process that is no child of strace cannot be traced; empty: it can."""
    if os.environ.get("METERPORT_CHAOS_TRACER") == "layer":
        return "METERPORT_CHAOS_TRACER=layer"
    stopped = "from tests.chaos.harness import wait_for_tracer; wait_for_tracer()"
    with subprocess.Popen([sys.executable, "-c", stopped], cwd=ROOT) as other:
        wait_until(lambda: is_stopped(other.pid))
        try:
            with _strace(other.pid, _STOPPING) as strace:
                assert strace.stderr is not None
                said = strace.stderr.readline()
                kill(other.pid)
                strace.kill()
        except FileNotFoundError:
            return "it is not installed"
        finally:
            kill(other.pid)
    return "" if "stopped by SIGSTOP" in said else said.strip()


def _strace(pid: int, *rules: str) -> subprocess.Popen[str]:
    options = itertools.chain.from_iterable(("-e", rule) for rule in (_TRACED, *rules))
    return subprocess.Popen(
        ["strace", "-f", "-qq", "-y", "-s", "16", *options, "-p", str(pid)],
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )


class _Strace:
    def __init__(self, processes: Zygote) -> None:
        self.processes = processes

    def run(
        self, do: str, data: Path, *, kill_at: int = 0, fail_sync: str = "", **order: Any
    ) -> list[Call]:
        rules = [_STOPPING] if kill_at else []
        if fail_sync:
            name, number = fail_sync.split(":")
            rules.append(f"inject={name}:error=EIO:when={number}")
        pid = self._start(do, data, order)
        with _traced(pid, *rules, kill_at=kill_at, data=data) as calls:
            gone(pid)
        return calls

    def watch(self, do: str, data: Path, meanwhile: Callable[[], None], **order: Any) -> list[Call]:
        pid = self._start(do, data, order)
        with _traced(pid) as calls:
            meanwhile()
        return calls

    def _start(self, do: str, data: Path, order: dict[str, Any]) -> int:
        pid = self.processes.start(do, data, stopped=True, **order)
        wait_until(lambda: is_stopped(pid), every_s=0.001)
        return pid


@contextmanager
def _traced(pid: int, *rules: str, kill_at: int = 0, data: Path = ROOT) -> Iterator[list[Call]]:
    """The list is full when the block has ended, and with it the process."""
    calls: list[Call] = []
    with _strace(pid, *rules) as strace:
        followed = _killed_after(kill_at, pid, data, _followed(strace, pid))
        reader = threading.Thread(target=lambda: calls.extend(followed))
        reader.start()
        try:
            yield calls
        finally:
            kill(pid)
            gone(pid)
            # Its calls are told. strace may miss the end of a thread, and wait for it for ever.
            strace.kill()
            reader.join(WITHIN_S)
    assert calls, "strace saw nothing"


def _followed(strace: subprocess.Popen[str], pid: int) -> Iterator[Call]:
    """The calls, as they happen; the process goes on from each stop when the next is asked for."""
    assert strace.stderr is not None
    attached, reader = False, Reader()
    for said in strace.stderr:
        if "--- stopped by SIGSTOP" in said and not attached:
            attached = True
            kill(pid, signal.SIGCONT)
        elif "--- SIGSTOP {" in said:
            kill(pid, signal.SIGCONT)
        elif (call := reader.read(said)) is not None:
            yield call


def _killed_after(count: int, pid: int, data: Path, calls: Iterable[Call]) -> Iterator[Call]:
    made = 0
    for call in calls:
        yield call
        made += call.changes(data)
        if made == count and call.changes(data):
            kill(pid)


class _Layer:
    def __init__(self, processes: Zygote, folder: Path) -> None:
        self.processes = processes
        self._folder = folder
        self._runs = itertools.count(1)

    def run(
        self, do: str, data: Path, *, kill_at: int = 0, fail_sync: str = "", **order: Any
    ) -> list[Call]:
        log, pid = self._start(do, data, order, kill_at=kill_at, fail_sync=fail_sync)
        gone(pid)
        return calls_of(log.read_text().splitlines())

    def watch(self, do: str, data: Path, meanwhile: Callable[[], None], **order: Any) -> list[Call]:
        log, pid = self._start(do, data, order)
        try:
            meanwhile()
        finally:
            kill(pid)
        gone(pid)
        return calls_of(log.read_text().splitlines())

    def _start(
        self, do: str, data: Path, order: dict[str, Any], **faults: int | str
    ) -> tuple[Path, int]:
        log = self._folder / f"calls-{next(self._runs)}"
        log.touch()
        return log, self.processes.start(do, data, faults={"log": str(log)} | faults, **order)
