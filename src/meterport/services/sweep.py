"""Remove parts and files that no row points at and no live attempt owns, or that have expired.

Also the manifests of files that have expired, and drafts beside a result: where an answer of the
store was lost, an upload was begun twice.
"""

import re
from collections.abc import Iterator
from itertools import islice

from meterport.ports import JobArchive, ObjectStore

BATCH = 500
_ATTEMPT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/(\d+-)?\d+", re.ASCII)
"""Whatever else lies there is not ours, and stays."""


def sweep(*, archive: JobArchive, objects: ObjectStore) -> int:
    """How many were removed. Safe beside running attempts: an expired lease never revives."""
    removed = 0
    for key in unneeded(archive=archive, objects=objects):
        objects.delete(key)
        removed += 1
    removed += archive.drop_manifests()
    for key in archive.results(set(objects.drafts())):
        objects.discard(key)
        removed += 1
    return removed


def unneeded(*, archive: JobArchive, objects: ObjectStore) -> Iterator[str]:
    keys = (key for key in objects.keys() if _ATTEMPT.fullmatch(key))  # noqa: SIM118
    while batch := set(islice(keys, BATCH)):
        yield from sorted(batch - archive.needed(batch))
