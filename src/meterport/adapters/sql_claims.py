"""Who is served next: of the owner with the fewest at work the oldest job, or part of one.

Of owners with as few at work: who was served least recently. So they take turns, also where one
worker serves all, and whoever asks for much at once keeps nobody else waiting for all of it.
"""

from collections.abc import Collection
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    ScalarSelect,
    Select,
    Table,
    and_,
    case,
    func,
    select,
    union_all,
    update,
)

from meterport.adapters.sql_database import Database, db_now
from meterport.adapters.sql_job_parts import free_parts, has_free_part
from meterport.adapters.sql_job_rows import get_job, is_free_job, part_of
from meterport.adapters.sql_tables import job_parts, jobs
from meterport.domain.jobs import Job, JobId, JobStatus, Lane, Lease

CLAIM_TRIES = 5
"""Another worker may take the owner's last job between our look and our claim."""
TAKE_TURNS = 50
"""Owners at a time, those who wait longest: a turn costs a few looks for each."""


def claim(
    database: Database, lease: Lease, lanes: Collection[Lane], only: JobId | None = None
) -> Job | None:
    wanted = and_(jobs.c.lane.in_(lanes), *([] if only is None else [jobs.c.id == only]))
    for _ in range(CLAIM_TRIES):
        # A look without the write lock first: idle workers poll every second.
        with database.read() as connection:
            owner = connection.execute(_least_served_owner(wanted)).scalar()
        if owner is None:
            return None
        with database.write() as connection:
            job = _claim_of(connection, owner, lease, wanted)
        if job is not None:
            return job
    return None


def _claim_of(
    connection: Connection, owner: str, lease: Lease, wanted: ColumnElement[bool]
) -> Job | None:
    mine = and_(jobs.c.owner == owner, wanted)
    whole = connection.execute(_oldest_free_job(mine)).first()
    part = connection.execute(_oldest_free_part(mine)).first()
    if part is not None and (whole is None or part.created_at < whole.created_at):
        this = and_(job_parts.c.job_id == part.job_id, job_parts.c.number == part.number)
        taken = connection.execute(_taken(job_parts, lease).where(this).returning(job_parts)).one()
        job = get_job(connection, taken.job_id)
        return None if job is None else part_of(job, taken)
    if whole is None:
        return None
    started = func.coalesce(jobs.c.started_at, db_now())
    taken_whole = _taken(jobs, lease).where(jobs.c.id == whole.id).values(started_at=started)
    connection.execute(taken_whole)
    return get_job(connection, whole.id)


def _taken(row: Table, lease: Lease) -> Any:
    return update(row).values(
        attempt=row.c.attempt + 1,
        # A lease that is still there has run out: its worker died or was cut off.
        crashes=row.c.crashes + case((row.c.lease_until.is_(None), 0), else_=1),
        worker_id=lease.worker_id,
        lease_until=db_now(lease.duration),
        updated_at=db_now(),
    )


def _oldest_free_job(mine: ColumnElement[bool]) -> Select[Any]:
    return (
        select(jobs.c.id, jobs.c.created_at)
        .where(mine, is_free_job(jobs))
        .order_by(jobs.c.created_at, jobs.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )


def _oldest_free_part(mine: ColumnElement[bool]) -> Select[Any]:
    return (
        free_parts(job_parts.c.job_id, job_parts.c.number, jobs.c.created_at)
        .where(mine)
        .order_by(jobs.c.created_at, jobs.c.id, job_parts.c.number)
        .limit(1)
        .with_for_update(skip_locked=True, of=job_parts)
    )


def _least_served_owner(wanted: ColumnElement[bool]) -> Select[Any]:
    """Who has something free, and of them who has the fewest at work; then whose turn it is."""
    columns = (jobs.c.owner, jobs.c.created_at)
    free = union_all(
        select(*columns).where(is_free_job(jobs), wanted),
        select(*columns).where(has_free_part(), wanted),
    ).subquery()
    running = _owners_at_work().subquery()
    # Counted once per owner, and not once more for each of its free jobs.
    count = select(running.c.owner, func.count().label("jobs")).group_by(running.c.owner).subquery()
    waiting = (
        select(
            free.c.owner,
            func.coalesce(func.min(count.c.jobs), 0).label("at_work"),
            func.min(free.c.created_at).label("since"),
        )
        .select_from(free.outerjoin(count, count.c.owner == free.c.owner))
        .group_by(free.c.owner)
        .order_by("at_work", "since")
        .limit(TAKE_TURNS)
        .subquery()
    )
    turn = _last_served(waiting.c.owner).asc().nulls_first()
    return select(waiting.c.owner).order_by(waiting.c.at_work, turn, waiting.c.since).limit(1)


def _last_served(owner: ColumnElement[str]) -> ScalarSelect[Any]:
    """When a worker last began something of that owner's; null: never, as far as is known.

    Of the jobs only the newest of each status and lane that was begun: an owner's own are served
    in the order of their creation, and an index finds those.
    """
    began = [_last_begun(status, lane, owner) for status in JobStatus for lane in Lane]
    of_parts = (
        select(func.max(job_parts.c.updated_at).label("at"))
        .select_from(job_parts.join(jobs, jobs.c.id == job_parts.c.job_id))
        .where(jobs.c.owner == owner, jobs.c.status == JobStatus.PENDING, job_parts.c.attempt > 0)
        .correlate(owner.table)
    )
    times = union_all(*began, of_parts).subquery()
    return select(func.max(times.c.at)).scalar_subquery()


def _last_begun(status: JobStatus, lane: Lane, owner: ColumnElement[str]) -> Select[Any]:
    newest = (
        select(jobs.c.started_at.label("at"))
        .where(jobs.c.status == status, jobs.c.lane == lane, jobs.c.owner == owner)
        .where(jobs.c.started_at.is_not(None))
        .order_by(jobs.c.created_at.desc())
        .limit(1)
        .correlate(owner.table)
        .subquery()
    )
    return select(newest.c.at)


def _owners_at_work() -> Any:
    parts = job_parts.join(jobs, jobs.c.id == job_parts.c.job_id)
    return union_all(
        select(jobs.c.owner).where(
            jobs.c.status == JobStatus.PENDING, jobs.c.lease_until > db_now()
        ),
        select(jobs.c.owner)
        .select_from(parts)
        .where(job_parts.c.status == JobStatus.PENDING, job_parts.c.lease_until > db_now()),
    )
