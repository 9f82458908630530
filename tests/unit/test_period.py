"""Half-open periods, calendar years, and the text of instants."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterport.domain.errors import (
    DateRangeTooLarge,
    DateRangeTooSmall,
    InvalidDateRange,
    InvalidRequest,
    StartNotInPast,
)
from meterport.domain.period import Period, iso_utc, one_year_after, parse_instant

NOW = datetime(2026, 11, 1, tzinfo=UTC)
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))
NO_DATES = st.text().filter(lambda text: not re.search(r"\d{4}-\d\d-\d\d.\d\d", text))
INSTANTS = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=OFFSETS)  # noqa: DTZ001


@given(INSTANTS)
def test_an_instant_survives_its_text_in_any_offset(instant: datetime) -> None:
    assert parse_instant("start_datetime", instant.isoformat()) == instant
    assert parse_instant("start_datetime", iso_utc(instant)) == instant


@given(NO_DATES | st.integers() | st.none() | st.floats() | st.booleans())
def test_any_other_value_is_refused_without_being_repeated(value: object) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_instant("start_datetime", value)

    assert len(refused.value.message) < 200
    assert refused.value.message.isprintable()


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (datetime(2023, 1, 31, 5, tzinfo=UTC), datetime(2024, 1, 31, 5, tzinfo=UTC)),
        (datetime(2024, 2, 28, tzinfo=UTC), datetime(2025, 2, 28, tzinfo=UTC)),
        (datetime(2024, 2, 29, 12, tzinfo=UTC), datetime(2025, 3, 1, 12, tzinfo=UTC)),
    ],
)
def test_a_year_is_a_calendar_year(start: datetime, end: datetime) -> None:
    assert one_year_after(start) == end
    assert Period.requested(start, end, now=NOW).end == end
    with pytest.raises(DateRangeTooLarge):
        Period.requested(start, end + timedelta(microseconds=1), now=NOW)


def test_a_leap_year_of_366_days_fits() -> None:
    period = Period.requested(
        datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC), now=NOW
    )

    assert period.end - period.start == timedelta(days=366)


@given(
    start=st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    length=st.timedeltas(timedelta(days=-800), timedelta(days=800)),
)
def test_every_pair_of_bounds_is_a_period_or_breaks_the_first_rule_that_fits(
    start: datetime, length: timedelta
) -> None:
    broken: type[InvalidRequest] | None = None
    if start >= NOW:
        broken = StartNotInPast
    elif length <= timedelta(0):
        broken = InvalidDateRange
    elif length < timedelta(minutes=1):
        broken = DateRangeTooSmall
    elif start + length > one_year_after(start):
        broken = DateRangeTooLarge

    if broken is None:
        assert Period.requested(start, start + length, now=NOW).start == start
    else:
        with pytest.raises(InvalidRequest) as refused:
            Period.requested(start, start + length, now=NOW)
        assert type(refused.value) is broken


def test_a_period_needs_utc() -> None:
    with pytest.raises(InvalidRequest):
        Period(datetime(2024, 1, 1), datetime(2024, 1, 2))  # noqa: DTZ001


def test_the_text_of_an_instant_is_short_where_it_can_be() -> None:
    assert iso_utc(datetime(2024, 1, 31, 23, 59, 59, tzinfo=UTC)) == "2024-01-31T23:59:59Z"
    assert iso_utc(datetime(2024, 1, 1, 0, 0, 0, 500, tzinfo=UTC)) == "2024-01-01T00:00:00.000500Z"
