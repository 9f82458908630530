"""Dates and times as people write them, where clocks change."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterport.domain.errors import InvalidRequest
from meterport.domain.period import iso_utc
from meterport.domain.wall_times import instant_of
from meterport.domain.zones import Offsets
from tests import make
from tests.unit.clocks import ZONES


@pytest.mark.parametrize(
    ("zone", "day", "begin"),
    [
        ("UTC", "2024-03-31", "2024-03-31T00:00:00Z"),
        ("Europe/Berlin", "2024-03-31", "2024-03-30T23:00:00Z"),
        ("Europe/Berlin", "2024-04-01", "2024-03-31T22:00:00Z"),
        ("Asia/Kathmandu", "2024-01-01", "2023-12-31T18:15:00Z"),
        # Midnight is skipped: the day begins at 01:00.
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00Z"),
        ("America/Havana", "2024-03-10", "2024-03-10T05:00:00Z"),
        ("Atlantic/Azores", "2024-03-31", "2024-03-31T01:00:00Z"),
        ("Asia/Beirut", "2024-03-31", "2024-03-30T22:00:00Z"),
        # Midnight comes twice: the day begins with the first.
        ("America/Havana", "2024-11-03", "2024-11-03T04:00:00Z"),
        # The clock is put back to 23:00 the day before, which then begins once more.
        ("America/Sao_Paulo", "2018-02-18", "2018-02-18T03:00:00Z"),
        ("America/St_Johns", "2010-11-07", "2010-11-07T03:30:00Z"),
        ("Antarctica/Casey", "2010-03-05", "2010-03-04T16:00:00Z"),
        ("Atlantic/Azores", "2024-10-27", "2024-10-27T00:00:00Z"),
        ("UTC", "0001-01-01", "0001-01-01T00:00:00Z"),
        ("UTC", "9999-12-31", "9999-12-31T00:00:00Z"),
    ],
)
def test_a_date_is_the_first_instant_of_that_day(zone: str, day: str, begin: str) -> None:
    assert iso_utc(instant_of("--from", day, zone)) == begin


@pytest.mark.parametrize(
    ("zone", "text", "instant"),
    [
        ("UTC", "2024-01-01T00:00:00", "2024-01-01T00:00:00Z"),
        ("Europe/Berlin", "2024-01-01T00:00:00", "2023-12-31T23:00:00Z"),
        ("Europe/Berlin", "2024-07-01 12:30", "2024-07-01T10:30:00Z"),
        ("Europe/Berlin", "2024-03-31T01:59:59", "2024-03-31T00:59:59Z"),
        ("Europe/Berlin", "2024-03-31T03:00:00", "2024-03-31T01:00:00Z"),
        ("Europe/Berlin", "2024-10-27T01:59:59", "2024-10-26T23:59:59Z"),
        ("Europe/Berlin", "2024-10-27T03:00:00", "2024-10-27T02:00:00Z"),
        ("Europe/Berlin", "2024-07-01T12:00:00.25", "2024-07-01T10:00:00.250000Z"),
        ("America/St_Johns", "2024-01-01T00:00:00", "2024-01-01T03:30:00Z"),
    ],
)
def test_a_time_is_read_from_the_zones_clock(zone: str, text: str, instant: str) -> None:
    assert iso_utc(instant_of("--from", text, zone)) == instant


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2024-07-01T12:00:00Z", "2024-07-01T12:00:00Z"),
        ("2024-07-01t12:00:00z", "2024-07-01T12:00:00Z"),
        ("2024-07-01T12:00:00+05:30", "2024-07-01T06:30:00Z"),
        ("2024-07-01T12:00:00-0330", "2024-07-01T15:30:00Z"),
        # The hour that comes twice is no question with an offset, and none is skipped.
        ("2024-10-27T02:30:00+02:00", "2024-10-27T00:30:00Z"),
        ("2024-10-27T02:30:00+01:00", "2024-10-27T01:30:00Z"),
        ("2024-03-31T02:30:00+01:00", "2024-03-31T01:30:00Z"),
    ],
)
def test_a_time_with_an_offset_is_meant_as_it_is_whatever_the_zone(text: str, instant: str) -> None:
    assert iso_utc(instant_of("--from", text, "Europe/Berlin")) == instant


@pytest.mark.parametrize(
    ("zone", "text", "message"),
    [
        (
            "Europe/Berlin",
            "2024-03-31T02:30",
            "--to 2024-03-31 02:30:00: the clock of Europe/Berlin skips that time; choose another",
        ),
        (
            "America/Sao_Paulo",
            "2018-11-04T00:00:00",
            "--to 2018-11-04 00:00:00: the clock of America/Sao_Paulo skips that time; "
            "choose another",
        ),
        (
            "Pacific/Apia",
            "2011-12-30T12:00:00",
            "--to 2011-12-30 12:00:00: the clock of Pacific/Apia skips that time; choose another",
        ),
        (
            "Europe/Berlin",
            "2024-10-27T02:00:00",
            "--to 2024-10-27 02:00:00: the clock of Europe/Berlin shows that time twice; "
            "write 2024-10-27T00:00:00Z or 2024-10-27T01:00:00Z",
        ),
        (
            "America/Havana",
            "2024-11-03 00:59:59",
            "--to 2024-11-03 00:59:59: the clock of America/Havana shows that time twice; "
            "write 2024-11-03T04:59:59Z or 2024-11-03T05:59:59Z",
        ),
        (
            "Australia/Lord_Howe",
            "2024-04-07 01:45",
            "--to 2024-04-07 01:45:00: the clock of Australia/Lord_Howe shows that time twice; "
            "write 2024-04-06T14:45:00Z or 2024-04-06T15:15:00Z",
        ),
        ("UTC", "2024-02-30", "--to '2024-02-30' is no day of the calendar"),
        ("UTC", "0000-01-01", "--to '0000-01-01' is no day of the calendar"),
        (
            "UTC",
            "yesterday",
            "--to must be a date such as "
            "2024-03-31 or a date-time such as 2024-03-31T00:00:00Z, not 'yesterday'",
        ),
        (
            "UTC",
            "2024-13-01T00:00:00",
            "--to must be a date such as 2024-03-31 or a date-time such as 2024-03-31T00:00:00Z, "
            "not '2024-13-01T00:00:00'",
        ),
        (
            "UTC",
            "20240101",
            "--to must be a date such as "
            "2024-03-31 or a date-time such as 2024-03-31T00:00:00Z, not '20240101'",
        ),
        (
            "Europe/Berlin",
            "0001-01-01",
            "--to 0001-01-01 00:00:00 lies beyond the years 1 to 9999 of UTC; choose another",
        ),
        (
            "America/New_York",
            "9999-12-31T23:00:00",
            "--to 9999-12-31 23:00:00 lies beyond the years 1 to 9999 of UTC; choose another",
        ),
    ],
)
def test_a_time_that_no_clock_shows_or_that_comes_twice_is_told(
    zone: str, text: str, message: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        instant_of("--to", text, zone)

    assert refused.value.code == "INVALID_REQUEST"
    assert refused.value.message == message


@given(zone=st.sampled_from(ZONES), minutes=st.integers(0, 24_000_000))
def test_a_time_that_is_taken_is_the_one_that_the_clock_shows(zone: str, minutes: int) -> None:
    wall = make.JANUARY.replace(year=1990, tzinfo=None) + timedelta(minutes=minutes)
    try:
        instant = instant_of("--from", wall.isoformat(), zone)
    except InvalidRequest:
        return

    assert instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == wall
    for hours in (-1, 1):
        other = instant + timedelta(hours=hours)
        assert other.astimezone(ZoneInfo(zone)).replace(tzinfo=None) != wall


@pytest.mark.parametrize("zone", ["America/St_Johns", *ZONES])
def test_a_date_begins_where_the_days_of_an_export_do(zone: str) -> None:
    for year in (2010, 2018, 2025):
        begins, days = Offsets.of(zone, make.period(datetime(year, 6, 1, tzinfo=UTC))).days()

        said = [instant_of("--from", day.isoformat(), zone) for day in days]

        assert [int(begin.timestamp()) for begin in said] == begins
