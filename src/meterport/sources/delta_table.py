"""The Delta table of readings: its schema, its data files and its commits.

Files:   `month=YYYY-MM/{sha256}.parquet`, sorted by (smart_meter_id, timestamp), zstd, row
         groups of 131,072; the name is the digest, so a file can be checked at any time and
         equal content is one file.
Commits: written by our own sequence (data files synced, log entry synced, its name, the folders),
         without retry: a table that moved on under the writer is an error, never a merge.
Source:  Delta Transaction Log Protocol, "Add File and Remove File", "Per-file Statistics".
"""

import errno
import hashlib
import io
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl
from deltalake import CommitProperties, DeltaTable, Field, PostCommitHookProperties, Schema
from deltalake.exceptions import CommitFailedError
from deltalake.schema import PrimitiveType
from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions

from meterport import durable
from meterport.domain.errors import ImportBusy, SourceDataInvalid
from meterport.domain.readings import READING_SCHEMA, DamagedFile
from meterport.sources import delta_log

PARTITION = "month"
ROW_GROUP = 131_072
_TYPES = {
    pl.Datetime("us", "UTC"): "timestamp",
    pl.Int32(): "integer",
    pl.String(): "string",
    pl.Float64(): "double",
}
_REQUIRED = {"timestamp", "interval_s", "smart_meter_id"}
# A checkpoint that is not synced could outlive its content in a power cut.
_NO_HOOKS = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


@dataclass(frozen=True)
class DataFile:
    """A file of the table, with the bounds that decide whether it can hold a given reading."""

    path: str
    size_bytes: int
    rows: int
    month: str
    first_meter: str
    last_meter: str
    first_time: datetime
    last_time: datetime


def delta_schema() -> Schema:
    fields = [
        Field(name, PrimitiveType(_TYPES[kind]), nullable=name not in _REQUIRED)
        for name, kind in READING_SCHEMA.items()
    ]
    return Schema([*fields, Field(PARTITION, PrimitiveType("string"), nullable=False)])


def create(folder: Path) -> None:
    """Create the empty table, durably, unless it is there."""
    if unquote(str(folder)) != str(folder):
        raise OSError(errno.EINVAL, "Delta Lake would decode the percent escape in its name")
    if DeltaTable.is_deltatable(str(folder)):
        return
    durable.make_folder(folder / delta_log.LOG)
    # Two programs that start together may both make it; the first one's is the table.
    with delta_log.staged(folder) as staging, suppress(FileExistsError):
        create_table_with_add_actions(
            str(staging), delta_schema(), [], mode="ignore", partition_by=[PARTITION]
        )
        delta_log.publish_entry(staging, folder, 0)


def data_files(table: DeltaTable) -> list[DataFile]:
    actions = pl.DataFrame(table.get_add_actions(flatten=True))
    if actions.is_empty():
        return []
    columns = actions.select(
        "path",
        "size_bytes",
        "num_records",
        f"partition.{PARTITION}",
        "min.smart_meter_id",
        "max.smart_meter_id",
        "min.timestamp",
        "max.timestamp",
    )
    return [DataFile(*row) for row in columns.iter_rows()]


def added_files(actions: Iterable[Mapping[str, Any]]) -> Iterator[DataFile]:
    """The files that a commit's actions add."""
    for action in actions:
        if (add := action.get("add")) is not None:
            bounds = json.loads(add["stats"])
            low, high = bounds["minValues"], bounds["maxValues"]
            yield DataFile(
                unquote(add["path"]),
                add["size"],
                bounds["numRecords"],
                add["partitionValues"][PARTITION],
                low["smart_meter_id"],
                high["smart_meter_id"],
                datetime.fromisoformat(low["timestamp"]),
                datetime.fromisoformat(high["timestamp"]),
            )


def lazy(folder: Path, files: Sequence[DataFile]) -> pl.LazyFrame:
    """The rows of those files, one file after the other."""
    if not files:
        return pl.LazyFrame(schema=READING_SCHEMA)
    paths = [folder / f.path for f in files]
    return pl.scan_parquet(paths, schema=READING_SCHEMA, hive_partitioning=False)


def write_data_file(folder: Path, month: str, frame: pl.DataFrame) -> DataFile:
    """Write and sync one sorted file; it is not part of the table before a commit adds it."""
    buffer = io.BytesIO()
    frame.select(READING_SCHEMA.names()).write_parquet(
        buffer, compression="zstd", row_group_size=ROW_GROUP, statistics=True
    )
    data = buffer.getvalue()
    path = f"{PARTITION}={month}/{hashlib.sha256(data).hexdigest()}.parquet"
    part = folder / f"{PARTITION}={month}" / ".part"
    durable.make_folder(part.parent)
    try:
        durable.write_file(part, data)
        durable.publish(part, folder / path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    bounds = frame.select(
        pl.col("smart_meter_id").min().alias("first_meter"),
        pl.col("smart_meter_id").max().alias("last_meter"),
        pl.col("timestamp").min().alias("first_time"),
        pl.col("timestamp").max().alias("last_time"),
    )
    return DataFile(path, len(data), frame.height, month, *bounds.row(0))


def files_on_disk(folder: Path) -> list[str]:
    """The paths of all data files, also of those that no version names."""
    found = folder.glob(f"{PARTITION}=*/*")
    return sorted(path.relative_to(folder).as_posix() for path in found)


def remove_data_files(folder: Path, paths: Sequence[str], *, fence: Callable[[], None]) -> None:
    for path in paths:
        # Each time: a writer that came after us may just have written it again.
        fence()
        (folder / path).unlink(missing_ok=True)
    for parent in {(folder / path).parent for path in paths}:
        durable.sync_folder(parent)


def check_whole(folder: Path, files: Iterable[DataFile]) -> None:
    """Before a file is written anew: Polars reads many a damaged page as wrong values.

    Raises SourceDataInvalid; in a new file, with a new digest, nothing would tell.
    """
    for file in files:
        if state := digest_state(folder / file.path, file):
            raise SourceDataInvalid(
                f"{named(file, state)}; nothing was changed",
                "Restore that file from a backup first",
            )


def named(file: DataFile, state: str) -> DamagedFile:
    return DamagedFile(file.path, state, file.month, file.first_meter, file.last_meter)


def size_state(path: Path, file: DataFile) -> str:
    """What is wrong with the file: `missing`, `changed`, or nothing."""
    try:
        return "" if path.stat().st_size == file.size_bytes else "changed"
    except OSError:
        return "missing"


def digest_state(path: Path, file: DataFile) -> str:
    """As size_state, but reads the file through."""
    try:
        digest = durable.sha256(path)
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"unreadable ({error.strerror})"
    return "" if digest == Path(file.path).stem else "changed"


def commit(
    folder: Path,
    table: DeltaTable,
    added: Sequence[DataFile],
    removed: Sequence[DataFile],
    *,
    changes_data: bool = True,
) -> int:
    """Make the change the table's next version, durably, and return that version."""
    version = table.version() + 1
    actions: list[AddAction | RemoveAction] = [_add(file, changes_data) for file in added]
    actions += [_remove(file, changes_data) for file in removed]
    try:
        with delta_log.staged(folder) as staging:
            DeltaTable(str(staging), version=table.version()).create_write_transaction(
                actions,
                "append",
                delta_schema(),
                [PARTITION],
                commit_properties=CommitProperties(max_commit_retries=0),
                post_commithook_properties=_NO_HOOKS,
            )
            delta_log.publish_entry(staging, folder, version)
    except (CommitFailedError, FileExistsError) as error:
        raise ImportBusy("another writer changed the readings meanwhile; import again") from error
    return version


def _add(file: DataFile, changes_data: bool) -> AddAction:
    partition, statistics = {PARTITION: file.month}, _statistics(file)
    return AddAction(file.path, file.size_bytes, partition, _now_ms(), changes_data, statistics)


def _remove(file: DataFile, changes_data: bool) -> RemoveAction:
    partition: dict[str, str | None] = {PARTITION: file.month}
    return RemoveAction(file.path, changes_data, _now_ms(), file.size_bytes, partition)


def _statistics(file: DataFile) -> str:
    return json.dumps(
        {
            "numRecords": file.rows,
            "minValues": {
                "smart_meter_id": file.first_meter,
                "timestamp": _delta_time(file.first_time),
            },
            "maxValues": {
                "smart_meter_id": file.last_meter,
                "timestamp": _delta_time(file.last_time),
            },
            "nullCount": {"smart_meter_id": 0, "timestamp": 0},
        }
    )


def _delta_time(instant: datetime) -> str:
    # Readings begin on whole seconds, so the protocol's milliseconds cut nothing off.
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
