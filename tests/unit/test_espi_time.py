"""Green Button's LocalTimeParameters: the rules of zones, and whose they are."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

from meterport.domain.period import Period
from meterport.domain.readings import READING_SCHEMA
from meterport.domain.sheets import Sheet
from meterport.encoders import espi
from meterport.encoders.espi_time import NO_RULE, LocalTime, local_time
from tests import green_button, make
from tests.unit.sheets import encoded


@pytest.mark.parametrize(
    ("zone", "year", "expected"),
    [
        ("UTC", 2024, LocalTime(NO_RULE, 0, NO_RULE, 0)),
        ("Asia/Kolkata", 2024, LocalTime(NO_RULE, 0, NO_RULE, 19800)),
        ("Europe/Berlin", 2024, LocalTime("AE0E3000", 3600, "3E0E2000", 3600)),
        ("Europe/Dublin", 2024, LocalTime("AE0E2000", 3600, "3E0E1000", 0)),
        ("America/New_York", 2024, LocalTime("B40E2000", 3600, "360E2000", -18000)),
        # Until 2006 another rule: that year's dates, 29 October and 2 April.
        ("America/New_York", 2006, LocalTime("A1D02000", 3600, "40202000", -18000)),
        ("Australia/Lord_Howe", 2024, LocalTime("440E2000", 1800, "A40E2000", 37800)),
        # The Friday on or after the 23rd.
        ("Asia/Jerusalem", 2024, LocalTime("AE0E2000", 3600, "337A2000", 7200)),
    ],
)
def test_the_zones_rules_are_written_as_espi_has_them(
    zone: str, year: int, expected: LocalTime
) -> None:
    assert local_time(zone, date(year, 6, 1)) == expected


@pytest.mark.parametrize("start", [datetime(1, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)])
def test_the_rules_are_those_of_a_meters_first_reading_wherever_the_period_begins(
    start: datetime,
) -> None:
    now, then = make.readings(0.25), make.readings(0.5, start=datetime(2006, 6, 1, tzinfo=UTC))
    frames = [now, then.with_columns(smart_meter_id=pl.lit("456"))]
    period = Period(start, datetime(2025, 1, 1, tzinfo=UTC))
    of = Sheet(("123", "456"), period, make.JANUARY, tuple(READING_SCHEMA), "America/New_York")

    feed = encoded(espi.FORMAT, *frames, of=of)

    times = {
        link: entry.content("e:dstStartRule")
        for entry in green_button.entries(feed, "LocalTimeParameters")
        for link in entry.links("self")
    }
    rules = {
        point.title: [times[link] for link in point.links("related") if link in times]
        for point in green_button.entries(feed, "UsagePoint")
    }
    assert rules == {"123": ["360E2000"], "456": ["40202000"]}


@pytest.mark.parametrize(
    ("zone", "day", "offset_s"),
    [("America/New_York", date(1, 1, 1), -17_762), ("Asia/Tokyo", date(9999, 12, 31), 32_400)],
)
def test_there_are_rules_from_one_end_of_the_calendar_to_the_other(
    zone: str, day: date, offset_s: int
) -> None:
    assert local_time(zone, day) == LocalTime(NO_RULE, 0, NO_RULE, offset_s)
