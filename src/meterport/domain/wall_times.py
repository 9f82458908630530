"""Dates and times as people write them: on the clock of a zone, unless they have an offset."""

import re
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from meterport.domain.errors import InvalidRequest, shown
from meterport.domain.period import iso_utc, parse_instant

A_SECOND = timedelta(seconds=1)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_OFFSET = re.compile(r"([Zz]|[+-]\d\d:?\d\d)$", re.ASCII)


def instant_of(field: str, text: object, zone: str) -> datetime:
    """A date is the beginning of that day. Raises InvalidRequest.

    A time that the clock shows twice, or never, is refused.
    """
    if isinstance(text, str) and _DATE.fullmatch(text):
        return _begin_of(field, text, ZoneInfo(zone))
    try:
        read = parse_instant(field, text)
    except InvalidRequest as error:
        raise InvalidRequest(
            f"{field} must be a date such as 2024-03-31 or a date-time such as "
            f"2024-03-31T00:00:00Z, not {shown(text)}"
        ) from error
    return read if _OFFSET.search(str(text)) else _on_the_clock(field, read, ZoneInfo(zone))


def _begin_of(field: str, text: str, zone: ZoneInfo) -> datetime:
    """As Offsets.days has it: after the last instant that has an earlier date."""
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest(f"{field} {shown(text)} is no day of the calendar") from error
    first, second = _passes(field, datetime.combine(day, time()), zone)
    later = max(first, second)
    # Where midnight is skipped, or the clock is put back over it to the day before.
    if first != second and (later - A_SECOND).astimezone(zone).date() < day:
        return later
    return first


def _on_the_clock(field: str, read: datetime, zone: ZoneInfo) -> datetime:
    wall = read.replace(tzinfo=None)
    first, second = _passes(field, wall, zone)
    if first.astimezone(zone).replace(tzinfo=None) != wall:
        raise InvalidRequest(
            f"{field} {wall}: the clock of {zone.key} skips that time; choose another"
        )
    if first != second:
        raise InvalidRequest(
            f"{field} {wall}: the clock of {zone.key} shows that time twice; "
            f"write {iso_utc(first)} or {iso_utc(second)}"
        )
    return first


def _passes(field: str, wall: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """The instants at which the clock shows that time first and last; mostly one."""
    try:
        first, second = (wall.replace(tzinfo=zone, fold=n).astimezone(UTC) for n in (0, 1))
    except OverflowError as error:
        raise InvalidRequest(
            f"{field} {wall} lies beyond the years 1 to 9999 of UTC; choose another"
        ) from error
    return first, second
