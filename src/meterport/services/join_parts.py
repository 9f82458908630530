"""Make one file of a fleet's parts: nothing is copied, but each is read through and hashed."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from meterport.domain.errors import FileGenerationFailed
from meterport.domain.exports import ExportFile
from meterport.domain.jobs import Job
from meterport.ports import ObjectStore

BLOCK_BYTES = 1 << 20


@dataclass
class Joined:
    """The file, and the keys of the parts that are not what was written."""

    file: ExportFile
    damaged: list[str] = field(default_factory=list)


def join_parts(
    job: Job,
    pieces: Sequence[ExportFile],
    *,
    objects: ObjectStore,
    report: Callable[[int], None],
) -> Joined:
    """`report` gets the rows so far, often, and may raise to end the attempt.

    Raises FileGenerationFailed where a part cannot be read just now.
    """
    whole = hashlib.sha256()
    damaged, rows = [], 0
    for piece in pieces:
        if _hashed(piece, whole, objects, lambda rows=rows: report(rows)) != piece.sha256:  # type: ignore[misc]
            damaged.append(piece.key)
        rows += piece.rows
    size_bytes = sum(piece.size_bytes for piece in pieces)
    return Joined(ExportFile(job.key_of_parts, rows, size_bytes, whole.hexdigest()), damaged)


def _hashed(
    piece: ExportFile, whole: "hashlib._Hash", objects: ObjectStore, go_on: Callable[[], None]
) -> str:
    """The piece's own SHA-256; empty where it has gone."""
    own = hashlib.sha256()
    try:
        with objects.open(piece.key) as opened:
            while block := opened.read(BLOCK_BYTES):
                own.update(block)
                whole.update(block)
                go_on()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise FileGenerationFailed("A part of the file could not be read") from error
    return own.hexdigest()
