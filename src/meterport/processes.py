"""What the service's processes share: how they are told to stop, and whom they belong to."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


def has_parent(parent: int | None) -> bool:
    """Whether the process that started this one is still there; None: nobody in particular did."""
    return parent is None or os.getppid() == parent


@contextmanager
def stop_signals(stop: Callable[[], None]) -> Iterator[int]:
    """Call `stop` on SIGTERM and SIGINT.

    Yields a descriptor that becomes readable when a signal has arrived.
    """
    readable, writable = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def handle(number: int, frame: object) -> None:
        stop()
        with suppress(BlockingIOError):
            os.write(writable, b"!")

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    yield readable
