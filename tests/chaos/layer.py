"""The faults of tests/chaos/faults.py without strace: from inside of the process, in Python.

It sees the calls that Python makes (os.*, open for writing, the parts of exports), and each commit
of the database as one call; what SQLite, Polars and Delta Lake do in between it cannot interrupt.
`install` goes before a variant spoils the product, so that the variant lies above; `begin` after
the fork. The log has strace's form, so that the same tests read it.
"""

import errno
import io
import os
import signal
import sqlite3
import threading
from asyncio import selector_events
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy.engine.default import DefaultDialect
from uvicorn.protocols.http import httptools_impl

from meterport.adapters import local_files
from tests.chaos.calls import calls_of

EIO = (errno.EIO, os.strerror(errno.EIO))


@dataclass
class _Faults:
    log: int
    data: Path
    kill_at: int
    fail_sync: str
    lock: threading.Lock
    made: int = 0
    syncs: Counter[str] = field(default_factory=Counter)

    def sync_fails(self, name: str) -> bool:
        with self.lock:
            self.syncs[name] += 1
            return f"{name}:{self.syncs[name]}" == self.fail_sync

    def note(self, *texts: str, result: str = "0") -> None:
        """One call, and what it consists of."""
        lines = [f"{text} = {result}\n" for text in texts]
        with self.lock:
            os.write(self.log, "".join(lines).encode())
            self.made += any(call.changes(self.data) for call in calls_of(lines))
            if self.made and self.made == self.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)


_faults: _Faults | None = None


def begin(data: str, order: Mapping[str, Any]) -> None:
    global _faults
    log = os.open(order["log"], os.O_WRONLY | os.O_APPEND)
    kill_at, fail_sync = order.get("kill_at", 0), order.get("fail_sync", "")
    _faults = _Faults(log, Path(data), kill_at, fail_sync, threading.Lock())


def install() -> None:
    _wrap(os, "fsync", lambda fd: f"fsync({fd}<{os.readlink(f'/proc/self/fd/{fd}')}>)")
    for name in ("rename", "replace", "link"):
        said = "rename" if name == "replace" else name
        _wrap(os, name, lambda old, new, said=said, **_: f'{said}("{old}", "{new}")')
    for name in ("mkdir", "unlink", "rmdir"):
        _wrap(os, name, lambda path, *_, said=name, **how: f'{said}("{_joined(path, **how)}")')
    _wrap(os, "open", lambda path, flags, *_, **how: _made(path, bool(flags & os.O_CREAT)))
    _wrap(io, "open", lambda path, mode="r", *_, **how: _made(path, mode[:1] != "r" or "+" in mode))
    _wrap(local_files._LocalDraft, "write", lambda draft, _: f"write(0<{draft._part}>)")
    _wrap(
        httptools_impl.HttpToolsProtocol, "data_received", lambda _, data: _talk("recvfrom", data)
    )
    transport = vars(selector_events)["_SelectorSocketTransport"]
    _wrap(transport, "write", lambda _, data: _talk("sendto", data))
    _set(DefaultDialect, "do_commit", _commit(DefaultDialect.do_commit))


def _wrap(owner: object, name: str, said: Callable[..., str]) -> None:
    original = getattr(owner, name)

    def call(*arguments: Any, **named: Any) -> Any:
        text = said(*arguments, **named) if _faults else ""
        if _faults is None or not text:
            return original(*arguments, **named)
        if name == "fsync" and _faults.sync_fails(name):
            _faults.note(text, result=f"-1 EIO ({EIO[1]}) (INJECTED)")
            raise OSError(*EIO)
        if text.startswith("recvfrom"):  # handled within the call: told before it
            _faults.note(text)
            return original(*arguments, **named)
        answer = original(*arguments, **named)
        _faults.note(text)
        return answer

    _set(owner, name, call)


def _commit(original: Callable[..., None]) -> Callable[..., None]:
    def commit(dialect: DefaultDialect, connection: Any) -> None:
        if _faults is None or not connection.in_transaction:
            return original(dialect, connection)
        path = connection.execute("PRAGMA database_list").fetchone()[2]
        syncs = connection.execute("PRAGMA synchronous").fetchone()[0] > 0
        if syncs and _faults.sync_fails("fdatasync"):
            _faults.note(f"fdatasync(0<{path}>)", result=f"-1 EIO ({EIO[1]}) (INJECTED)")
            raise sqlite3.OperationalError("disk I/O error")
        original(dialect, connection)
        synced = [f"fdatasync(0<{path}-journal>)"] if syncs else []
        _faults.note(f"pwrite64(0<{path}>)", f"ftruncate(0<{path}-journal>)", *synced)
        return None

    return commit


def _joined(path: Any, *, dir_fd: int | None = None, **_: Any) -> str:
    folder = "" if dir_fd is None else os.readlink(f"/proc/self/fd/{dir_fd}")
    return os.path.join(folder, os.fspath(path))


def _made(path: Any, made: bool) -> str:
    return "" if isinstance(path, int) or not made else f'openat("{os.fspath(path)}", O_CREAT)'


def _talk(name: str, data: Any) -> str:
    return f'{name}(0<socket>, "{bytes(data[:16]).decode("latin-1")}")'


def _set(owner: object, name: str, value: object) -> None:
    setattr(owner, name, value)
