"""The period that comes next on a zone's calendar."""

from datetime import UTC, datetime

import pytest

from meterport.domain.errors import InvalidRequest
from meterport.domain.next_period import next_period
from meterport.domain.period import Period


def period(start: str, end: str) -> Period:
    return Period(*(datetime.fromisoformat(text).astimezone(UTC) for text in (start, end)))


@pytest.mark.parametrize(
    ("zone", "start", "end", "next_end"),
    [
        # a month, a leap year's too; a quarter; a year
        ("UTC", "2024-01-01T00:00Z", "2024-02-01T00:00Z", "2024-03-01T00:00Z"),
        ("UTC", "2024-11-01T00:00Z", "2024-12-01T00:00Z", "2025-01-01T00:00Z"),
        ("UTC", "2024-07-01T00:00Z", "2024-10-01T00:00Z", "2025-01-01T00:00Z"),
        ("UTC", "2023-01-01T00:00Z", "2024-01-01T00:00Z", "2025-01-01T00:00Z"),
        # from the middle of one month to that of another
        ("UTC", "2024-01-15T00:00Z", "2024-02-15T00:00Z", "2024-03-15T00:00Z"),
        # days
        ("UTC", "2024-02-28T00:00Z", "2024-02-29T00:00Z", "2024-03-01T00:00Z"),
        ("UTC", "2024-01-30T00:00Z", "2024-02-06T00:00Z", "2024-02-13T00:00Z"),
        ("UTC", "2024-01-31T00:00Z", "2024-03-31T00:00Z", "2024-05-30T00:00Z"),
        # Berlin: a day of 24 hours before one of 23, a month before that with the change
        ("Europe/Berlin", "2024-03-30T00:00+01:00", "2024-03-31T00:00+01:00", "2024-03-31T22:00Z"),
        ("Europe/Berlin", "2024-02-29T23:00Z", "2024-03-31T22:00Z", "2024-04-30T22:00Z"),
        # a day that begins at one o'clock, as midnight is skipped
        ("America/Asuncion", "2023-09-30T04:00Z", "2023-10-01T04:00Z", "2023-10-02T03:00Z"),
        # neither from midnight nor to it: as many seconds
        ("UTC", "2024-01-01T06:00Z", "2024-01-01T18:00Z", "2024-01-02T06:00Z"),
        ("Europe/Berlin", "2024-02-01T00:00Z", "2024-03-01T00:00Z", "2024-03-30T00:00Z"),
    ],
)
def test_the_next_period_begins_where_the_last_one_ends(
    zone: str, start: str, end: str, next_end: str
) -> None:
    assert next_period(period(start, end), zone) == period(end, next_end)


def test_an_end_one_second_before_midnight_stays_one() -> None:
    january = period("2024-01-01T00:00:00Z", "2024-01-31T23:59:59Z")

    february = next_period(january, "UTC")

    assert february == period("2024-02-01T00:00:00Z", "2024-02-29T23:59:59Z")
    assert next_period(february, "UTC") == period("2024-03-01T00:00:00Z", "2024-03-31T23:59:59Z")


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("5000-01-01T00:00Z", "9999-12-01T00:00Z"),
        ("5000-01-01T00:00Z", "9999-12-31T23:59:59Z"),
        ("5000-01-01T06:00Z", "9999-12-31T06:00Z"),
    ],
)
def test_there_is_nothing_beyond_the_year_9999(start: str, end: str) -> None:
    with pytest.raises(InvalidRequest, match="lies beyond the year 9999"):
        next_period(period(start, end), "UTC")
