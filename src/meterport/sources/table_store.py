"""TableFiles in an object store, by URL (s3://, gs://, az://) through obstore.

A file is one PUT, which is visible whole or not at all, and durable when it is answered. A log
entry is created on the condition that it is not there, so that of two writers one makes it.
"""

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import obstore
import polars as pl
from deltalake import DeltaTable
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import from_url

from meterport.domain.errors import SourceUnavailable, StartRefused
from meterport.domain.readings import READING_SCHEMA
from meterport.durable import BLOCK_BYTES, make_folder
from meterport.sources.table_files import LOG, PARTITION, STAGING, CommitUnknown, FileStat
from meterport.sources.table_folder import clear_staging

AT_ONCE = 8
PUT_TIMEOUT = "120s"
"""A data file is sent in one request, so that nothing of it stays if the sender dies."""

_URL = re.compile(r"(s3|gs|az)://[\w.-]+(/(?!\.{1,2}(/|$))[\w.=+-]+)*/?", re.ASCII)
_NO_BUCKET = re.compile("NoSuchBucket|ContainerNotFound|bucket does not exist")


class TableStore:
    """`options` are obstore's, such as endpoint and credentials; else its environment counts.

    `staging` is a folder of this machine.
    """

    def __init__(self, url: str, options: Mapping[str, str], *, staging: Path) -> None:
        if not _URL.fullmatch(url):
            raise StartRefused(
                "METERPORT_READINGS_URL cannot be used; write one such as s3://bucket/readings, in "
                "letters, digits and ._-=+"
            )
        self._url = url.rstrip("/")
        self._staging = staging
        plain_http = options.get("endpoint", "").startswith("http://")
        # Delta Lake and Polars take the same names as obstore.
        self._options = {**options, "allow_http": "true"} if plain_http else dict(options)
        client = {"allow_http": plain_http, "timeout": PUT_TIMEOUT}
        connect: Any = from_url
        try:
            self._store = connect(self._url, config=dict(options), client_options=client)
        except (BaseError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise StartRefused(f"METERPORT_READINGS_URL cannot be used: {reason}") from error

    def table(self, version: int | None = None) -> DeltaTable:
        return DeltaTable(self._url, version=version, storage_options=self._options)

    def scan(self, paths: Sequence[str]) -> pl.LazyFrame:
        return pl.scan_parquet(
            [f"{self._url}/{path}" for path in paths],
            schema=READING_SCHEMA,
            hive_partitioning=False,
            glob=False,
            storage_options=self._options,
        )

    def make(self) -> None:
        """Nothing: a store has no folders."""

    def log(self) -> list[str]:
        return sorted(path.removeprefix(f"{LOG}/") for path in self._paths(LOG))

    def data_files(self) -> list[str]:
        with _translated():
            folders = obstore.list_with_delimiter(self._store)["common_prefixes"]
        months = [folder for folder in folders if folder.startswith(f"{PARTITION}=")]
        return sorted(path for month in months for path in self._paths(month))

    def open(self, path: str) -> io.BufferedReader:
        with _translated():
            chunks = obstore.get(self._store, path).stream(min_chunk_size=BLOCK_BYTES)
        return io.BufferedReader(_Stream(iter(chunks)), BLOCK_BYTES)

    def stat(self, path: str) -> FileStat:
        with _translated():
            found = obstore.head(self._store, path)
        return FileStat(found["size"], found["last_modified"])

    def write(self, path: str, data: bytes) -> None:
        with _translated():
            obstore.put(self._store, path, data, use_multipart=False)

    def remove(self, paths: Sequence[str], *, fence: Callable[[], None]) -> None:
        for path in paths:
            fence()
            with _translated(), suppress(FileNotFoundError):
                obstore.delete(self._store, path)

    def staging(self) -> TemporaryDirectory[str]:
        make_folder(self._staging)
        return TemporaryDirectory(prefix=STAGING, dir=self._staging)

    def clear_staging(self) -> None:
        clear_staging(self._staging)

    def copy_log(self, names: Sequence[str], to: Path) -> None:
        def fetch(name: str) -> None:
            with _translated():
                (to / name).write_bytes(obstore.get(self._store, f"{LOG}/{name}").bytes())

        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(fetch, names))

    def publish_entry(self, made: Path) -> None:
        path, data = f"{LOG}/{made.name}", made.read_bytes()
        try:
            obstore.put(self._store, path, data, mode="create", use_multipart=False)
        except (BaseError, OSError) as error:
            # An answer that was lost makes the library ask again, and find what it made itself.
            there = self._content(path)
            if there == data:
                return
            if there is not None or isinstance(error, AlreadyExistsError):
                raise FileExistsError(path) from error
            raise CommitUnknown(*_failed(error)) from error

    def publish_checkpoint(self, made: Path, pointer: Path) -> None:
        for path in (made, pointer):
            self.write(f"{LOG}/{path.name}", path.read_bytes())

    def sync_log(self) -> None:
        """Nothing: what is there is durable."""

    def _content(self, path: str) -> bytes | None:
        """None: it is not there, or nobody can tell."""
        try:
            return bytes(obstore.get(self._store, path).bytes())
        except (BaseError, OSError):
            return None

    def _paths(self, folder: str) -> list[str]:
        with _translated():
            found = obstore.list_with_delimiter(self._store, folder)["objects"]
        # Some stores list the folder too, by an empty object that stands for it.
        return [one["path"] for one in found if one["path"].startswith(f"{folder}/")]


class _Stream(io.RawIOBase):
    """The chunks of one answer as a raw file."""

    def __init__(self, chunks: Iterator[Any]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _translated():
            while not self._rest and (chunk := next(self._chunks, None)) is not None:
                self._rest = memoryview(chunk)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except (BaseError, OSError) as error:
        raise SourceUnavailable(*_failed(error)) from error


def _failed(error: Exception) -> tuple[str, str]:
    if _NO_BUCKET.search(str(error)):
        return (
            "The bucket of the readings does not exist",
            "Make it, or name another in METERPORT_READINGS_URL",
        )
    return (
        f"The object store of the readings failed ({type(error).__name__})",
        "METERPORT_READINGS_URL and METERPORT_STORE_… say which it is and who asks; the service's "
        "log names the cause",
    )
