"""ReadingUpkeep over the Delta table: join small files, forget old versions, check every file.

Only the holder of the writer's lease may change anything here, see decision 3 and 7.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from meterport import durable
from meterport.domain.errors import SourceUnavailable
from meterport.domain.readings import KEY, DamagedFile
from meterport.sources import delta_log
from meterport.sources.delta_store import FILE_ROWS, ranges
from meterport.sources.delta_table import (
    DataFile,
    added_files,
    check_whole,
    commit,
    data_files,
    digest_state,
    lazy,
    named,
    size_state,
    write_data_file,
)
from meterport.sources.table_files import TableFiles
from meterport.sources.table_folder import TableFolder

SMALL_FILES = 8
"""A month with that many files less than half full is worth rewriting."""

COMMITS_PER_CHECKPOINT = 20
LOG_TRIES = 5
Fence = Callable[[], None]


class DeltaUpkeep:
    def __init__(self, files: TableFiles, *, file_rows: int = FILE_ROWS) -> None:
        self._files = files
        self._file_rows = file_rows

    def crowded_months(self) -> list[str]:
        with _translated():
            small: dict[str, int] = {}
            for file in self._small(data_files(self._files.table())):
                small[file.month] = small.get(file.month, 0) + 1
        return sorted(month for month, files in small.items() if files >= SMALL_FILES)

    def compact(self, month: str, *, fence: Fence) -> int:
        with _translated():
            table = self._files.table()
            old = [f for f in self._small(data_files(table)) if f.month == month]
            check_whole(self._files, old)
            rows = lazy(self._files, old)
            new = [
                write_data_file(self._files, month, rows.filter(meters).collect().sort(KEY))
                for meters in ranges(self._file_rows, rows)
            ]
            same = {f.path for f in old} & {f.path for f in new}
            added = [f for f in new if f.path not in same]
            removed = [f for f in old if f.path not in same]
            if not removed:
                return table.version()
            fence()
            return commit(self._files, table, added, removed, changes_data=False)

    def erase(self, smart_meter_id: str, *, fence: Fence) -> tuple[int, int]:
        this = pl.col("smart_meter_id") == smart_meter_id
        added, removed, rows = [], [], 0
        with _translated():
            table = self._files.table()
            for file in data_files(table):
                if not file.first_meter <= smart_meter_id <= file.last_meter:
                    continue
                check_whole(self._files, [file])
                frame = lazy(self._files, [file]).collect()
                kept = frame.filter(~this)
                if kept.height < frame.height:
                    removed.append(file)
                    rows += frame.height - kept.height
                    if not kept.is_empty():
                        added.append(write_data_file(self._files, file.month, kept))
            if not removed:
                return 0, table.version()
            fence()
            return rows, commit(self._files, table, added, removed)

    def checkpoint(self) -> None:
        with _translated():
            newest = delta_log.versions(self._files)[-1]
            last = delta_log.newest_checkpoint(self._files)
            if newest - (last or 0) >= COMMITS_PER_CHECKPOINT:
                delta_log.checkpoint(self._files, newest)

    def forget(
        self, *, older_than: timedelta, in_use: int | None, now: datetime, fence: Fence
    ) -> int:
        with _translated():
            there = delta_log.versions(self._files)
            # The version that was the newest then, and all after it, stay.
            oldest = there[0]
            while oldest + 1 in there and self._age(oldest + 1, now) >= older_than:
                oldest += 1
            if in_use is not None:
                oldest = min(oldest, max(in_use, there[0]))
            fence()
            self._files.clear_staging()
            if oldest > 0:
                delta_log.forget_before(self._files, oldest)
            return self._remove_unnamed(fence)

    def scrub(self, *, until: Callable[[], bool] = lambda: False) -> Iterator[DamagedFile]:
        return self._damaged(digest_state, until)

    def look_over(self) -> Iterator[DamagedFile]:
        return self._damaged(size_state, lambda: False)

    def copy(self, target: Path, version: int) -> list[str]:
        with _translated():
            _copy_log(self._files, target, version)
            delta_log.forget_before(TableFolder(target), version)
            files = data_files(DeltaTable(str(target)))
        # What fails from here on is the target, which the caller knows.
        damaged = []
        for file in files:
            (target / file.path).parent.mkdir(mode=0o700, exist_ok=True)
            if self._copied(file, target) != Path(file.path).stem:
                damaged.append(f"{target.name}/{file.path}")
        return damaged

    def unnamed_files(self) -> list[str]:
        with _translated():
            named = self.kept_files()
            return [path for path in self._files.data_files() if path not in named]

    def kept_files(self) -> Mapping[str, DataFile]:
        """The data files of every version that can be read, by path."""
        there = delta_log.versions(self._files)
        oldest = self._files.table(there[0])
        files = {file.path: file for file in data_files(oldest)}
        for version in there[1:]:
            files |= {f.path: f for f in added_files(delta_log.actions(self._files, version))}
        return files

    def _damaged(
        self, state_of: Callable[[TableFiles, DataFile], str], until: Callable[[], bool]
    ) -> Iterator[DamagedFile]:
        with _translated():
            for path, file in sorted(self.kept_files().items()):
                if until():
                    return
                state = state_of(self._files, file)
                # An upkeep may have removed the file since; then no version names it any more.
                if state and path in self.kept_files():
                    yield named(file, state)

    def _copied(self, file: DataFile, target: Path) -> str:
        """The SHA-256 of what was copied; empty if the file cannot be opened."""
        try:
            opened = self._files.open(file.path)
        except OSError:
            return ""
        with opened:
            return durable.copy(opened, target / file.path)

    def _age(self, version: int, now: datetime) -> timedelta:
        return now - delta_log.committed_at(self._files, version)

    def _small(self, files: list[DataFile]) -> list[DataFile]:
        return [f for f in files if f.rows < self._file_rows // 2]

    def _remove_unnamed(self, fence: Fence) -> int:
        """Also what an import left that ended before its commit."""
        unnamed = self.unnamed_files()
        self._files.remove(unnamed, fence=fence)
        return len(unnamed)


def _copy_log(files: TableFiles, target: Path, version: int) -> None:
    """The entries up to that version. A clean-up meanwhile may take some away: then again."""
    for _ in range(LOG_TRIES):
        shutil.rmtree(target, ignore_errors=True)
        try:
            delta_log.copy(files, target, version)
            if DeltaTable(str(target)).version() == version:
                return
        except (FileNotFoundError, DeltaError):
            continue
    raise SourceUnavailable("The log of the readings could not be copied", "Try again")


_FAILURES = (
    OSError,
    DeltaError,
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
    ValueError,  # a log entry that is no JSON
    KeyError,  # or not of the protocol
)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except _FAILURES as error:
        raise SourceUnavailable(
            "The readings store cannot be kept up", "The service's log names the cause"
        ) from error
