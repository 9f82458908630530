"""How a fleet is cut: whole meters, or days of one meter, in the order of the file."""

from datetime import timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from meterport.domain.fleets import parts
from meterport.domain.period import Period
from meterport.domain.readings import MeterSummary
from tests import make

DAY = timedelta(days=1)


def meter(name: str, *, rows: int, interval_s: int = 60) -> MeterSummary:
    last = make.JANUARY + timedelta(seconds=interval_s * (rows - 1))
    return MeterSummary(name, make.JANUARY, last, interval_s, rows)


def days(first: int, end: int) -> Period:
    return Period(make.JANUARY + first * DAY, make.JANUARY + end * DAY)


def test_neighbours_share_a_part_up_to_its_size() -> None:
    fleet = [meter(name, rows=4) for name in "ABCDE"]

    cut = parts(fleet, days(0, 1), part_rows=8)

    assert [(p.number, p.first_meter, p.end_meter, p.rows_expected) for p in cut] == [
        (1, 0, 2, 8),
        (2, 2, 4, 8),
        (3, 4, 5, 4),
    ]
    assert {p.period for p in cut} == {days(0, 1)}


def test_a_long_meter_is_cut_between_its_days() -> None:
    fleet = [meter("A", rows=5), meter("B", rows=3 * 1440 + 7), meter("C", rows=5)]

    cut = parts(fleet, days(0, 10), part_rows=2 * 1440)

    assert [(p.first_meter, p.end_meter, p.period, p.rows_expected) for p in cut] == [
        (0, 1, days(0, 10), 5),
        (1, 2, days(0, 2), 2880),
        (1, 2, days(2, 10), 1447),
        (2, 3, days(0, 10), 5),
    ]


def test_a_fleet_without_readings_in_the_period_is_one_part() -> None:
    cut = parts([meter("A", rows=4), meter("B", rows=4)], days(5, 6), part_rows=1)

    assert [(p.first_meter, p.end_meter, p.rows_expected) for p in cut] == [(0, 2, 0)]


@given(
    st.lists(st.tuples(st.integers(1, 9_000), st.sampled_from([60, 900, 3600])), max_size=8),
    st.integers(1, 6_000),
    st.integers(-1, 5),
    st.integers(1, 9),
)
def test_every_instant_of_every_meter_is_in_one_part_in_order(
    fleet: list[tuple[int, int]], part_rows: int, first_day: int, length: int
) -> None:
    meters = [meter(str(n), rows=rows, interval_s=s) for n, (rows, s) in enumerate(fleet)]
    period = days(first_day, first_day + length)

    cut = parts(meters, period, part_rows=part_rows)

    covered = [
        (position, part.period.start, part.period.end)
        for part in cut
        for position in range(part.first_meter, part.end_meter)
    ]
    assert covered == sorted(covered)
    for position in range(len(meters)):
        pieces = [(start, end) for at, start, end in covered if at == position]
        assert pieces[0][0] == period.start
        assert pieces[-1][1] == period.end
        assert all(one[1] == next_[0] for one, next_ in pairwise(pieces))
    assert [part.number for part in cut] == list(range(1, len(cut) + 1))
    expected = sum(m.expected_rows(period) for m in meters)
    assert sum(part.rows_expected for part in cut) == expected
    assert all(part.rows_expected <= max(part_rows, 1440) for part in cut)
