"""What the service's processes share: how they are told to stop, and whom they belong to."""

import os
import resource
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


def has_parent(parent: int | None) -> bool:
    """Whether the process that started this one is still there; None: nobody in particular did."""
    return parent is None or os.getppid() == parent


def limit_memory(allocated_bytes: int) -> None:
    """What this process may allocate, about twice of what it then uses; more ends or fails it."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = allocated_bytes if hard == resource.RLIM_INFINITY else min(allocated_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


class StopFlag:
    """An event that a signal handler may set: it takes no lock, which the handler's own thread
    might hold."""

    def __init__(self) -> None:
        self._is_set = False
        self._readable, self._writable = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def set(self) -> None:
        self._is_set = True
        with suppress(BlockingIOError):
            os.write(self._writable, b"!")

    def is_set(self) -> bool:
        return self._is_set

    def wait(self, timeout: float | None = None) -> bool:
        select.select([self._readable], [], [], timeout)
        return self._is_set

    def fileno(self) -> int:
        """Can be read once the flag is set."""
        return self._readable

    def close(self) -> None:
        os.close(self._readable)
        os.close(self._writable)


@contextmanager
def stop_signals() -> Iterator[StopFlag]:
    """A flag that is set on SIGTERM and SIGINT."""
    flag = StopFlag()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: flag.set())
    # Not closed: the handlers stay, and the process ends with the block.
    yield flag


_orders = {"told": False, "deferred": False}


def stop_as_on_ctrl_c() -> None:
    """On SIGTERM and on hang-up too, so that a command cleans up behind itself."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _stop)


@contextmanager
def stopped_only_where_asked() -> Iterator[Callable[[], None]]:
    """In the block an order to stop takes effect where what is yielded is called.

    Elsewhere it is raised wherever the program is: in the middle of a transaction, which then
    keeps its locks until the error is forgotten, or in a destructor, where Python drops it.
    """
    _orders["deferred"] = True
    try:
        yield _check
    finally:
        _orders["deferred"] = False


def _check() -> None:
    if _orders["told"]:
        raise KeyboardInterrupt


def _stop(*_: object) -> None:
    _orders["told"] = True
    if not _orders["deferred"]:
        raise KeyboardInterrupt
