"""Remove parts and files that no row points at and no live attempt owns."""

from meterport.domain.jobs import JobId
from meterport.ports import JobStore, ObjectStore


def sweep(*, jobs: JobStore, objects: ObjectStore) -> int:
    """How many were removed. Safe beside running attempts: an expired lease never revives."""
    removed = 0
    for key in objects.keys():  # noqa: SIM118 - a method, not a mapping
        job_id, _, attempt = key.rpartition("/")
        if attempt.isdecimal() and not jobs.needs(JobId(job_id), int(attempt)):
            objects.delete(key)
            removed += 1
    return removed
