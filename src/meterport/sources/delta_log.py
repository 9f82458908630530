"""The log of the Delta table: which versions there are, checkpoints, and forgetting old versions.

Files:      `{version}.json` has a commit's actions, `{version}.checkpoint.parquet` all that is
            live at a version. The versions that can be read are the last unbroken run of JSON
            files; where that does not begin at 0, it begins with one that has a checkpoint.
Durability: an entry or a checkpoint is made in a staging folder, synced, and published under its
            name; the library writes it to its final name and syncs nothing.
Source:     Delta Transaction Log Protocol, "Delta Log Entries", "Checkpoints".
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deltalake import DeltaTable

from meterport import durable

LOG = "_delta_log"
STAGING = "_staging-"  # Delta's readers pass over names with an underscore
POINTER = "_last_checkpoint"
_ENTRY = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\.parquet")


def versions(folder: Path) -> range:
    """The versions that can be read."""
    found = _numbers(folder, _ENTRY)
    if not found:
        return range(0)
    oldest = newest = max(found)
    while oldest - 1 in found:
        oldest -= 1
    return range(oldest, newest + 1)


def entry(folder: Path, version: int) -> Path:
    return folder / LOG / f"{version:020}.json"


def actions(folder: Path, version: int) -> Iterator[dict[str, Any]]:
    """The commit's actions, each a dict with the one key that names its kind.

    Raises ValueError where the entry is damaged.
    """
    with entry(folder, version).open(encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                action = json.loads(line)
                if not isinstance(action, dict):
                    raise ValueError(f"version {version} has an entry that is no action")
                yield action


def committed_at(folder: Path, version: int) -> datetime:
    for action in actions(folder, version):
        if "commitInfo" in action:
            return datetime.fromtimestamp(action["commitInfo"]["timestamp"] / 1000, UTC)
    return datetime.fromtimestamp(entry(folder, version).stat().st_mtime, UTC)


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A table of its own with the same log, for the library to write into."""
    with tempfile.TemporaryDirectory(prefix=STAGING, dir=folder) as staging:
        log = Path(staging) / LOG
        log.mkdir()
        for path in (folder / LOG).iterdir():
            if path.is_file() and path.name != POINTER:
                _link(path, log / path.name)
        yield Path(staging)


def publish_entry(staging: Path, folder: Path, version: int) -> None:
    """Raises FileExistsError if another writer has made that version meanwhile."""
    made = entry(staging, version)
    durable.sync_file(made)
    os.link(made, entry(folder, version))
    sync(folder)


def sync(folder: Path) -> None:
    """Make the names of all versions durable; what they hold was synced before they had one."""
    durable.sync_folder(folder / LOG)
    durable.sync_folder(folder)


def newest_checkpoint(folder: Path) -> int | None:
    return max(_numbers(folder, _CHECKPOINT), default=None)


def checkpoint(folder: Path, version: int) -> None:
    """Make that version readable without the entries before it. Only for the writer."""
    final = _checkpoint(folder, version)
    if final.exists():
        return
    with staged(folder) as staging:
        log = staging / LOG
        DeltaTable(str(staging), version=version).create_checkpoint()
        for made in (log / final.name, log / POINTER):
            durable.sync_file(made)
        # The pointer last: it must never name a checkpoint that a power cut could take.
        durable.publish(log / final.name, final)
        durable.publish(log / POINTER, folder / LOG / POINTER)


def forget_before(folder: Path, version: int) -> None:
    """Make `version` the oldest one that can be read. Only for the writer.

    Backwards, so that what a crash leaves of the older versions is a run that can be read.
    """
    checkpoint(folder, version)
    outdated = [entry(folder, v) for v in _numbers(folder, _ENTRY) if v < version]
    outdated += [_checkpoint(folder, v) for v in _numbers(folder, _CHECKPOINT) if v < version]
    for path in sorted(outdated, reverse=True):
        path.unlink()
    if outdated:
        durable.sync_folder(folder / LOG)


def copy(folder: Path, target: Path, version: int) -> None:
    """The log up to that version, synced, without a pointer to a checkpoint."""
    durable.make_folder((target / LOG).absolute())
    for path in sorted((folder / LOG).iterdir()):
        found = _ENTRY.fullmatch(path.name) or _CHECKPOINT.fullmatch(path.name)
        if found and int(found[1]) <= version:
            with path.open("rb") as opened:
                durable.copy(opened, target / LOG / path.name)


def _link(path: Path, to: Path) -> None:
    try:
        os.link(path, to)
    except OSError:  # a file system without links
        shutil.copyfile(path, to)


def _checkpoint(folder: Path, version: int) -> Path:
    return folder / LOG / f"{version:020}.checkpoint.parquet"


def clear_staging(folder: Path) -> None:
    """Remove what a writer left that died. Only for the writer."""
    for leftover in folder.glob(f"{STAGING}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _numbers(folder: Path, pattern: re.Pattern[str]) -> set[int]:
    try:
        names = os.listdir(folder / LOG)
    except FileNotFoundError:
        return set()
    return {int(match[1]) for name in names if (match := pattern.fullmatch(name))}
