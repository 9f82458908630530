"""Remove parts and files that no row points at and no live attempt owns, or that have expired."""

from collections.abc import Iterator
from itertools import islice

from meterport.ports import JobArchive, ObjectStore

BATCH = 500


def sweep(*, archive: JobArchive, objects: ObjectStore) -> int:
    """How many were removed. Safe beside running attempts: an expired lease never revives."""
    removed = 0
    for key in unneeded(archive=archive, objects=objects):
        objects.delete(key)
        removed += 1
    return removed


def unneeded(*, archive: JobArchive, objects: ObjectStore) -> Iterator[str]:
    # Without what is no attempt's: that is not ours, and stays.
    keys = (key for key in objects.keys() if key.rpartition("/")[2].isdecimal())  # noqa: SIM118
    while batch := set(islice(keys, BATCH)):
        yield from sorted(batch - archive.needed(batch))
