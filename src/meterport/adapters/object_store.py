"""ObjectStore by URL (s3://, gs://, az://) through obstore.

Layout: `{job_id}/{attempt}` below the URL's path. Nothing is visible before it is whole: a file is
        sent as a multipart upload to its own key, which no other attempt ever writes.
Memory: a few parts of PART_BYTES, whatever the file's size.
"""

import io
import queue
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Any, BinaryIO

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from meterport.adapters.s3_client import S3_ERRORS
from meterport.adapters.s3_links import S3Links
from meterport.adapters.s3_uploads import unfinished_uploads
from meterport.domain.errors import FileGenerationFailed, StartRefused, StorageUnavailable
from meterport.domain.exports import StoredObject
from meterport.ports import Draft

PART_BYTES = 8 << 20
QUEUED_WRITES = 4
_END = b""

_BACKOFF = {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=5), "base": 2}
_PATIENT = {"max_retries": 1000, "retry_timeout": timedelta(minutes=3), "backoff": _BACKOFF}
"""For a file that is being written: an outage of that length costs the attempt only time."""

_BRISK = {"max_retries": 3, "retry_timeout": timedelta(seconds=10), "backoff": _BACKOFF}
"""For all else: a client who downloads shall not wait for minutes, and be told to come again."""


class StoreFiles:
    """`options` are obstore's, such as endpoint and credentials; else its environment counts.

    `links`: what lets clients fetch files from the store itself.
    """

    is_remote = True

    def __init__(
        self, url: str, options: Mapping[str, str] | None = None, *, links: S3Links | None = None
    ) -> None:
        self._links = links
        chosen: dict[str, Any] = dict(options or {})
        plain_http = chosen.get("endpoint", "").startswith("http://")
        connect: Any = partial(
            from_url, url, config=chosen, client_options={"allow_http": plain_http}
        )
        try:
            self._store = connect(retry_config=_BRISK)
            self._patient = connect(retry_config=_PATIENT)
            self._uploads = unfinished_uploads(url, chosen)
        except (BaseError, ValueError) as error:
            raise StartRefused(
                f"METERPORT_FILES_URL cannot be used ({type(error).__name__}); write one such as "
                "s3://bucket/exports, and see that METERPORT_STORE_… fit"
            ) from error

    @contextmanager
    def draft(self, key: str) -> Iterator[Draft]:
        draft = _Upload(self._patient, key)
        try:
            yield draft
        finally:
            draft.close()

    def stat(self, key: str) -> StoredObject | None:
        try:
            with _translated():
                found = obstore.head(self._store, key)
        except FileNotFoundError:
            return None
        return StoredObject(found["size"], f"{found['e_tag']}-{found['last_modified']}")

    def open(self, key: str) -> BinaryIO:
        with _translated():
            return io.BufferedReader(_Remote(obstore.open_reader(self._store, key)), 1 << 20)

    def link(self, key: str, *, filename: str, media_type: str) -> str | None:
        if self._links is None:
            return None
        with _translated():
            return self._links.link(key, filename=filename, media_type=media_type)

    def delete(self, key: str) -> None:
        with _translated(), suppress(FileNotFoundError):
            self._uploads.abort(key)
            obstore.delete(self._store, key)

    def discard(self, key: str) -> None:
        with _translated(), suppress(FileNotFoundError):
            self._uploads.abort(key)

    def keys(self) -> Iterator[str]:
        with _translated():
            unfinished = set(self._uploads.keys())
            for some in obstore.list(self._store):
                yield from (found["path"] for found in some if found["path"] not in unfinished)
            yield from sorted(unfinished)

    def drafts(self) -> Iterator[str]:
        with _translated():
            yield from sorted(set(self._uploads.keys()))


class _Upload:
    """A thread of its own sends what `write` puts into the queue; an abandoned one is aborted."""

    def __init__(self, store: Any, key: str) -> None:
        self._queue: queue.Queue[bytes | None] = queue.Queue(QUEUED_WRITES)
        self._failure: Exception | None = None
        self._published = False
        self._sender = threading.Thread(target=self._send, args=(store, key), daemon=True)
        self._sender.start()

    def write(self, data: bytes, /) -> None:
        if data:
            self._put(data)

    def publish(self) -> None:
        self._put(_END)
        self._sender.join()
        self._check()
        self._published = True

    def close(self) -> None:
        if not self._published and self._sender.is_alive():
            with suppress(StorageUnavailable):
                self._put(None)
            self._sender.join()

    def _put(self, data: bytes | None) -> None:
        while True:
            self._check()
            try:
                self._queue.put(data, timeout=0.5)
            except queue.Full:
                continue
            return

    def _check(self) -> None:
        if isinstance(self._failure, FileNotFoundError):
            raise FileGenerationFailed("the upload was removed by another process")
        if self._failure is not None:
            raise _as_ours(self._failure) from self._failure

    def _send(self, store: Any, key: str) -> None:
        try:
            obstore.put(store, key, self._chunks(), chunk_size=PART_BYTES, use_multipart=True)
        except _Abandoned:
            return
        except Exception as error:  # noqa: BLE001 - told to the writer, in its own thread
            self._failure = error

    def _chunks(self) -> Iterator[bytes]:
        while (data := self._queue.get()) != _END:
            if data is None:
                raise _Abandoned
            yield data


class _Abandoned(Exception):
    """Makes the library abort the upload."""


class _Remote(io.RawIOBase):
    """An object as a raw file, for a buffer around it."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._reader.seek(offset, whence))

    def tell(self) -> int:
        return int(self._reader.tell())

    def readinto(self, buffer: Any) -> int:
        with _translated():
            data = memoryview(self._reader.read(len(buffer)))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._reader.close()
        super().close()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except _FAILURES as error:
        raise _as_ours(error) from error


_FAILURES: tuple[type[Exception], ...] = (BaseError, *S3_ERRORS, OSError)


def _as_ours(error: Exception) -> StorageUnavailable:
    return StorageUnavailable(
        f"The object store failed ({type(error).__name__})",
        "The service's log names the cause; METERPORT_FILES_URL says which store it is",
    )
