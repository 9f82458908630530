"""What `meterport jobs` and `meterport doctor` print."""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict

from meterport.bootstrap import connect, profile
from meterport.domain.errors import JobNotFound, ServiceUnavailable
from meterport.domain.findings import Finding, Level, error
from meterport.domain.jobs import Job
from meterport.domain.period import iso_utc
from meterport.services.cancel_export import cancel_export
from meterport.services.examine import examine
from meterport.services.hand_out import hand_out_manifest
from meterport.services.rerun_export import rerun_export
from meterport.settings import Settings

UUID_LENGTH = 36
_REACH = "start the database, or correct METERPORT_DATABASE_URL"
_REPAIR = "mend the disk, then: meterport restore BACKUP --replace"
_MARKS = {Level.OK: "ok     ", Level.WARNING: "WARNING", Level.ERROR: "ERROR  "}


def listed(settings: Settings, *, limit: int, as_json: bool) -> str:
    jobs = connect(settings).archive.recent(limit)
    if as_json:
        return json.dumps([_as_dict(job) for job in jobs])
    return "\n".join([_line(job) for job in jobs] or ["no jobs yet"])


def cancelled(settings: Settings, job_id: str) -> str:
    services = connect(settings)
    job = cancel_export(_plain(job_id), jobs=services.jobs, audit=services.audit)
    return f"{job.id} is cancelled" if job.error else f"{job.id} will stop within a second"


def manifest(settings: Settings, job_id: str) -> Iterator[str]:
    services = connect(settings)
    unerased = services.unerased()
    job = services.jobs.get(_plain(job_id))
    if job is None:
        raise JobNotFound(job_id)
    return hand_out_manifest(job, jobs=services.jobs, audit=services.audit, unerased=unerased)


def run_again(settings: Settings, job_id: str) -> str:
    services = connect(settings)
    job = rerun_export(_plain(job_id), at=services.intake, source=services.source).job
    return job.id


def _plain(job_id: str) -> str:
    """As jobs have it; the API takes capital letters too."""
    return job_id.lower() if len(job_id) == UUID_LENGTH else job_id


def examined(settings: Settings, *, scrub: bool, as_json: bool) -> tuple[str, bool]:
    """The report, and whether nothing is wrong."""
    try:
        services = connect(settings)
    except ServiceUnavailable as failed:
        remedy = _REACH if settings.jobs_on_server else _REPAIR
        unusable = error("database", failed.message, remedy)
        return _as_report([*profile(settings).findings(), unusable], as_json), False
    with closing(services):
        findings = list(
            examine(
                checkups=services.checkups,
                source=services.source,
                upkeep=services.upkeep,
                catalog=services.catalog,
                archive=services.archive,
                objects=services.objects,
                audit=services.audit,
                scrub=scrub,
            )
        )
    healthy = all(finding.level is not Level.ERROR for finding in findings)
    return _as_report(findings, as_json), healthy


def _as_report(findings: Sequence[Finding], as_json: bool) -> str:
    if as_json:
        return json.dumps([asdict(finding) for finding in findings])
    return "\n".join(_report(finding) for finding in findings)


def _report(finding: Finding) -> str:
    line = f"{_MARKS[finding.level]} {finding.about}: {finding.message}"
    return f"{line}\n        → {finding.remedy}" if finding.remedy else line


def _line(job: Job) -> str:
    period = f"{iso_utc(job.request.period.start)} … {iso_utc(job.request.period.end)}"
    state = "expired" if job.expired else job.error.code if job.error else str(job.status)
    rows = f"{job.rows_written:,} rows"
    return f"{job.id}  {job.request.smart_meter_id:<16} {period}  {state:<22} {rows}"


def _as_dict(job: Job) -> dict[str, object]:
    return {
        "job_id": job.id,
        "smart_meter_id": job.request.smart_meter_id,
        "start": iso_utc(job.request.period.start),
        "end": iso_utc(job.request.period.end),
        "format": job.request.format,
        "compression": job.request.compression,
        "options": job.request.options.words(),
        "label": job.request.label,
        "status": job.status,
        "created_at": iso_utc(job.created_at),
        "updated_at": iso_utc(job.updated_at),
        "attempt": job.attempt,
        "crashes": job.crashes,
        "retries": job.retries,
        "rows_written": job.rows_written,
        "source_version": job.source_version,
        "sha256": None if job.file is None else job.file.sha256,
        "file_size_bytes": None if job.file is None else job.file.size_bytes,
        "expires_at": None if job.expires_at is None else iso_utc(job.expires_at),
        "expired": job.expired,
        "error": None if job.error is None else asdict(job.error),
    }
