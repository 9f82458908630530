"""The links table. The secret's digest is all that there is of a secret."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select

from meterport.adapters.sql_database import Database
from meterport.adapters.sql_job_rows import is_expired, is_job_id
from meterport.adapters.sql_tables import jobs, links
from meterport.domain.errors import InvalidRequest
from meterport.domain.jobs import JobId, JobStatus
from meterport.domain.links import MOST_OF_EXPORT, Link


class SqlLinks:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, link: Link, *, secret_sha256: str) -> bool:
        # Locked, so that whoever lets the file expire meanwhile sees the link, or we see the end.
        kept = select(jobs.c.id).where(
            jobs.c.id == link.job_id, jobs.c.status == JobStatus.COMPLETED, ~is_expired
        )
        with self._database.write() as connection:
            if connection.execute(kept.with_for_update()).first() is None:
                return False
            of_it = select(func.count()).select_from(links).where(links.c.job_id == link.job_id)
            if connection.execute(of_it).scalar_one() >= MOST_OF_EXPORT:
                raise InvalidRequest(
                    f"the export has {MOST_OF_EXPORT:,} links, those that have expired too, "
                    "and may have no more; DELETE some of them"
                )
            connection.execute(
                insert(links).values(
                    id=link.id,
                    job_id=link.job_id,
                    key_id=link.key_id,
                    secret_sha256=secret_sha256,
                    created_at=link.created_at,
                    expires_at=link.expires_at,
                )
            )
        return True

    def find(self, link_id: str) -> tuple[Link, str] | None:
        with self._database.read() as connection:
            row = connection.execute(select(links).where(links.c.id == link_id)).first()
        return None if row is None else (_link(row), row.secret_sha256)

    def of_job(self, job_id: JobId) -> Sequence[Link]:
        of_it = select(links).where(links.c.job_id == job_id)
        with self._database.read() as connection:
            rows = connection.execute(of_it.order_by(links.c.created_at, links.c.id))
            return [_link(row) for row in rows]

    def remove(self, job_id: JobId, link_id: str) -> bool:
        if not (is_job_id(job_id) and link_id.isprintable()):  # PostgreSQL takes no NUL
            return False
        this = delete(links).where(links.c.job_id == job_id, links.c.id == link_id)
        with self._database.write() as connection:
            return connection.execute(this).rowcount == 1


def drop_links(connection: Connection, of_jobs: ColumnElement[bool]) -> None:
    """Of those jobs, by a condition on their rows."""
    ids = select(jobs.c.id).where(of_jobs)
    connection.execute(delete(links).where(links.c.job_id.in_(ids)))


def _link(row: Any) -> Link:
    return Link(
        id=row.id,
        job_id=JobId(row.job_id),
        key_id=row.key_id,
        created_at=row.created_at,
        expires_at=row.expires_at,
    )
