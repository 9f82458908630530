"""Open a finished export for download, and never a damaged one."""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import BinaryIO

from meterport.domain.errors import ExportDamaged, ExportExpired, ExportFailed, ExportNotReady
from meterport.domain.exports import ExportFile
from meterport.domain.jobs import Job, JobStatus
from meterport.ports import ObjectStore

_REMEMBERED = 10_000
_BLOCK = 1 << 20


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


def open_export(file: ExportFile, *, objects: ObjectStore, verified: Verified) -> BinaryIO:
    """The file's bytes; the first time after a change of the file they are hashed before.

    Not those of a remote store: whoever sends them on has to hash them on the way.
    """
    stored = objects.stat(file.key)
    if stored is None or stored.size_bytes != file.size_bytes:
        raise _damaged()
    try:
        opened = objects.open(file.key)
    except FileNotFoundError as error:
        raise _damaged() from error
    if not objects.is_remote and not verified.has(file.key, stored.fingerprint):
        if digest_of(opened) != file.sha256:
            opened.close()
            raise _damaged()
        verified.add(file.key, stored.fingerprint)
    return opened


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
