"""TableFiles in a folder: each file synced, then named, then its folder synced."""

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote

import polars as pl
from deltalake import DeltaTable

from meterport import durable
from meterport.domain.readings import READING_SCHEMA
from meterport.sources.table_files import LOG, PARTITION, STAGING, FileStat


class TableFolder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / LOG

    def table(self, version: int | None = None) -> DeltaTable:
        return DeltaTable(str(self._folder), version=version)

    def scan(self, paths: Sequence[str]) -> pl.LazyFrame:
        files = [self._folder / path for path in paths]
        return pl.scan_parquet(files, schema=READING_SCHEMA, hive_partitioning=False)

    def make(self) -> None:
        if unquote(str(self._folder)) != str(self._folder):
            raise OSError(errno.EINVAL, "Delta Lake would decode the percent escape in its name")
        durable.make_folder(self._log)

    def log(self) -> list[str]:
        try:
            return sorted(os.listdir(self._log))
        except FileNotFoundError:
            return []

    def data_files(self) -> list[str]:
        found = self._folder.glob(f"{PARTITION}=*/*")
        return sorted(path.relative_to(self._folder).as_posix() for path in found)

    def open(self, path: str) -> BufferedReader:
        return (self._folder / path).open("rb")

    def stat(self, path: str) -> FileStat:
        found = (self._folder / path).stat()
        return FileStat(found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def write(self, path: str, data: bytes) -> None:
        final = self._folder / path
        part = final.parent / ".part"
        durable.make_folder(part.parent)
        try:
            durable.write_file(part, data)
            durable.publish(part, final)
        except OSError:
            part.unlink(missing_ok=True)
            raise

    def remove(self, paths: Sequence[str], *, fence: Callable[[], None]) -> None:
        for path in paths:
            fence()
            (self._folder / path).unlink(missing_ok=True)
        for parent in {(self._folder / path).parent for path in paths}:
            durable.sync_folder(parent)

    def staging(self) -> TemporaryDirectory[str]:
        return TemporaryDirectory(prefix=STAGING, dir=self._folder)

    def clear_staging(self) -> None:
        clear_staging(self._folder)

    def copy_log(self, names: Sequence[str], to: Path) -> None:
        for name in names:
            _link(self._log / name, to / name)

    def publish_entry(self, made: Path) -> None:
        durable.sync_file(made)
        os.link(made, self._log / made.name)
        self.sync_log()

    def publish_checkpoint(self, made: Path, pointer: Path) -> None:
        for path in (made, pointer):
            durable.sync_file(path)
        for path in (made, pointer):
            durable.publish(path, self._log / path.name)

    def sync_log(self) -> None:
        durable.sync_folder(self._log)
        durable.sync_folder(self._folder)


def clear_staging(folder: Path) -> None:
    for leftover in folder.glob(f"{STAGING}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _link(path: Path, to: Path) -> None:
    try:
        os.link(path, to)
    except OSError:  # a file system without links
        shutil.copyfile(path, to)
