"""History: pages of jobs by their time of creation, and files that go before their time.

Keys: SQLite holds times as text, with milliseconds or without a fraction. A page goes on behind
      the very text, which as a time of another precision would be another text.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    String,
    and_,
    exists,
    func,
    literal,
    or_,
    select,
    tuple_,
    type_coerce,
    update,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from meterport.adapters.sql_database import Database, UtcDateTime, db_now
from meterport.adapters.sql_job_rows import COLUMNS, is_expired, is_job_id, job_of, phase
from meterport.adapters.sql_keys import is_among
from meterport.adapters.sql_links import drop_links
from meterport.adapters.sql_manifests import drop_manifests
from meterport.adapters.sql_tables import JOB_ID, job_meters, jobs
from meterport.domain.access import Access
from meterport.domain.errors import InvalidRequest
from meterport.domain.exports import FLEET
from meterport.domain.history import Entry, HistoryPage, Wanted
from meterport.domain.jobs import JobStatus

_MADE_AT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?", re.ASCII)


class db_time(FunctionElement[datetime]):  # noqa: N801 - reads as the SQL function that it is
    """A time in the text in which the database holds it."""

    type = UtcDateTime()
    inherit_cache = True

    def __init__(self, text: str) -> None:
        super().__init__(literal(text, String))


@compiles(db_time, "sqlite")
def _sqlite_time(element: db_time, compiler: SQLCompiler, **kw: Any) -> str:
    return str(compiler.process(element.clauses, **kw))


@compiles(db_time, "postgresql")
def _postgresql_time(element: db_time, compiler: SQLCompiler, **kw: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **kw)} AS TIMESTAMP)"


_meters = (
    select(func.count())
    .select_from(job_meters)
    .where(job_meters.c.job_id == jobs.c.id)
    .correlate(jobs)
    .scalar_subquery()
)


class SqlHistory:
    def __init__(self, database: Database) -> None:
        self._database = database

    def page(
        self, wanted: Wanted, *, access: Access, limit: int, after: Sequence[str] = ()
    ) -> HistoryPage:
        made_at = type_coerce(jobs.c.created_at, String).label("made_at")
        statement: Select[Any] = (
            select(*COLUMNS, made_at, _meters.label("meters"))
            .where(*_seen_by(access), *_conditions(wanted), *_behind(after))
            .order_by(jobs.c.created_at.desc(), jobs.c.id.desc())
            .limit(limit + 1)
        )
        with self._database.read() as connection:
            rows = connection.execute(statement).all()
        told = rows[:limit]
        entries = [Entry(job_of(row), _count(row)) for row in told]
        more = len(rows) > limit
        return HistoryPage(entries, (str(told[-1].made_at), told[-1].id) if more else None)

    def expire(self, job_id: str) -> None:
        this = jobs.c.id == job_id
        with self._database.write() as connection:
            connection.execute(
                update(jobs)
                .where(this, jobs.c.status == JobStatus.COMPLETED, ~is_expired)
                .values(expires_at=db_now(), updated_at=db_now())
            )
            drop_manifests(connection, this & is_expired)
            drop_links(connection, this & is_expired)


def _count(row: Any) -> int:
    return int(row.meters) if row.smart_meter_id == FLEET else 1


def _seen_by(access: Access) -> Iterator[ColumnElement[bool]]:
    """As services/find_job judges one job."""
    if access.own_only:
        yield jobs.c.owner == access.owner
    if not access.meters.are_all:
        foreign = exists().where(
            job_meters.c.job_id == jobs.c.id, ~is_among(job_meters.c.smart_meter_id, access.meters)
        )
        is_fleet = jobs.c.smart_meter_id == FLEET
        yield or_(is_among(jobs.c.smart_meter_id, access.meters), and_(is_fleet, ~foreign))


def _conditions(wanted: Wanted) -> Iterator[ColumnElement[bool]]:
    if wanted.smart_meter_id is not None:
        fleets = select(job_meters.c.job_id).where(
            job_meters.c.smart_meter_id == wanted.smart_meter_id
        )
        yield or_(jobs.c.smart_meter_id == wanted.smart_meter_id, jobs.c.id.in_(fleets))
    if wanted.phase is not None:
        yield phase == str(wanted.phase)
    if wanted.format is not None:
        yield jobs.c.format == wanted.format
    if wanted.label is not None:
        yield jobs.c.label == wanted.label
    if wanted.created_from is not None:
        yield jobs.c.created_at >= _held_as(wanted.created_from)
    if wanted.created_before is not None:
        yield jobs.c.created_at < _held_as(wanted.created_before)


def _held_as(instant: datetime) -> db_time:
    naive = instant.astimezone(UTC).replace(tzinfo=None)
    return db_time(naive.isoformat(" ", "milliseconds"))


def _behind(key: Sequence[str]) -> Iterator[ColumnElement[bool]]:
    if not key:
        return
    made_at, job_id = _checked(key)
    place = tuple_(db_time(made_at), literal(job_id, JOB_ID))
    yield tuple_(jobs.c.created_at, jobs.c.id) < place


def _checked(key: Sequence[str]) -> tuple[str, str]:
    with suppress(ValueError):
        made_at, job_id = key
        if _MADE_AT.fullmatch(made_at) and datetime.fromisoformat(made_at) and is_job_id(job_id):
            return made_at, job_id
    raise InvalidRequest(
        "cursor is none that this list gave; leave it out to begin with the first page"
    )
