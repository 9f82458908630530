"""Uploads: files that come in, in a folder of the home, each under a lock as long as it is used.

Layout: `uploads/{random}{ending}`. A process that dies leaves its file behind, but no lock; the
        next upload, the next start and each erasure remove what nobody holds.
"""

import errno
import fcntl
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from meterport import durable
from meterport.domain.errors import StorageFull, StorageUnavailable
from meterport.ports import Space
from meterport.ports.overview import Upload

CHECK_EVERY_BYTES = 8 << 20
YOUNG_S = 60.0
"""A file may be made and not locked yet."""
_FULL = {errno.ENOSPC, errno.EDQUOT}


class LocalUploads:
    def __init__(self, folder: Path, space: Space) -> None:
        self._folder = folder
        self._space = space

    @contextmanager
    def receiving(self, ending: str) -> Iterator[Upload]:
        with _translated():
            durable.make_folder(self._folder)
            self._remove_left_behind()
            path = self._folder / f"{uuid.uuid4().hex}{ending}"
            file = path.open("xb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield _LocalUpload(path, file, self._space)
        finally:
            file.close()
            path.unlink(missing_ok=True)

    def remove_left_behind(self) -> None:
        with _translated():
            if self._folder.is_dir():
                self._remove_left_behind()

    def _remove_left_behind(self) -> None:
        for path in self._folder.iterdir():
            with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
                if time.time() - os.fstat(file.fileno()).st_mtime > YOUNG_S:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()


class _LocalUpload:
    def __init__(self, path: Path, file: IO[bytes], space: Space) -> None:
        self.path = path
        self._file = file
        self._space = space
        self._unchecked = CHECK_EVERY_BYTES

    def write(self, data: bytes, /) -> None:
        with _translated():
            self._unchecked += len(data)
            if self._unchecked >= CHECK_EVERY_BYTES:
                self._space.check()
                self._unchecked = 0
            self._file.write(data)

    def end(self) -> None:
        with _translated():
            self._file.flush()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(
                "There is no space left for what was sent", "Free space in the data folder"
            ) from error
        raise StorageUnavailable(
            f"What was sent could not be stored: {error.strerror}",
            "The service needs to be able to write to its data folder",
        ) from error
