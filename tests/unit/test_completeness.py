"""Expected and present intervals by local day, gaps as periods, sums and consistency checks."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterport.domain.completeness import MOST_GAPS, Completeness, Gap, MeterDay
from meterport.domain.period import Period
from meterport.domain.readings import MeterSummary
from meterport.services.find_gaps import Stretches
from meterport.services.manifest import Counting, counted
from meterport.services.read_manifest import days_of
from tests import make
from tests.unit import clocks

HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Found:
    about: Completeness
    days: tuple[MeterDay, ...]


def completeness(
    frames: Sequence[pl.DataFrame], zone: str, period: Period, meters: Sequence[MeterSummary]
) -> Found:
    counting = Counting(zone, period)
    for _ in counted(frames, counting, Stretches(meters, period)):
        pass
    manifest = counting.result()
    return Found(manifest.about, tuple(days_of(manifest)))


def of(
    frame: pl.DataFrame,
    period: Period | None = None,
    zone: str = "UTC",
    meters: Sequence[MeterSummary] | None = None,
) -> Found:
    known = [clocks.summary(frame)] if meters is None else meters
    return completeness([frame], zone, period or make.period(minutes=1440), known)


def test_a_year_in_texas_has_days_of_92_and_100_quarters_and_96_else() -> None:
    year = Period(datetime(2026, 1, 1, 6, tzinfo=UTC), datetime(2027, 1, 1, 6, tzinfo=UTC))

    found = of(clocks.quarters(year), year, "America/Chicago")

    unusual = {day.day: day.expected for day in found.days if day.expected != 96}
    assert unusual == {date(2026, 3, 8): 92, date(2026, 11, 1): 100}
    assert len(found.days) == 365
    assert all(day.present == day.expected for day in found.days)
    assert found.about.gap_count == 0


@pytest.mark.parametrize("zone", clocks.ZONES)
def test_days_have_the_quarters_of_the_clock_on_the_wall(zone: str) -> None:
    for change in clocks.changes(zone):
        period = clocks.around(change)
        frame = clocks.quarters(period)

        found = of(frame.filter(pl.int_range(pl.len()) % 50 != 20), period, zone)

        assert {day.day: day.expected for day in found.days} == clocks.quarters_a_day(period, zone)
        assert found.about.present == frame.height - found.about.gap_count


def test_the_day_that_samoa_skipped_is_not_expected() -> None:
    period = Period(datetime(2011, 12, 29, 10, tzinfo=UTC), datetime(2011, 12, 31, 10, tzinfo=UTC))

    found = of(clocks.quarters(period), period, "Pacific/Apia")

    assert [(day.day.isoformat(), day.expected) for day in found.days] == [
        ("2011-12-29", 96),
        ("2011-12-31", 96),
    ]


def test_gaps_are_periods_and_missing_energy_is_never_zero() -> None:
    frame = make.readings(0.1, 0.2, None, 0.4, None, 0.6, 0.7, start=make.JANUARY, interval_s=3600)
    kept = frame.filter(~pl.int_range(7).is_in([3, 5]))
    days = Period(make.JANUARY - timedelta(days=1), make.JANUARY + timedelta(days=1))
    other = MeterSummary("124", make.JANUARY, make.JANUARY + HOUR, 3600, 2)

    found = of(kept, days, meters=[clocks.summary(frame), other])

    assert found.days == (
        MeterDay("123", date(2024, 1, 1), 7, 5, Decimal("1.0")),
        MeterDay("124", date(2024, 1, 1), 2, 0, None),
    )
    assert found.about.gaps == (
        Gap("123", make.JANUARY + 3 * HOUR, make.JANUARY + 4 * HOUR, 1),
        Gap("123", make.JANUARY + 5 * HOUR, make.JANUARY + 6 * HOUR, 1),
        Gap("124", make.JANUARY, make.JANUARY + 2 * HOUR, 2),
    )
    assert found.about.energy_kwh == {"123": Decimal("1.0"), "124": None}


def test_a_sum_is_that_of_the_decimals() -> None:
    found = of(make.readings(*[0.1] * 1000))

    assert found.about.energy_kwh == {"123": Decimal(100)}


@pytest.mark.parametrize(
    ("energy_kwh", "total"),
    [
        ((1e300, 0.5, -1e300), 0.5),
        ((1e300, 0.5), 1e300),
        ((2.0**53, 1.0), 9007199254740993.0),
        ((-1.7e308, 0.25), -1.7e308),
        ((1.7e308, 1.7e308), None),
    ],
)
def test_energy_of_any_size_has_a_sum_but_where_float64_has_none(
    energy_kwh: tuple[float, ...], total: float | None
) -> None:
    about = of(make.readings(*energy_kwh, interval_s=900)).about

    assert about.as_json()["energy_kwh"] == {"123": total}


def test_a_meter_is_expected_from_its_first_to_its_last_reading_only() -> None:
    frame = make.readings(1.0, 1.0, start=make.JANUARY + 3 * HOUR, interval_s=3600)

    assert [(day.expected, day.present) for day in of(frame).days] == [(2, 2)]


def test_intervals_before_the_first_row_of_the_period_are_in_step_with_it() -> None:
    start = make.JANUARY + timedelta(minutes=7)
    meter = MeterSummary("123", start - timedelta(days=9), start + timedelta(days=9), 900, 1)
    frame = make.readings(1.0, start=start + HOUR, interval_s=900)

    found = of(frame, make.period(minutes=90), meters=[meter])

    assert found.about.gaps == (
        Gap("123", start, start + HOUR, 4),
        Gap("123", start + timedelta(minutes=75), start + timedelta(minutes=90), 1),
    )


def test_a_day_in_which_the_interval_changes_counts_each_as_it_is() -> None:
    hours = make.readings(*[1.0] * 12, interval_s=3600)
    quarters = make.readings(*[1.0] * 48, start=make.JANUARY + 12 * HOUR, interval_s=900)

    found = of(pl.concat([hours, quarters]))

    assert [(day.expected, day.present) for day in found.days] == [(60, 60)]


@pytest.mark.parametrize(
    ("energy_kwh", "power_kw", "voltage_v", "current_a", "disagrees", "exceeds"),
    [
        (0.5, 2.0, 230.0, 10.0, 0, 0),
        (0.51, 2.0, 230.0, 10.0, 0, 0),
        (0.6, 2.0, 230.0, 10.0, 1, 0),
        (0.5, 2.0, 230.0, 5.0, 0, 1),
        (-0.5, -2.0, 230.0, 5.0, 0, 1),
        (0.6, 2.0, 0.0, 0.0, 1, 1),
        (None, 2.0, 230.0, None, 0, 0),
        (0.5, None, 230.0, 5.0, 0, 0),
        (0.0, 0.0, 230.0, 0.0, 0, 0),
    ],
)
def test_readings_that_contradict_themselves_are_counted(
    energy_kwh: float | None,
    power_kw: float | None,
    voltage_v: float,
    current_a: float | None,
    disagrees: int,
    exceeds: int,
) -> None:
    frame = make.readings(energy_kwh, interval_s=900, power_kw=power_kw).with_columns(
        pl.lit(voltage_v).alias("voltage_v"), pl.lit(current_a, pl.Float64).alias("current_a")
    )

    found = of(frame)

    assert (found.about.power_disagrees, found.about.power_exceeds) == (disagrees, exceeds)


def test_more_gaps_than_are_told_are_counted() -> None:
    frame = make.many_readings(1440 * 2)

    found = of(frame.gather_every(2), make.period(minutes=2880))

    assert found.about.gap_count == 1439
    assert found.about.told()["gaps"] == [gap.as_json() for gap in found.about.gaps[:MOST_GAPS]]
    assert len(found.about.gaps[:MOST_GAPS]) == MOST_GAPS
    assert found.about.gaps[-1].start == make.JANUARY + timedelta(minutes=2877)
    assert found.about.present == 1440


def test_nothing_at_all_is_a_manifest_too() -> None:
    found = completeness([], "UTC", make.period(), [])

    assert (found.about.rows, found.about.first, found.days, found.about.gaps) == (0, None, (), ())
    assert found.about.as_json()["first_timestamp"] is None


def test_frames_pass_as_they_are_while_they_are_counted() -> None:
    frame = make.readings(0.25, 0.5, interval_s=900, power_kw=1.0)
    counting = Counting("Europe/Berlin", make.period())

    passed = list(counted([frame], counting, Stretches([clocks.summary(frame)], make.period())))

    assert passed == [frame]
    assert json.loads(json.dumps(counting.result().about.as_json())) == {
        "timezone": "Europe/Berlin",
        "readings": 2,
        "first_timestamp": "2024-01-01T00:00:00Z",
        "last_timestamp": "2024-01-01T00:15:00Z",
        "expected": 2,
        "present": 2,
        "energy_kwh": {"123": 0.75},
        "checks": {"power_is_not_energy_per_hour": 1, "power_exceeds_voltage_times_current": 0},
        "gap_count": 0,
        "gaps": [],
    }


@given(
    cuts=st.lists(st.integers(0, 800), max_size=6),
    dropped=st.sets(st.integers(0, 799), max_size=60),
)
def test_how_frames_are_cut_makes_no_difference(cuts: list[int], dropped: set[int]) -> None:
    period = Period(datetime(2025, 3, 28, 23, tzinfo=UTC), datetime(2025, 4, 2, 3, tzinfo=UTC))
    meters = [clocks.quarters(period, meter) for meter in ("a", "b")]
    whole = pl.concat(meters)
    kept = whole.filter(~pl.int_range(pl.len()).is_in(list(dropped)))
    frames = [kept[a:b] for a, b in pairwise([0, *sorted(cuts), whole.height])]
    summaries = [clocks.summary(meter) for meter in meters]

    found = completeness(frames, "Europe/Berlin", period, summaries)

    assert found == completeness([kept], "Europe/Berlin", period, summaries)
    assert found.about.expected == whole.height
    assert found.about.present == kept.height
    assert sum(gap.intervals for gap in found.about.gaps) == whole.height - kept.height
