"""The period of the same kind that comes next, as a month after a month."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from meterport.domain.errors import InvalidRequest
from meterport.domain.period import Period
from meterport.domain.wall_times import A_SECOND, instant_of

LAST_DAY_OF_ANY_MONTH = 28


def next_period(period: Period, zone: str) -> Period:
    """It begins where that one ends, and has as many of its months, days or seconds.

    Months: from a day to the same day of another month, up to the 28th. Days: from midnight to
    midnight of the zone; an end at 23:59:59 means the midnight after it, and stays one. Raises
    InvalidRequest beyond the year 9999.
    """
    try:
        return _next(period, zone)
    except (OverflowError, ValueError) as error:
        raise InvalidRequest("the period after that one lies beyond the year 9999") from error


def _next(period: Period, zone: str) -> Period:
    first, last, short = _day(period.start, zone), _day(period.end, zone), timedelta(0)
    if last is None:
        last, short = _day(period.end + A_SECOND, zone), A_SECOND
    if first is None or last is None:
        return Period(period.end, period.end + (period.end - period.start))
    end = instant_of("end", _as_much_later(first, last).isoformat(), zone)
    return Period(period.end + short, end - short)


def _day(instant: datetime, zone: str) -> date | None:
    """The local day that begins then, if one does."""
    day = instant.astimezone(ZoneInfo(zone)).date()
    return day if instant_of("day", day.isoformat(), zone) == instant else None


def _as_much_later(first: date, last: date) -> date:
    months = (last.year - first.year) * 12 + last.month - first.month
    if first.day != last.day or last.day > LAST_DAY_OF_ANY_MONTH:
        return last + (last - first)
    years, month = divmod(last.month - 1 + months, 12)
    return last.replace(year=last.year + years, month=month + 1)
