"""Ask for an earlier export once more, as when its file was damaged or has expired."""

from dataclasses import replace
from datetime import datetime

from meterport.domain.access import EVERYTHING, Access
from meterport.domain.errors import StartNotInPast
from meterport.domain.exports import ExportRequest
from meterport.domain.jobs import Job, Submission
from meterport.domain.next_period import next_period
from meterport.domain.period import iso_utc
from meterport.domain.zones import check_zone
from meterport.ports import ReadingSource
from meterport.services.find_job import known_job
from meterport.services.submit_export import Intake, submit_export


def rerun_export(
    job_id: str,
    *,
    at: Intake,
    source: ReadingSource,
    access: Access = EVERYTHING,
    shifted_at: datetime | None = None,
    idempotency_key: str | None = None,
) -> Submission:
    """The new job. It reads the version that the earlier one read, while that is kept.

    Then its file has the same bytes; else it reads the newest version, as where the period is
    shifted: to the next one, if that has begun at `shifted_at`. A fleet has the same meters, also
    where they were all that were known then. Keys of other exports, and of new ones, are others.
    Raises JobNotFound, Forbidden.
    """
    earlier = known_job(job_id, access, jobs=at.jobs)
    fleet = tuple(at.jobs.meters(earlier)) if earlier.request.is_fleet else ()
    request = replace(earlier.request, fleet=fleet)
    if shifted_at is not None:
        request = _shifted(request, shifted_at)
    return submit_export(
        request,
        at=at,
        access=access,
        source_version=None if shifted_at else _kept(earlier, source),
        idempotency_key=idempotency_key,
        purpose=f"rerun {earlier.id}",
    )


def _kept(earlier: Job, source: ReadingSource) -> int | None:
    version = earlier.source_version
    return version if version is not None and source.keeps(version) else None


def _shifted(request: ExportRequest, now: datetime) -> ExportRequest:
    period = next_period(request.period, check_zone(request.options.shape.zone))
    if period.start >= now:
        raise StartNotInPast(
            f"the next period begins at {iso_utc(period.start)}, which is not in the past; "
            "ask again then"
        )
    return replace(request, period=period)
