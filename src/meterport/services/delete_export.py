"""Do away with an export: call it off if it is not finished, remove its file if it is.

The record stays: what was exported is told as long as records are kept.
"""

from contextlib import suppress

from meterport.domain.access import Access
from meterport.domain.audit import Action, Deed
from meterport.domain.errors import ExportNotCancellable, JobNotFound
from meterport.domain.jobs import Job, JobStatus
from meterport.ports import JobStore, ObjectStore
from meterport.ports.audit import Recorder
from meterport.ports.history import History


def delete_export(
    job_id: str,
    access: Access,
    *,
    jobs: JobStore,
    history: History,
    objects: ObjectStore,
    audit: Recorder,
) -> None:
    """Safe to repeat. Raises JobNotFound; StorageUnavailable, and then nobody gets the file."""
    job = _known(job_id, jobs)
    if job.status is JobStatus.PENDING:
        # It may end just now.
        with suppress(ExportNotCancellable):
            jobs.cancel(job_id)
        job = _known(job_id, jobs)
    if job.status is JobStatus.COMPLETED:
        history.expire(job_id)
    # Here, for from now on it is gone for everybody, also where its bytes cannot be removed yet.
    audit.record(Deed(Action.EXPORT_DELETED, access, meters=jobs.meters(job), job_id=job.id))
    if job.status is JobStatus.COMPLETED:
        for piece in jobs.pieces(job):
            objects.delete(piece.key)


def _known(job_id: str, jobs: JobStore) -> Job:
    job = jobs.get(job_id)
    if job is None:
        raise JobNotFound(job_id)
    return job
