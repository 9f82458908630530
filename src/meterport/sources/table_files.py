"""Where the files of the Delta table are: a folder, or a prefix of an object store.

Paths:      relative, with "/": `month=YYYY-MM/{sha256}.parquet` and `_delta_log/{name}`.
Durability: what a method wrote, named or removed is durable when it returns; a file is visible
            whole or not at all.
Errors:     FileNotFoundError; else OSError of a folder, SourceUnavailable of an object store.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BufferedReader
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import polars as pl
from deltalake import DeltaTable

from meterport.domain.errors import SourceUnavailable

LOG = "_delta_log"
STAGING = "_staging-"  # Delta's readers pass over names with an underscore
POINTER = "_last_checkpoint"
PARTITION = "month"


@dataclass(frozen=True)
class FileStat:
    size_bytes: int
    modified_at: datetime


class CommitUnknown(SourceUnavailable):
    """The store failed while it was given a log entry, which may be there or come yet."""


class TableFiles(Protocol):
    def table(self, version: int | None = None) -> DeltaTable:
        """Of the newest version, or of that one."""

    def scan(self, paths: Sequence[str]) -> pl.LazyFrame:
        """The rows of those data files, one file after the other."""

    def make(self) -> None:
        """The place for a new table's log."""

    def log(self) -> list[str]:
        """The names in the log; none where there is no table."""

    def data_files(self) -> list[str]:
        """The paths of all data files, also of those that no version names, sorted."""

    def open(self, path: str) -> BufferedReader: ...

    def stat(self, path: str) -> FileStat: ...

    def write(self, path: str, data: bytes) -> None: ...

    def remove(self, paths: Sequence[str], *, fence: Callable[[], None]) -> None:
        """One after the other, each after a look at the fence; they need not exist."""

    def staging(self) -> TemporaryDirectory[str]:
        """A folder of this machine for what is in the making."""

    def clear_staging(self) -> None:
        """Remove what a writer left there that died. Only for the writer."""

    def copy_log(self, names: Sequence[str], to: Path) -> None:
        """Put those files of the log into a folder of this machine, or links to them."""

    def publish_entry(self, made: Path) -> None:
        """Make it a version. Raises FileExistsError if there is one of that name."""

    def publish_checkpoint(self, made: Path, pointer: Path) -> None:
        """The pointer last: it must never name a checkpoint that is not there."""

    def sync_log(self) -> None:
        """Make the names of all versions durable; what they hold was so before they had one."""
