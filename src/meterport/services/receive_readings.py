"""Import one file that was sent, and tell of it without a word of where it lay."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import polars as pl

from meterport.domain.access import Access, Meters, Scope
from meterport.domain.access_errors import Forbidden
from meterport.domain.errors import (
    ImportBusy,
    ImportRefused,
    MeterportError,
    ServiceUnavailable,
    SourceDataInvalid,
    SourceUnavailable,
    StorageFull,
    StorageUnavailable,
    UnsupportedFormat,
)
from meterport.domain.words import unknown
from meterport.importers import IMPORTERS
from meterport.importers.base import ImportFormat
from meterport.importers.options import FLAGS
from meterport.ports import MeterCatalog, ReadingSource, ReadingStore
from meterport.ports.audit import Recorder
from meterport.services.import_options import Said, options
from meterport.services.import_readings import import_files

NAME = Path("body")
"""What the file is called in reports and refusals."""
ENDINGS: tuple[type[MeterportError], ...] = (
    ImportRefused,
    ImportBusy,
    StorageFull,
    StorageUnavailable,
    SourceUnavailable,
    SourceDataInvalid,
    ServiceUnavailable,
)
LONGEST_MESSAGE = 1_700
"""As JSON: the envelope has it twice, and stays below 4 KiB."""


def format_of(media_type: str, name: str | None) -> ImportFormat | None:
    """By its name, else by its media type; None where that is of no file. CSV may be NEM12 yet.

    Raises UnsupportedFormat.
    """
    if name is not None and name not in IMPORTERS:
        raise UnsupportedFormat(unknown("format", name, tuple(IMPORTERS), "is not supported"))
    if name is not None:
        return IMPORTERS[name]
    known = (each for each in IMPORTERS.values() if media_type in each.media_types)
    return next(known, None)


def check_words(said: Said) -> None:
    """Raises ImportRefused, in the API's words, before anything is read."""
    with _retold():
        options(said)


def receive_readings(
    path: Path,
    said: Said,
    access: Access,
    *,
    source: ReadingSource,
    store: ReadingStore,
    catalog: MeterCatalog,
    audit: Recorder,
) -> dict[str, object]:
    """The report, as `meterport import --json` prints it. Raises ImportRefused, Forbidden."""
    with _retold(path), _surviving():
        report = import_files(
            [path],
            options(said),
            source=source,
            store=store,
            catalog=catalog,
            audit=audit,
            access=access,
        )
    return replace(report, files=[replace(file, path=NAME) for file in report.files]).as_json()


def words_of(said: Said, access: Access) -> dict[str, object]:
    """For another process, see `heard`."""
    words = asdict(said).items()
    return {
        "said": {name: value for name, value in words if value != getattr(Said(), name)},
        "owner": access.owner,
        "key_id": access.key_id,
        "scopes": sorted(access.scopes),
        "meters": access.meters.patterns,
        "request_id": access.request_id,
    }


def heard(words: Mapping[str, Any]) -> tuple[Said, Access]:
    scopes, meters = frozenset(map(Scope, words["scopes"])), Meters(tuple(words["meters"]))
    access = Access(words["owner"], scopes, meters, words["key_id"], words["request_id"])
    return Said(**words["said"]), access


def said_of(error: MeterportError) -> dict[str, str]:
    """For another process, see error_of."""
    about = error.smart_meter_id if isinstance(error, Forbidden) else None
    told = {"code": error.code, "message": error.message, "details": error.details}
    return told if about is None else told | {"smart_meter_id": about}


def error_of(said: Mapping[str, str]) -> MeterportError | None:
    """The error of which that was said; None where it is none that an import may end with."""
    if said["code"] == Forbidden.code:
        about = said.get("smart_meter_id")
        return Forbidden(said["message"], said["details"], smart_meter_id=about)
    for kind in ENDINGS:
        if kind.code == said["code"]:
            return kind(said["message"], said["details"])
    return None


def parameter(flag: str) -> str:
    """What the command line's flag is called in a query."""
    return flag.removeprefix("--").replace("-", "_")


@contextmanager
def _surviving() -> Iterator[None]:
    """What a damaged file, or one that asks for too much, does to its reader is its own fault."""
    try:
        yield
    except (pl.exceptions.PanicException, MemoryError) as error:
        raise ImportRefused(f"{NAME}: the file is damaged, or too large to be read") from error


@contextmanager
def _retold(path: Path | None = None) -> Iterator[None]:
    replaced = {} if path is None else {str(path): str(NAME), path.name: str(NAME)}
    words = replaced | {flag: parameter(flag) for flag in sorted(FLAGS.values(), reverse=True)}
    try:
        yield
    except ImportRefused as error:
        raise type(error)(
            shortened(_with(error.message, words)), shortened(_with(error.details, words))
        ) from error


def _with(text: str, words: Mapping[str, str]) -> str:
    for old, new in words.items():
        text = text.replace(old, new)
    return text


def shortened(text: str) -> str:
    """As many whole lines as an answer may have; of a first one that is longer a part."""
    kept, *lines = text.split("\n")
    while _length(kept) > LONGEST_MESSAGE:
        kept = kept[: len(kept) // 2] + "…"
    for line in lines:
        if _length(f"{kept}\n{line}\n…") > LONGEST_MESSAGE:
            return f"{kept}\n…"
        kept = f"{kept}\n{line}"
    return kept


def _length(text: str) -> int:
    return len(json.dumps(text, ensure_ascii=False).encode(errors="replace"))
