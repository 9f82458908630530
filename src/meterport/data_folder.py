"""The data folder as processes share it: who works on it, and whether it is whole."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from meterport.domain.errors import StartRefused
from meterport.durable import make_folder
from meterport.settings import Settings

MARKER = "restore-under-way"
HOME_LOCK = "home.lock"

_held: list[IO[bytes]] = []
"""Open as long as the process lives."""


def hold_home(settings: Settings) -> None:
    """Keep `restore` off the home for the life of this process. Raises StartRefused beside one."""
    if settings.data.is_dir():
        with usable(settings):
            lock = (settings.data / HOME_LOCK).open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartRefused(f"a restore into {settings.data} is under way") from error
        _held.append(lock)


@contextmanager
def home_alone(settings: Settings) -> Iterator[None]:
    """Raises StartRefused while any other process works on the home."""
    with (settings.data / HOME_LOCK).open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartRefused(
                f"another process of meterport works on {settings.data}; stop it first"
            ) from error
        yield


def check_whole(settings: Settings) -> None:
    if (settings.data / MARKER).exists():
        raise StartRefused(
            f"a restore into {settings.data} was cut off; run `meterport restore BACKUP --replace` "
            "again"
        )


def make_data_folder(settings: Settings) -> None:
    with usable(settings):
        make_folder(settings.data.absolute())


@contextmanager
def usable(settings: Settings) -> Iterator[None]:
    """Raises StartRefused, with the remedy, where the data folder fails us."""
    try:
        yield
    except OSError as error:
        raise StartRefused(
            f"cannot use the data folder {settings.data}: {error.strerror}; "
            "choose another with --data or METERPORT_DATA"
        ) from error
