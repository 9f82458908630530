"""What the chaos tests share: chance with a seed, sizes, counts, and processes to be killed.

Seed:  METERPORT_CHAOS_SEED; else drawn, and printed with the counts, so that it can be replayed.
Size:  a few rounds of each test in `make test`, the full ones with METERPORT_CHAOS=full.
"""

import ctypes
import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import structlog

ROOT = Path(__file__).parents[2]
WITHIN_S = 60.0
PR_SET_PTRACER, ANY_PROCESS = 0x59616D61, -1
T = TypeVar("T")


def drawn_seed() -> int:
    given = os.environ.get("METERPORT_CHAOS_SEED")
    return int(given) if given else random.SystemRandom().randrange(1, 1_000_000)


def add(counts: Counter[str], more: Mapping[str, int]) -> None:
    """Sums, but for what is named a peak: the largest counts."""
    for name, count in more.items():
        peak = name.startswith("peak_")
        counts[name] = max(counts[name], count) if peak else counts[name] + count


@dataclass
class Chaos:
    """Chance and counts of one test. `found` is what must never be: each an accident in words."""

    name: str
    seed: int
    counts: Counter[str]
    random: random.Random
    full: bool
    found: list[str] = field(default_factory=list)
    patience_s: float = WITHIN_S

    def size(self, commit: int, *, full: int) -> int:
        return full if self.full else commit

    def some(self, all_: Sequence[T], commit: int) -> Sequence[T]:
        """That many of them, drawn; all of them in full size."""
        return self.random.sample(all_, self.size(min(commit, len(all_)), full=len(all_)))

    def count(self, **counts: int) -> None:
        add(self.counts, counts)

    def expect(self, promise: bool, otherwise: str) -> None:
        if not promise:
            self.found.append(otherwise)

    def toothless(self, name: str) -> "Chaos":
        """For a run on a broken variant: its counts are not the product's."""
        chance = random.Random(f"{self.seed}:{self.name}:{name}")  # noqa: S311
        return Chaos(name, self.seed, Counter(), chance, full=False, patience_s=4)


def wait_until(
    predicate: Callable[[], T | None], *, every_s: float = 0.01, within_s: float = WITHIN_S
) -> T:
    """The predicate's first true answer; the bound only ends a test that would otherwise hang."""
    deadline = time.monotonic() + within_s
    while not (answer := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited for {within_s:.0f} s, and it did not come true")
        time.sleep(every_s)
    return answer


def spoilt(*variants: str) -> dict[str, str]:
    """The environment in which the product's own commands are those variants of it."""
    path = [str(ROOT / "tests" / "chaos" / "site"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "METERPORT_TEST_VARIANT": ",".join(variants),
    }


@contextmanager
def quiet_logs() -> Iterator[None]:
    """Of what crashes in this process alone, and without the locals of frames, which take long."""
    renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    level = structlog.make_filtering_bound_logger(logging.ERROR)
    structlog.configure(processors=[renderer], wrapper_class=level)
    try:
        yield
    finally:
        structlog.reset_defaults()


class Zygote:
    """Starts warm processes of the product, whole or of a broken variant."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self.log = log

    def start(self, do: str, data: Path, **order: Any) -> int:
        """The id of the new process; see tests/chaos/zygote.py for what it may be told to do."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = json.dumps({"do": do, "data": str(data), "log": str(self.log), **order})
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@contextmanager
def zygote(
    folder: Path,
    variant: str = "",
    *,
    layer: bool = False,
    distributed: bool = False,
    **variables: str,
) -> Iterator[Zygote]:
    """All that it started is killed when the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.chaos.zygote", *([variant] if variant else [])]
    command += ["--layer"] if layer else []
    command += ["--distributed"] if distributed else []
    clean = {name: value for name, value in os.environ.items() if "METERPORT_" not in name}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=clean | variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield Zygote(process, folder / "log")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(WITHIN_S)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


@contextmanager
def killed_after(pid: int, seconds: float) -> Iterator[None]:
    """The process lives that long, and ends with the block at the latest."""
    timer = threading.Timer(seconds, kill, [pid])
    timer.start()
    try:
        yield
    finally:
        timer.join()
        gone(pid)


def is_alive(pid: int) -> bool:
    """Also while only its last threads are left: until they go, it holds its locks."""
    tasks = Path(f"/proc/{pid}/task")
    with suppress(FileNotFoundError, ProcessLookupError):
        return any(_state(tasks / task) not in ("", "Z", "X") for task in os.listdir(tasks))
    return False


def is_stopped(pid: int) -> bool:
    return _state(Path(f"/proc/{pid}")) in ("T", "t")


def gone(pid: int, *, within_s: float = WITHIN_S) -> None:
    """Wait until the process has ended."""
    wait_until(lambda: not is_alive(pid), every_s=0.001, within_s=within_s)


def wait_for_tracer() -> None:
    """Let a process that is no ancestor trace this one, and stop until it sends SIGCONT."""
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, ANY_PROCESS, 0, 0, 0)
    os.kill(os.getpid(), signal.SIGSTOP)


def _state(process: Path) -> str:
    """The letter of ps; empty: there is no such process or thread."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""
