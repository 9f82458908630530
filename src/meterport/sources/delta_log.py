"""The log of the Delta table: which versions there are, checkpoints, and forgetting old versions.

Files:      `{version}.json` has a commit's actions, `{version}.checkpoint.parquet` all that is
            live at a version. The versions that can be read are the last unbroken run of JSON
            files; where that does not begin at 0, it begins with one that has a checkpoint.
Durability: an entry or a checkpoint is made in a staging folder, synced, and published under its
            name; the library writes it to its final name and syncs nothing.
Source:     Delta Transaction Log Protocol, "Delta Log Entries", "Checkpoints".
"""

import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deltalake import DeltaTable

from meterport import durable
from meterport.sources.table_files import LOG, POINTER, TableFiles

_ENTRY = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\.parquet")


def is_there(files: TableFiles) -> bool:
    """Whether there is a table at all."""
    names = files.log()
    return bool(_numbers(names, _ENTRY) or _numbers(names, _CHECKPOINT))


def versions(files: TableFiles) -> range:
    """The versions that can be read."""
    found = _numbers(files.log(), _ENTRY)
    if not found:
        return range(0)
    oldest = newest = max(found)
    while oldest - 1 in found:
        oldest -= 1
    return range(oldest, newest + 1)


def entry(version: int) -> str:
    return f"{LOG}/{version:020}.json"


def actions(files: TableFiles, version: int) -> Iterator[dict[str, Any]]:
    """The commit's actions, each a dict with the one key that names its kind.

    Raises ValueError where the entry is damaged.
    """
    with io.TextIOWrapper(files.open(entry(version)), encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                action = json.loads(line)
                if not isinstance(action, dict):
                    raise ValueError(f"version {version} has an entry that is no action")
                yield action


def committed_at(files: TableFiles, version: int) -> datetime:
    for action in actions(files, version):
        if "commitInfo" in action:
            return datetime.fromtimestamp(action["commitInfo"]["timestamp"] / 1000, UTC)
    return files.stat(entry(version)).modified_at


@contextmanager
def staged(files: TableFiles, version: int) -> Iterator[Path]:
    """A table of its own with the log of that version, for the library to write into."""
    with files.staging() as staging:
        log = Path(staging) / LOG
        log.mkdir()
        files.copy_log(_needed(files.log(), version), log)
        yield Path(staging)


def publish_entry(staging: Path, files: TableFiles, version: int) -> None:
    """Raises FileExistsError if another writer has made that version meanwhile."""
    files.publish_entry(staging / entry(version))


def newest_checkpoint(files: TableFiles) -> int | None:
    return max(_numbers(files.log(), _CHECKPOINT), default=None)


def checkpoint(files: TableFiles, version: int) -> None:
    """Make that version readable without the entries before it. Only for the writer."""
    name = _checkpoint(version)
    if name in files.log():
        return
    with staged(files, version) as staging:
        DeltaTable(str(staging), version=version).create_checkpoint()
        files.publish_checkpoint(staging / LOG / name, staging / LOG / POINTER)


def forget_before(files: TableFiles, version: int) -> None:
    """Make `version` the oldest one that can be read. Only for the writer.

    Backwards, so that what a crash leaves of the older versions is a run that can be read.
    """
    checkpoint(files, version)
    names = files.log()
    outdated = [entry(v) for v in _numbers(names, _ENTRY) if v < version]
    outdated += [f"{LOG}/{_checkpoint(v)}" for v in _numbers(names, _CHECKPOINT) if v < version]
    files.remove(sorted(outdated, reverse=True), fence=lambda: None)


def copy(files: TableFiles, target: Path, version: int) -> None:
    """The log up to that version, synced, without a pointer to a checkpoint."""
    durable.make_folder((target / LOG).absolute())
    for name in files.log():
        found = _ENTRY.fullmatch(name) or _CHECKPOINT.fullmatch(name)
        if found and int(found[1]) <= version:
            with files.open(f"{LOG}/{name}") as opened:
                durable.copy(opened, target / LOG / name)


def _needed(names: list[str], version: int) -> list[str]:
    """The last checkpoint up to that version, and the entries from there on."""
    checkpoints = [v for v in _numbers(names, _CHECKPOINT) if v <= version]
    first = max(checkpoints, default=0)
    entries = [f"{v:020}.json" for v in _numbers(names, _ENTRY) if first <= v <= version]
    return [_checkpoint(first), *sorted(entries)] if checkpoints else sorted(entries)


def _checkpoint(version: int) -> str:
    return f"{version:020}.checkpoint.parquet"


def _numbers(names: list[str], pattern: re.Pattern[str]) -> set[int]:
    return {int(match[1]) for name in names if (match := pattern.fullmatch(name))}
