"""Find a job for whoever asks: what they may not see is for them as if it were not there.

Every access to a job goes through here, and is judged by what the key may do now and by the meters
stored in the job; docs/decisions/0019 says why.
"""

from meterport.domain.access import Access
from meterport.domain.errors import JobNotFound
from meterport.domain.jobs import Job
from meterport.ports import JobStore


def find_job(job_id: str, access: Access, *, jobs: JobStore) -> Job | None:
    job = jobs.get(job_id)
    return job if job is not None and sees(access, job, jobs) else None


def sees(access: Access, job: Job, jobs: JobStore) -> bool:
    """Whether the job is one of its owner's, and all of its meters are the key's."""
    if access.own_only and job.owner != access.owner:
        return False
    return access.meters.are_all or not jobs.has_others(job, than=access.meters)


def known_job(job_id: str, access: Access, *, jobs: JobStore, asked: str | None = None) -> Job:
    """Raises JobNotFound; `asked`: how the id was said."""
    job = find_job(job_id, access, jobs=jobs)
    if job is None:
        raise JobNotFound(job_id if asked is None else asked)
    return job
