"""System calls as `strace -f -y` writes them, and what they left on the disk.

A power cut takes what was not synced: `unsynced` keeps account of contents and of names. Contents
are safe after a successful fsync of the file, names after one of their folder; what an fsync
failed on is lost, whatever a later fsync says, until it is written anew.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SYNCS = {"fsync", "fdatasync"}
WRITES = {"write", "pwrite64", "writev", "pwritev", "pwritev2", "ftruncate", "fallocate"}
OPENS = {"open", "openat", "creat"}
RENAMES = {"rename", "renameat", "renameat2"}
LINKS = {"link", "linkat"}
REMOVES = {"unlink", "unlinkat", "rmdir"}
FOLDERS = {"mkdir", "mkdirat"}
MOVES = {"truncate", "copy_file_range", "sendfile"} | RENAMES | LINKS | REMOVES | FOLDERS
CHANGES = SYNCS | WRITES | OPENS | MOVES

_LINE = re.compile(r"(?:\[pid +(\d+)\] )?(.*)")
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>(.*)")
_PATH = re.compile(r'(?:AT_FDCWD|\d+)<([^>]*)>|"((?:[^"\\]|\\.)*)"')
_UNFINISHED = " <unfinished ...>"


@dataclass(frozen=True)
class Call:
    name: str
    said: str
    result: str

    @property
    def done(self) -> bool:
        return not self.result.startswith(("-1", "?"))

    @property
    def injected(self) -> bool:
        return "(INJECTED)" in self.result and not self.done

    @property
    def paths(self) -> list[str]:
        if self.name in SYNCS | WRITES:
            found = _PATH.search(self.said)
            return [found[1]] if found and found[1] else []
        return list(_named(self.said))

    @property
    def path(self) -> str:
        """The one that it made or changed."""
        return (self.paths or [""])[-1]

    @property
    def creates(self) -> bool:
        return self.name in OPENS and ("O_CREAT" in self.said or "O_TRUNC" in self.said)

    def changes(self, below: Path) -> bool:
        """It may have changed what is in that folder."""
        if not self.done or self.name not in CHANGES or (self.name in OPENS and not self.creates):
            return False
        return any(Path(path).is_relative_to(below) for path in self.paths)


def _named(said: str) -> Iterator[str]:
    """The names, each joined to the folder whose descriptor stands before it."""
    folder = ""
    for found in _PATH.finditer(said):
        if found[1] is None:
            yield str(Path(folder) / found[2])
            folder = ""
        else:
            folder = found[1]
    if folder:
        yield folder


@dataclass
class Reader:
    """Puts together the calls that strace reports in two pieces."""

    _begun: dict[str, str] = field(default_factory=dict)

    def read(self, line: str) -> Call | None:
        """The call that the line completes."""
        found = _LINE.fullmatch(line.rstrip("\n"))
        assert found is not None
        thread, text = found[1] or "", found[2]
        if text.endswith(_UNFINISHED):
            self._begun[thread] = text.removesuffix(_UNFINISHED)
            return None
        if resumed := _RESUMED.fullmatch(text):
            text = self._begun.pop(thread, "") + resumed[1]
        name, opened, rest = text.partition("(")
        said, equals, result = rest.rpartition(" = ")
        return Call(name, said, result) if opened and equals and name.isidentifier() else None


def calls_of(lines: Iterable[str]) -> list[Call]:
    reader = Reader()
    return [call for line in lines if (call := reader.read(line)) is not None]


def commits(calls: Sequence[Call]) -> list[int]:
    """Where a commit of SQLite has become durable: its journal is truncated and synced.

    With a write-ahead log, where that is synced.
    """
    found, truncated = [], False
    for at, call in enumerate(calls):
        if call.path.endswith("-journal"):
            if call.name in SYNCS and call.done and truncated:
                found.append(at)
            truncated = call.name == "ftruncate"
        if call.path.endswith("-wal") and call.name in SYNCS and call.done:
            found.append(at)
    return found


def unsynced(calls: Iterable[Call]) -> set[str]:
    """The paths whose content or name a power cut after those calls might take."""
    disk = _Disk()
    for call in calls:
        disk.after(call)
    return disk.contents | disk.lost | disk.names


@dataclass
class _Disk:
    contents: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)

    def after(self, call: Call) -> None:
        if call.name in SYNCS:
            self._synced(call)
        elif not call.done:
            return
        elif call.creates:
            self._forget(call.path)
            self.contents.add(call.path)
            self.names.add(call.path)
        elif call.name in WRITES:
            self.contents.add(call.path)
        elif call.name in RENAMES | LINKS:
            self._named_anew(call)
        elif call.name in REMOVES:
            self._forget(call.path)
        elif call.name in FOLDERS:
            self.names.add(call.path)

    def _synced(self, call: Call) -> None:
        if call.injected:
            self.lost |= self.contents & {call.path}
        if call.done:
            self.contents.discard(call.path)
            self.names -= {name for name in self.names if str(Path(name).parent) == call.path}

    def _named_anew(self, call: Call) -> None:
        old, new = call.paths
        for kind in (self.contents, self.lost):
            kind.discard(new)
            kind |= {new} if old in kind else set()
        self.names.add(new)
        if call.name in RENAMES:
            self._forget(old)

    def _forget(self, path: str) -> None:
        for kind in (self.contents, self.lost, self.names):
            kind.discard(path)
