"""An export as `/api/exports` shows it. Absent keys are absent; times are UTC, in whole seconds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from meterport.domain.completeness import Completeness
from meterport.domain.exports import ExportRequest
from meterport.domain.jobs import Job, JobStatus, Phase
from meterport.domain.period import iso_utc, to_the_second
from meterport.encoders import FORMATS
from meterport.services.estimate_export import Estimate
from meterport.services.name_file import filename, media_type

MOST_METERS = 100
"""As many meters of a fleet are told by name; a manifest tells of all."""


@dataclass(frozen=True)
class Known:
    """What is known of a job besides its row. `fleet`: its meters, where they are to be told."""

    meters: int
    fleet: Sequence[str] = ()
    about: Sequence[Completeness] = ()


def resource(job: Job, known: Known, *, now: datetime) -> dict[str, object]:
    told = {
        "id": job.id,
        "phase": job.phase,
        "created_at": _time(job.created_at),
        "updated_at": _time(job.updated_at),
        "started_at": None if job.started_at is None else _time(job.started_at),
        "attempt": job.attempt,
        "request": echo(job.request, known.fleet),
        "meters": known.meters,
        "source_version": job.source_version,
        "progress": _progress(job, now),
        "file": _file(job),
        "gaps": _gaps(known.about),
        "error": _error(job),
        "links": _links(job),
    }
    return _without_none(told)


def echo(request: ExportRequest, fleet: Sequence[str]) -> dict[str, object]:
    """The request as it was understood, with its defaults. It may be posted again.

    Not where the fleet is left out.
    """
    words = request.options.all_words()
    told = {
        "smart_meter_id": None if request.is_fleet else request.smart_meter_id,
        "smart_meter_ids": list(fleet) if fleet else None,
        "start": iso_utc(request.period.start),
        "end": iso_utc(request.period.end),
        "format": request.format,
        "compression": str(request.compression),
        **words,
        "columns": words["columns"] or list(FORMATS[request.format].columns),
        "csv": words["csv"] if request.format == "csv" else None,
        "label": request.label,
    }
    return _without_none(told)


def estimated(estimate: Estimate) -> dict[str, object]:
    seconds = estimate.seconds
    told = {
        "rows": estimate.rows,
        "bytes": estimate.size_bytes,
        "seconds": None if seconds is None else math.ceil(seconds),
        "compression": str(estimate.compression),
    }
    answer = {
        "valid": True,
        "estimate": _without_none(told),
        "meters": estimate.meters,
        "gaps": estimate.gaps,
    }
    return _without_none(answer)


def _progress(job: Job, now: datetime) -> dict[str, object] | None:
    progress, left = job.progress, job.time_left(now)
    if progress is None or job.phase is Phase.CANCELLED:
        return None
    told = {
        "percent": progress.percent,
        "rows_written": progress.records_written,
        "rows_expected": progress.records_expected,
        "eta_seconds": None if left is None else math.ceil(left.total_seconds()),
    }
    return _without_none(told)


def _file(job: Job) -> dict[str, object] | None:
    if job.file is None:
        return None
    told = {
        "filename": filename(job.request),
        "media_type": media_type(job.request),
        "rows": job.file.rows,
        "size_bytes": job.file.size_bytes,
        "sha256": job.file.sha256,
        "expires_at": None if job.expires_at is None else _time(job.expires_at),
        "download_url": None if job.expired else _download(job),
    }
    return _without_none(told)


def _gaps(about: Sequence[Completeness]) -> dict[str, object] | None:
    if not about:
        return None
    return {
        "intervals_expected": sum(each.expected for each in about),
        "intervals_present": sum(each.present for each in about),
    }


def _error(job: Job) -> dict[str, object] | None:
    if job.error is None:
        return None
    return {
        "code": job.error.code,
        "message": job.error.message,
        "details": job.error.details,
    }


def _links(job: Job) -> dict[str, object]:
    own = f"/api/exports/{job.id}"
    kept, ended = job.phase is Phase.COMPLETED, job.status is not JobStatus.PENDING
    told = {
        "self": own,
        "cancel": None if ended or job.phase is Phase.CANCELLED else f"{own}/cancel",
        "rerun": f"{own}/rerun" if ended else None,
        "manifest": f"{own}/manifest" if kept else None,
        "download": _download(job) if kept else None,
        "links": f"{own}/links" if kept else None,
    }
    return _without_none(told)


def _download(job: Job) -> str:
    return f"/api/export/download/{job.id}"


def _time(instant: datetime) -> str:
    return iso_utc(to_the_second(instant))


def _without_none(told: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in told.items() if value is not None}
