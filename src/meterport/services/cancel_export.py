"""Call an export off, at once where nobody works on it."""

from meterport.domain.access import EVERYTHING, Access
from meterport.domain.audit import Action, Deed
from meterport.domain.jobs import Job
from meterport.ports import JobStore
from meterport.ports.audit import Recorder


def cancel_export(
    job_id: str, access: Access = EVERYTHING, *, jobs: JobStore, audit: Recorder
) -> Job:
    """Raises JobNotFound, or ExportNotCancellable once it has ended."""
    job = jobs.cancel(job_id)
    audit.record(Deed(Action.EXPORT_CANCELLED, access, meters=jobs.meters(job), job_id=job.id))
    return job
