"""The Delta table of readings: its schema, its data files and its commits.

Files:   `month=YYYY-MM/{sha256}.parquet`, sorted by (smart_meter_id, timestamp), zstd, row
         groups of 131,072; the name is the digest, so a file can be checked at any time and
         equal content is one file.
Commits: written by our own sequence (data files synced, log entry synced, its name, the folders),
         without retry: a table that moved on under the writer is an error, never a merge.
Source:  Delta Transaction Log Protocol, "Add File and Remove File", "Per-file Statistics".
"""

import hashlib
import io
import json
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
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

from meterport.domain.errors import ImportBusy, SourceDataInvalid
from meterport.domain.readings import READING_SCHEMA, DamagedFile
from meterport.sources import delta_log
from meterport.sources.table_files import PARTITION, TableFiles

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


def create(files: TableFiles) -> None:
    """Create the empty table, durably, unless it is there."""
    if delta_log.is_there(files):
        return
    files.make()
    # Two programs that start together may both make it; the first one's is the table.
    with delta_log.staged(files, 0) as staging, suppress(FileExistsError):
        create_table_with_add_actions(
            str(staging), delta_schema(), [], mode="ignore", partition_by=[PARTITION]
        )
        delta_log.publish_entry(staging, files, 0)


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


def lazy(place: TableFiles, files: Sequence[DataFile]) -> pl.LazyFrame:
    """The rows of those files, one file after the other."""
    if not files:
        return pl.LazyFrame(schema=READING_SCHEMA)
    return place.scan([file.path for file in files])


def write_data_file(files: TableFiles, month: str, frame: pl.DataFrame) -> DataFile:
    """Write and sync one sorted file; it is not part of the table before a commit adds it."""
    buffer = io.BytesIO()
    frame.select(READING_SCHEMA.names()).write_parquet(
        buffer, compression="zstd", row_group_size=ROW_GROUP, statistics=True
    )
    data = buffer.getvalue()
    path = f"{PARTITION}={month}/{hashlib.sha256(data).hexdigest()}.parquet"
    files.write(path, data)
    bounds = frame.select(
        pl.col("smart_meter_id").min().alias("first_meter"),
        pl.col("smart_meter_id").max().alias("last_meter"),
        pl.col("timestamp").min().alias("first_time"),
        pl.col("timestamp").max().alias("last_time"),
    )
    return DataFile(path, len(data), frame.height, month, *bounds.row(0))


def check_whole(place: TableFiles, files: Iterable[DataFile]) -> None:
    """Before a file is written anew: Polars reads many a damaged page as wrong values.

    Raises SourceDataInvalid; in a new file, with a new digest, nothing would tell.
    """
    for file in files:
        if state := digest_state(place, file):
            raise SourceDataInvalid(
                f"{named(file, state)}; nothing was changed",
                "Restore that file from a backup first",
            )


def named(file: DataFile, state: str) -> DamagedFile:
    return DamagedFile(file.path, state, file.month, file.first_meter, file.last_meter)


def size_state(place: TableFiles, file: DataFile) -> str:
    """What is wrong with the file: `missing`, `changed`, or nothing."""
    try:
        return "" if place.stat(file.path).size_bytes == file.size_bytes else "changed"
    except OSError:
        return "missing"


def digest_state(place: TableFiles, file: DataFile) -> str:
    """As size_state, but reads the file through."""
    try:
        with place.open(file.path) as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"unreadable ({error.strerror})"
    return "" if digest == Path(file.path).stem else "changed"


def commit(
    files: TableFiles,
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
        with delta_log.staged(files, table.version()) as staging:
            DeltaTable(str(staging), version=table.version()).create_write_transaction(
                actions,
                "append",
                delta_schema(),
                [PARTITION],
                commit_properties=_properties(),
                post_commithook_properties=_NO_HOOKS,
            )
            delta_log.publish_entry(staging, files, version)
    except (CommitFailedError, FileExistsError) as error:
        raise ImportBusy("another writer changed the readings meanwhile; import again") from error
    return version


def _properties() -> CommitProperties:
    # The mark tells an entry from all others, also from one with the same change.
    return CommitProperties(custom_metadata={"mark": uuid.uuid4().hex}, max_commit_retries=0)


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
