"""JobCounts: sums over the jobs table, and the newest durations."""

from datetime import timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, and_, case, cast, func, select

from meterport.adapters.sql_database import Database, db_now
from meterport.adapters.sql_job_rows import is_expired
from meterport.adapters.sql_tables import job_parts, jobs
from meterport.domain.errors import ExportCancelled
from meterport.domain.figures import JobFigures, JobState
from meterport.domain.jobs import JobStatus

DAY = timedelta(days=1)
MOST_DURATIONS = 10_000


class SqlFigures:
    def __init__(self, database: Database) -> None:
        self._database = database

    def figures(self) -> JobFigures:
        with self._database.read() as connection:
            by_state = connection.execute(_by_state()).all()
            crashes, retries = _attempts(connection)
            now = connection.execute(select(db_now())).scalar_one()
            durations_s = [
                (ended - started).total_seconds()
                for started, ended in connection.execute(_newest_completed())
            ]
        ages_s = [
            (now - row.oldest).total_seconds() for row in by_state if row.state == JobState.QUEUED
        ]
        return JobFigures(
            jobs=dict.fromkeys(JobState, 0) | {JobState(row.state): row.jobs for row in by_state},
            oldest_queued_s=max([0.0, *ages_s]),
            rows=sum(row.rows for row in by_state),
            size_bytes=sum(row.size_bytes for row in by_state),
            crashes=crashes,
            retries=retries,
            durations_s=durations_s,
        )


def _by_state() -> Any:
    state = _state()
    return select(
        state.label("state"),
        func.count().label("jobs"),
        func.min(jobs.c.created_at).label("oldest"),
        _sum(jobs.c.record_count).label("rows"),
        _sum(jobs.c.file_size_bytes).label("size_bytes"),
    ).group_by(state)


def _state() -> ColumnElement[str]:
    begun = jobs.c.parts_left.is_not(None) | (jobs.c.lease_until > db_now())
    return case(
        (and_(jobs.c.status == JobStatus.PENDING, begun), JobState.RUNNING),
        (jobs.c.status == JobStatus.PENDING, JobState.QUEUED),
        (and_(jobs.c.status == JobStatus.COMPLETED, is_expired), JobState.EXPIRED),
        (jobs.c.status == JobStatus.COMPLETED, JobState.COMPLETED),
        (jobs.c.error_code == ExportCancelled.code, JobState.CANCELLED),
        else_=JobState.FAILED,
    )


def _attempts(connection: Connection) -> tuple[int, int]:
    """Of jobs, and of their parts, which are counted for themselves."""
    sums = [
        connection.execute(select(_sum(row.c.crashes), _sum(row.c.retries))).one()
        for row in (jobs, job_parts)
    ]
    return sum(crashes for crashes, _ in sums), sum(retries for _, retries in sums)


def _newest_completed() -> Any:
    return (
        select(jobs.c.started_at, jobs.c.updated_at)
        .where(
            jobs.c.status == JobStatus.COMPLETED,
            jobs.c.started_at.is_not(None),
            jobs.c.updated_at > db_now(-DAY),
        )
        .order_by(jobs.c.updated_at.desc())
        .limit(MOST_DURATIONS)
    )


def _sum(column: ColumnElement[Any]) -> ColumnElement[int]:
    # PostgreSQL's sums of integers are bigint, and of bigint numeric.
    return cast(func.coalesce(func.sum(column), 0), BigInteger)
