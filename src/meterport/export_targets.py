"""What `meterport export` is told, and where the file and its manifest go."""

import json
import os
import sys
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from meterport.domain.errors import DownloadError, InvalidRequest
from meterport.durable import sync_folder

STDOUT = Path("-")


@dataclass(frozen=True)
class Wanted:
    """What the command line says. `words`: of ExportOptions.requested."""

    meters: Sequence[str]
    start: str
    end: str
    format: str
    compression: str
    words: Mapping[str, object]


@dataclass(frozen=True)
class Targets:
    """`file`: None: in this folder, under its own name. Either may be STDOUT, but not both."""

    file: Path | None
    manifest: Path | None
    overwrite: bool

    def check(self, own_names: Collection[str] = ()) -> None:
        """Raises InvalidRequest. `own_names`: what the file may be called, if not named here."""
        if self.file == self.manifest == STDOUT:
            raise InvalidRequest("-o and --manifest are both -; let one of them be a file")
        files = [self.file] if self.file else [Path(name) for name in own_names]
        for target in (*files, *([self.manifest] if self.manifest else [])):
            if target != STDOUT:
                _check_target(target, overwrite=self.overwrite)
        if self.manifest and self.manifest.resolve() in [file.resolve() for file in files]:
            raise InvalidRequest(f"{self.manifest} cannot be both the file and its manifest")


def _check_target(target: Path, *, overwrite: bool) -> None:
    folder = target.absolute().parent
    if target.is_dir():
        raise InvalidRequest(f"{target} is a folder; name a file, or - for standard output")
    if _is_device(target):
        return
    if target.exists() and not overwrite:
        raise InvalidRequest(f"{target} is there already; say --force to replace it")
    if not folder.is_dir():
        raise InvalidRequest(f"there is no folder {target.parent}; make it, or say -o FILE")
    if not os.access(folder, os.W_OK):
        raise InvalidRequest(f"nothing may be written to {folder}; say -o FILE to write elsewhere")


def _is_device(target: Path) -> bool:
    """A pipe, or such as /dev/null: it is written to, and not replaced."""
    return target.exists() and not target.is_file()


@contextmanager
def written(target: Path) -> Iterator[BinaryIO]:
    """Standard output, or a file that has its name when it is whole."""
    if target == STDOUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if _is_device(target):
        with target.open("wb") as sink:
            yield sink
        return
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with part.open("xb") as sink:
            yield sink
            sink.flush()
            os.fsync(sink.fileno())
        part.replace(target)
        sync_folder(target.absolute().parent)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DownloadError(f"the file could not be brought to {target}: {reason}") from error
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def percent_bar() -> Iterator[Callable[[int], None]]:
    columns = (TextColumn("exporting"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=100)
        yield lambda percent: bar.update(task, completed=percent)


@dataclass(frozen=True)
class Brought:
    """The file that the command has brought."""

    file: Path
    job_id: str
    format: str
    compression: str
    rows: int
    size_bytes: int
    sha256: str
    source_version: int | None
    intervals_expected: int
    intervals_present: int

    def told(self, nothing: str, *, as_json: bool) -> str:
        """`nothing`: what to say of a period in which no reading was expected."""
        if as_json:
            return json.dumps(asdict(self) | {"file": str(self.file)})
        packed = "" if self.compression == "none" else f" ({self.compression})"
        expected, missing = (
            self.intervals_expected,
            self.intervals_expected - self.intervals_present,
        )
        gaps = f"{missing:,} of {expected:,} intervals are missing" if missing else "no gaps"
        size = f"{self.size_bytes:,} bytes{packed}"
        return (
            f"{self.file}: {self.rows:,} rows, {size}, {gaps if expected else nothing}\n"
            f"sha256 {self.sha256}"
        )
