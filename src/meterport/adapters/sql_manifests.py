"""Manifests beside the rows of jobs and parts; written and removed in their transactions.

They tell of a meter's days, so they go with the file, not with the record.
"""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, func, insert, select

from meterport.adapters.sql_job_rows import is_expired
from meterport.adapters.sql_tables import job_manifests, job_parts, jobs
from meterport.domain.completeness import Completeness, Manifest
from meterport.domain.jobs import Job, JobStatus

ROWS_PER_STATEMENT = 500
WHOLE = 0
"""The number of a file that is not one of several parts."""


def keep_manifest(connection: Connection, job: Job, manifest: Manifest) -> None:
    number = WHOLE if job.part is None else job.part.number
    this = (job_manifests.c.job_id == job.id, job_manifests.c.number == number)
    connection.execute(delete(job_manifests).where(*this))
    connection.execute(
        insert(job_manifests).values(
            job_id=job.id,
            number=number,
            about=json.dumps(manifest.about.as_json(str)),
            days=manifest.days,
        )
    )


def manifests_of(connection: Connection, job: Job) -> list[Manifest]:
    """All of them, or none: parts that an older release wrote have none."""
    rows = _rows(connection, job, job_manifests.c.about, job_manifests.c.days)
    return [Manifest(_about(row), row.days) for row in rows]


def completeness_of(connection: Connection, job: Job) -> list[Completeness]:
    """The same without their days, which may be many megabytes."""
    return [_about(row) for row in _rows(connection, job, job_manifests.c.about)]


def _rows(connection: Connection, job: Job, *columns: ColumnElement[Any]) -> Sequence[Row[Any]]:
    done = (job_parts.c.job_id == job.id, job_parts.c.status == JobStatus.COMPLETED)
    parts = select(func.count()).select_from(job_parts).where(*done).scalar_subquery()
    wanted: Select[Any] = (
        select(*columns, parts.label("parts"))
        .join(jobs, jobs.c.id == job_manifests.c.job_id)
        .where(job_manifests.c.job_id == job.id, ~is_expired)
        .order_by(job_manifests.c.number)
    )
    rows = connection.execute(wanted).all()
    return [] if rows and len(rows) < rows[0].parts else rows


def _about(row: Row[Any]) -> Completeness:
    return Completeness.of_json(json.loads(row.about))


def drop_manifests(connection: Connection, of_jobs: ColumnElement[bool]) -> None:
    ids = select(jobs.c.id).where(of_jobs)
    connection.execute(delete(job_manifests).where(job_manifests.c.job_id.in_(ids)))


def drop_manifests_of(connection: Connection, ids: Sequence[str]) -> None:
    connection.execute(delete(job_manifests).where(job_manifests.c.job_id.in_(ids)))


def expired_with_manifest(connection: Connection) -> list[str]:
    """The ids of some."""
    rows = (
        select(jobs.c.id)
        .join(job_manifests, jobs.c.id == job_manifests.c.job_id)
        .where(is_expired)
        .distinct()
        .limit(ROWS_PER_STATEMENT)
    )
    return list(connection.execute(rows).scalars())
