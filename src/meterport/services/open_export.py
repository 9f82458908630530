"""Open a finished export for download, and never a damaged one."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import BinaryIO

from meterport.domain.errors import ExportDamaged, ExportExpired, ExportFailed, ExportNotReady
from meterport.domain.exports import ExportFile, StoredObject
from meterport.domain.jobs import Job, JobStatus
from meterport.ports import ObjectStore
from meterport.services.joined_file import joined

_REMEMBERED = 100_000
_BLOCK = 1 << 20
CHECKED_AT_ONCE = 8
"""Of the pieces of one file; each costs a request where the store is remote."""


@dataclass
class Verified:
    """Which files were read through and agreed with their digest, by fingerprint."""

    _seen: OrderedDict[tuple[str, str], None] = field(default_factory=OrderedDict)

    def has(self, key: str, fingerprint: str) -> bool:
        return (key, fingerprint) in self._seen

    def add(self, key: str, fingerprint: str) -> None:
        self._seen[key, fingerprint] = None
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)


def downloadable_file(job: Job) -> ExportFile:
    """Raises ExportExpired besides what `finished_file` raises."""
    file = finished_file(job)
    if job.expired:
        raise ExportExpired(
            "the file is no longer kept; ask for the export again",
            "METERPORT_KEEP_FILES_DAYS says how long a file is kept",
        )
    return file


def finished_file(job: Job) -> ExportFile:
    """Raises ExportNotReady or ExportFailed with the job's own reason."""
    if job.file is not None:
        return job.file
    if job.status is JobStatus.FAILED and job.error is not None:
        raise ExportFailed(f"the export failed: {job.error.message}", job.error.details)
    raise ExportNotReady("the export is not finished; ask its status and try again")


def open_export(
    file: ExportFile,
    pieces: Sequence[ExportFile],
    *,
    objects: ObjectStore,
    verified: Verified,
) -> BinaryIO:
    """The bytes of the pieces, one after the other, as one file.

    The first time after a change of a piece it is hashed before. Not in a remote store: whoever
    sends the bytes on has to hash them on the way. Raises ExportDamaged; of several pieces also
    while they are read, if one is changed meanwhile.
    """

    if sum(piece.size_bytes for piece in pieces) != file.size_bytes or not pieces:
        raise _damaged()

    def open_piece(piece: ExportFile) -> BinaryIO:
        return _opened(piece, objects, verified)

    def check(piece: ExportFile) -> None:
        if objects.is_remote:
            _stored(piece, objects)
        else:
            open_piece(piece).close()

    if len(pieces) == 1:
        return open_piece(pieces[0])
    with ThreadPoolExecutor(CHECKED_AT_ONCE) as threads:
        for _ in threads.map(check, pieces):
            pass
    return joined(pieces, open_piece)


def _stored(piece: ExportFile, objects: ObjectStore) -> StoredObject:
    stored = objects.stat(piece.key)
    if stored is None or stored.size_bytes != piece.size_bytes:
        raise _damaged()
    return stored


def _opened(piece: ExportFile, objects: ObjectStore, verified: Verified) -> BinaryIO:
    stored = _stored(piece, objects)
    try:
        opened = objects.open(piece.key)
    except FileNotFoundError as error:
        raise _damaged() from error
    if not objects.is_remote and not verified.has(piece.key, stored.fingerprint):
        if digest_of(opened) != piece.sha256:
            opened.close()
            raise _damaged()
        verified.add(piece.key, stored.fingerprint)
    return opened


def link_to_export(
    file: ExportFile, *, objects: ObjectStore, filename: str, media_type: str
) -> str | None:
    """Where the store itself sends the file; None: `open_export` does, or says what is wrong.

    Only a file that is one whole object has such a link. Whoever follows it checks the digest.
    """
    link = objects.link(file.key, filename=filename, media_type=media_type)
    stored = None if link is None else objects.stat(file.key)
    return None if stored is None or stored.size_bytes != file.size_bytes else link


def digest_of(opened: BinaryIO) -> str:
    sha256 = hashlib.sha256()
    while block := opened.read(_BLOCK):
        sha256.update(block)
    opened.seek(0)
    return sha256.hexdigest()


def _damaged() -> ExportDamaged:
    return ExportDamaged(
        "the file on disk is not the one that was written; ask for the export again",
        "A damaged file is never served",
    )
