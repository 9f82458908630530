"""Whether there is room for one more unfinished export, counted where it is added."""

from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, literal, select

from meterport.adapters.sql_tables import jobs
from meterport.domain.access_errors import LimitError, QueueFull, TooManyActiveExports
from meterport.domain.jobs import JobStatus, Lane, Room

_PENDING = jobs.c.status == JobStatus.PENDING


def lack_of_room(connection: Connection, owner: str, room: Room) -> LimitError | None:
    """Exact for the owner, whose other exports are added one after the other.

    For all together about: as many more may come as are added at the very same time.
    """
    if room.of_owner and _count(connection, owner) >= room.of_owner:
        return TooManyActiveExports(
            f"{room.of_owner} exports of this owner are not finished, and more may not be; "
            "try again when one is, or cancel one",
            retry_after_s=10,
        )
    if room.of_all and connection.execute(one_behind(room.of_all)).first() is not None:
        return QueueFull(
            f"{room.of_all} exports wait already; try again later",
            "METERPORT_MAX_QUEUED says how many may wait",
            retry_after_s=30,
        )
    return None


def unfinished_of(owner: str) -> Select[int]:
    # By lane, as the index has it.
    mine = (_PENDING, jobs.c.lane.in_([str(lane) for lane in Lane]), jobs.c.owner == owner)
    return select(func.count()).select_from(jobs).where(*mine)


def one_behind(count: int) -> Select[int]:
    """A row if there are so many: no more than those are looked at, and in the index alone."""
    return select(literal(1)).select_from(jobs).where(_PENDING).offset(count - 1).limit(1)


def _count(connection: Connection, owner: str) -> int:
    if connection.dialect.name == "postgresql":  # on SQLite there is one writer in any case
        connection.execute(select(_lock_of(owner)))
    return connection.execute(unfinished_of(owner)).scalar_one()


def _lock_of(owner: str) -> ColumnElement[Any]:
    """Whoever adds another export of the owner waits until this transaction has ended."""
    return func.pg_advisory_xact_lock(func.hashtext("owner"), func.hashtext(owner))
