from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterport.domain.readings import READING_SCHEMA, SMART_METER_ID
from meterport.services.demo_readings import (
    DEMO_METERS,
    DemoMeter,
    demo_readings,
    load_test_meters,
)

MINUTE_METER = DEMO_METERS[0]
SOLAR_METER = next(meter for meter in DEMO_METERS if meter.solar)
CONSUMERS = [meter for meter in DEMO_METERS if not meter.solar]

NEW_YEAR = datetime(2024, 1, 1, tzinfo=UTC)
FEBRUARY = datetime(2024, 2, 1, tzinfo=UTC)
JUNE = datetime(2024, 6, 1, tzinfo=UTC)
JULY = datetime(2024, 7, 1, tzinfo=UTC)
BERLIN_HOUR = pl.col("timestamp").dt.convert_time_zone("Europe/Berlin").dt.hour()

each_meter = pytest.mark.parametrize("meter", DEMO_METERS, ids=lambda meter: meter.smart_meter_id)


def readings(meter: DemoMeter, start: datetime, end: datetime) -> pl.DataFrame:
    return pl.concat([READING_SCHEMA.to_frame(), *demo_readings(meter, start, end)])


def mean_power_kw(frame: pl.DataFrame, *hours: int) -> float:
    return float(frame.filter(BERLIN_HOUR.is_in(hours)).select(pl.col("power_kw").mean()).item())


@each_meter
def test_each_frame_has_the_reading_schema_and_one_meter(meter: DemoMeter) -> None:
    frames = list(demo_readings(meter, NEW_YEAR, datetime(2024, 3, 1, tzinfo=UTC)))

    assert [frame.schema for frame in frames] == [READING_SCHEMA, READING_SCHEMA]
    for frame in frames:
        assert frame["smart_meter_id"].unique().to_list() == [meter.smart_meter_id]
        assert frame["interval_s"].unique().to_list() == [meter.interval_s]


@each_meter
def test_timestamps_ascend_by_whole_intervals_inside_the_period(meter: DemoMeter) -> None:
    start, end = datetime(2024, 1, 30, 10, 30, tzinfo=UTC), datetime(2024, 2, 2, 17, tzinfo=UTC)

    timestamp = readings(meter, start, end)["timestamp"]

    assert timestamp.is_sorted()
    assert timestamp.is_unique().all()
    assert timestamp.is_between(start, end, closed="left").all()
    assert (timestamp.dt.epoch("s") % meter.interval_s == 0).all()


@given(cut_min=st.integers(0, 62 * 1_440))
@settings(max_examples=15, deadline=None)
@pytest.mark.parametrize("meter", [MINUTE_METER, SOLAR_METER], ids=["minute", "solar"])
def test_two_runs_side_by_side_agree_with_one(meter: DemoMeter, cut_min: int) -> None:
    start, end = datetime(2024, 2, 20, tzinfo=UTC), datetime(2024, 4, 22, tzinfo=UTC)
    cut = start + timedelta(minutes=cut_min)

    in_two = pl.concat([readings(meter, start, cut), readings(meter, cut, end)])

    assert in_two.equals(readings(meter, start, end))


def test_an_empty_period_has_no_frames() -> None:
    assert list(demo_readings(MINUTE_METER, FEBRUARY, FEBRUARY)) == []
    assert list(demo_readings(MINUTE_METER, FEBRUARY, NEW_YEAR)) == []


def test_meter_123_begins_2024_with_these_rows() -> None:
    frame = readings(MINUTE_METER, NEW_YEAR, NEW_YEAR + timedelta(minutes=3))

    assert frame.with_columns(pl.col("timestamp").dt.strftime("%FT%TZ")).rows() == [
        ("2024-01-01T00:00:00Z", 60, "123", 0.004267, 0.256, 231.4, 1.106, None, None),
        ("2024-01-01T00:01:00Z", 60, "123", 0.004433, 0.266, 231.4, 1.15, None, None),
        ("2024-01-01T00:02:00Z", 60, "123", 0.004383, 0.263, 230.6, 1.141, None, None),
    ]


def test_meters_differ_from_each_other() -> None:
    day = [
        readings(meter, NEW_YEAR, NEW_YEAR + timedelta(days=1))["power_kw"].to_list()
        for meter in load_test_meters(5)
    ]

    assert all(one != other for i, one in enumerate(day) for other in day[:i])


@each_meter
def test_evenings_take_more_than_nights(meter: DemoMeter) -> None:
    month = readings(meter, NEW_YEAR, FEBRUARY)

    assert mean_power_kw(month, 18, 19, 20) > 2 * mean_power_kw(month, 2, 3, 4)


@pytest.mark.parametrize("month", [1, 7])
def test_the_evening_peak_keeps_to_the_clock_of_berlin(month: int) -> None:
    start = datetime(2025, month, 1, tzinfo=UTC)

    frame = readings(MINUTE_METER, start, start + timedelta(days=31))

    assert max(range(24), key=lambda hour: mean_power_kw(frame, hour)) in {18, 19, 20}


def test_mornings_begin_later_at_weekends() -> None:
    quarter = readings(MINUTE_METER, NEW_YEAR, datetime(2024, 4, 1, tzinfo=UTC))
    is_weekend = pl.col("timestamp").dt.weekday() > 5

    weekday_kw = mean_power_kw(quarter.filter(~is_weekend), 6, 7)
    weekend_kw = mean_power_kw(quarter.filter(is_weekend), 6, 7)

    assert weekday_kw > weekend_kw


@pytest.mark.parametrize("meter", CONSUMERS, ids=lambda meter: meter.smart_meter_id)
def test_winter_takes_more_than_summer(meter: DemoMeter) -> None:
    january = readings(meter, NEW_YEAR, FEBRUARY)
    june = readings(meter, JUNE, JULY)

    assert mean_power_kw(january, *range(24)) > 1.1 * mean_power_kw(june, *range(24))


@each_meter
def test_voltage_is_about_230_and_falls_with_load(meter: DemoMeter) -> None:
    month = readings(meter, NEW_YEAR, FEBRUARY).drop_nulls("voltage_v")

    assert month["voltage_v"].is_between(207, 253).all()
    assert month.select(pl.corr("power_kw", "voltage_v")).item() < -0.3


@each_meter
def test_current_is_power_over_voltage(meter: DemoMeter) -> None:
    month = readings(meter, NEW_YEAR, FEBRUARY).drop_nulls("voltage_v")

    expected_a = pl.col("power_kw").abs() * 1_000 / pl.col("voltage_v")

    assert month.select(((pl.col("current_a") - expected_a).abs() < 0.000_6).all()).item()


@each_meter
def test_energy_less_feed_in_is_power_times_hours(meter: DemoMeter) -> None:
    month = readings(meter, NEW_YEAR, FEBRUARY)

    net_kwh = pl.col("energy_kwh") - pl.col("energy_export_kwh").fill_null(0)
    expected_kwh = pl.col("power_kw") * pl.col("interval_s") / 3_600

    assert month.select(((net_kwh - expected_kwh).abs() < 0.000_000_6).all()).item()
    assert (month["energy_kwh"] >= 0).all()


def test_solar_meter_feeds_in_at_noon_in_june_and_never_at_midnight() -> None:
    june = readings(SOLAR_METER, JUNE, JULY)

    noon = june.filter(BERLIN_HOUR == 13)
    midnight = june.filter(BERLIN_HOUR.is_in([23, 0, 1]))

    assert (noon["energy_export_kwh"] > 0).sum() > 0.6 * noon.height
    assert (noon["power_kw"] < -3).any()
    assert (midnight["energy_export_kwh"] == 0).all()
    assert (midnight["energy_kwh"] > 0).all()


def test_solar_meter_draws_nothing_while_it_feeds_in() -> None:
    june = readings(SOLAR_METER, JUNE, JULY)

    feeding_in = june.filter(pl.col("energy_export_kwh") > 0)

    assert (feeding_in["energy_kwh"] == 0).all()
    assert (feeding_in["power_kw"] < 0).all()


@pytest.mark.parametrize("meter", CONSUMERS, ids=lambda meter: meter.smart_meter_id)
def test_a_meter_without_panels_has_no_feed_in(meter: DemoMeter) -> None:
    month = readings(meter, NEW_YEAR, FEBRUARY)

    assert month["energy_export_kwh"].null_count() == month.height
    assert (month["power_kw"] > 0).all()


def test_january_2024_of_meter_123_has_a_few_short_gaps_after_its_first_day() -> None:
    month = readings(MINUTE_METER, NEW_YEAR, FEBRUARY)

    gap = month["timestamp"].diff().drop_nulls()
    first_day = month.filter(pl.col("timestamp") < datetime(2024, 1, 2, tzinfo=UTC))

    assert first_day.height == 1_440
    assert 2 <= (gap > timedelta(minutes=1)).sum() <= 10
    assert (gap < timedelta(hours=8)).all()


@pytest.mark.parametrize("year", [2024, 2025, 2026])
def test_each_year_has_one_long_outage(year: int) -> None:
    start, end = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)

    for meter in load_test_meters(3):
        gap = readings(meter, start, end)["timestamp"].diff()
        assert (gap > timedelta(hours=8, minutes=30)).sum() == 1


def test_a_quarter_has_missing_voltages_and_estimated_rows() -> None:
    quarter = readings(MINUTE_METER, NEW_YEAR, datetime(2024, 4, 1, tzinfo=UTC))

    estimated = quarter.filter(pl.col("quality") == "estimated")
    measured = quarter.filter(pl.col("quality").is_null())

    assert estimated.height + measured.height == quarter.height
    assert 0 < estimated.height < quarter.height / 100
    assert estimated["voltage_v"].null_count() == estimated["current_a"].null_count()
    assert estimated["voltage_v"].null_count() == estimated.height
    assert 0 < measured["voltage_v"].null_count() < measured.height / 100
    assert quarter["energy_kwh"].null_count() == quarter["power_kw"].null_count() == 0


def test_load_test_meters_are_numbered_from_one() -> None:
    meters = load_test_meters(3)

    assert [meter.smart_meter_id for meter in meters] == ["L-00001", "L-00002", "L-00003"]
    assert {meter.interval_s for meter in meters} == {900}
    assert load_test_meters(2) == meters[:2]


def test_meter_ids_are_valid_and_distinct() -> None:
    ids = [meter.smart_meter_id for meter in (*DEMO_METERS, *load_test_meters(100))]

    assert all(SMART_METER_ID.fullmatch(meter_id) for meter_id in ids)
    assert len(set(ids)) == len(ids)
