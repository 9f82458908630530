"""Half-open periods of time, and the text in which instants travel.

Time: every instant inside the service is an aware datetime in UTC.
Text: ISO 8601 date-times (RFC 3339 profile); a missing offset means UTC, as the contract says.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from meterport.domain.errors import (
    DateRangeTooLarge,
    DateRangeTooSmall,
    InvalidDateRange,
    InvalidRequest,
    StartNotInPast,
    shown,
)

SHORTEST = timedelta(minutes=1)
LONGEST_INTERVAL_S = 31 * 86_400
"""Of a reading: a month."""
_DATE_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?([Zz]|[+-]\d\d:?\d\d)?", re.ASCII
)


@dataclass(frozen=True)
class Period:
    """The instants t with start <= t < end, in UTC."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.utcoffset() != timedelta(0) or self.end.utcoffset() != timedelta(0):
            raise InvalidRequest("the bounds of a period need to be in UTC")
        if self.end <= self.start:
            raise InvalidDateRange(
                f"end ({iso_utc(self.end)}) must be after start ({iso_utc(self.start)})"
            )

    @classmethod
    def requested(cls, start: datetime, end: datetime, *, now: datetime) -> Self:
        """The period of a request of the frozen tier, checked in the contract's order."""
        if start >= now:
            raise StartNotInPast(
                f"start_datetime {iso_utc(start)} is not in the past; choose an earlier one"
            )
        period = cls(start, end)
        if end - start < SHORTEST:
            raise DateRangeTooSmall("the period is shorter than 1 minute; choose a later end")
        if end > one_year_after(start):
            raise DateRangeTooLarge(
                "the period is longer than 1 year; split it into several exports"
            )
        return period


def one_year_after(start: datetime) -> datetime:
    """The same date one calendar year on; from 29 February it is 1 March."""
    try:
        return start.replace(year=start.year + 1)
    except ValueError:
        return start.replace(year=start.year + 1, month=3, day=1)


def parse_instant(field: str, value: object) -> datetime:
    """Read a request's date-time; a bare date, a number or a second 60 is refused."""
    if not isinstance(value, str) or not _DATE_TIME.fullmatch(value):
        raise _not_an_instant(field, value)
    try:
        read = datetime.fromisoformat(value.upper().replace(",", "."))
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise _not_an_instant(field, value) from error


def _not_an_instant(field: str, value: object) -> InvalidRequest:
    return InvalidRequest(
        f"{field} must be an ISO 8601 date-time such as 2024-01-01T00:00:00Z, not {shown(value)}"
    )


def iso_utc(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def to_the_second(instant: datetime) -> datetime:
    return instant.replace(microsecond=0)
