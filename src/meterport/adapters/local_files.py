"""ObjectStore in a local folder.

Layout: `{job_id}/{attempt}` once published; until then `.parts/{job_id}.{attempt}`.
Order:  fsync(part), rename, fsync(folder); only then may a row point at the file.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from meterport import durable
from meterport.domain.errors import FileGenerationFailed, StorageFull
from meterport.domain.exports import StoredObject
from meterport.ports import Draft, Space

_FULL = {errno.ENOSPC, errno.EDQUOT}


class LocalFiles:
    is_remote = False

    def __init__(self, folder: Path, space: Space) -> None:
        self._folder = folder
        self._space = space
        self._parts = folder / ".parts"

    @contextmanager
    def draft(self, key: str) -> Iterator[Draft]:
        with _translated():
            durable.make_folder(self._parts)
            draft = _LocalDraft(self._part(key), self._file(key), self._space)
        try:
            yield draft
        finally:
            draft.close()

    def stat(self, key: str) -> StoredObject | None:
        try:
            stat = self._file(key).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return StoredObject(
            stat.st_size, f"{stat.st_ino}-{stat.st_size}-{stat.st_mtime_ns}-{stat.st_ctime_ns}"
        )

    def open(self, key: str) -> BinaryIO:
        return self._file(key).open("rb")

    def link(self, key: str, *, filename: str, media_type: str) -> str | None:
        return None

    def delete(self, key: str) -> None:
        self.discard(key)
        with suppress(FileNotFoundError, NotADirectoryError):
            self._file(key).unlink()
        # The job's folder stays as long as another attempt's file lies in it.
        with suppress(OSError):
            self._file(key).parent.rmdir()

    def discard(self, key: str) -> None:
        with suppress(FileNotFoundError, NotADirectoryError):
            self._part(key).unlink()

    def keys(self) -> Iterator[str]:
        yield from self.drafts()
        for job in _entries(self._folder):
            if not job.name.startswith("."):
                for file in _entries(job):
                    if not file.is_dir():
                        yield f"{job.name}/{file.name}"

    def drafts(self) -> Iterator[str]:
        for part in _entries(self._parts):
            yield part.name.replace(".", "/")

    def _file(self, key: str) -> Path:
        return self._folder / key

    def _part(self, key: str) -> Path:
        return self._parts / key.replace("/", ".")


class _LocalDraft:
    def __init__(self, part: Path, final: Path, space: Space) -> None:
        self._space = space
        self._part = part
        self._final = final
        self._file = part.open("wb", buffering=0)
        self._size_bytes = 0

    def write(self, data: bytes, /) -> None:
        with _translated():
            self._space.check()
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
        self._size_bytes += len(data)

    def publish(self) -> None:
        with _translated():
            on_disk = os.fstat(self._file.fileno()).st_size
            if on_disk != self._size_bytes:
                raise FileGenerationFailed(
                    f"the file has {on_disk} bytes on disk, not the {self._size_bytes} written"
                )
            os.fsync(self._file.fileno())
            durable.publish(self._part, self._final)

    def close(self) -> None:
        """Leave nothing of an unpublished draft behind."""
        self._file.close()
        with suppress(OSError):
            self._part.unlink(missing_ok=True)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if error.errno in _FULL:
            raise StorageFull(
                "There is no space left for the file",
                "Free space in the files folder, or point METERPORT_FILES_URL elsewhere",
            ) from error
        raise FileGenerationFailed(
            f"The file could not be written: {reason}",
            "The service needs to be able to write to its files folder",
        ) from error


def _entries(folder: Path) -> Iterator[Path]:
    try:
        yield from sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
