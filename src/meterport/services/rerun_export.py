"""Ask for an earlier export once more, as when its file was damaged or has expired."""

from dataclasses import replace

from meterport.domain.errors import JobNotFound
from meterport.domain.jobs import Job
from meterport.ports import Dispatcher, JobStore, MeterCatalog, ReadingSource, Space
from meterport.services.choose_meters import Limits
from meterport.services.submit_export import submit_export


def rerun_export(
    job_id: str,
    *,
    jobs: JobStore,
    source: ReadingSource,
    catalog: MeterCatalog,
    dispatcher: Dispatcher,
    space: Space,
    limits: Limits = Limits(),  # noqa: B008 - it is frozen
) -> Job:
    """The new job. It reads the version that the earlier one read, while that is kept.

    Then its file has the same bytes; else it reads the newest version.
    """
    earlier = jobs.get(job_id)
    if earlier is None:
        raise JobNotFound(job_id)
    version = earlier.source_version
    kept = version if version is not None and source.keeps(version) else None
    fleet = tuple(jobs.meters(earlier)) if earlier.request.is_fleet else ()
    return submit_export(
        replace(earlier.request, fleet=fleet),
        jobs=jobs,
        catalog=catalog,
        dispatcher=dispatcher,
        space=space,
        limits=limits,
        source_version=kept,
    ).job
