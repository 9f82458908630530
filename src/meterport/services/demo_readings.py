"""Demo meters: invented households whose readings look and fail like real ones.

Shape:   frames of READING_SCHEMA, at most one UTC month of one meter each, sorted by timestamp.
Units:   power_kw is the net mean power from the grid, negative while feeding in; so
         energy_kwh - energy_export_kwh = power_kw * hours. current_a has no sign.
         energy_export_kwh is null without solar panels; with them it is zero or more.
Time:    timestamps in UTC; the households live by the clock of Berlin, across its changes.
Gaps:    an outage leaves rows out, some short ones a month and one of days a year, never on the
         first of a month. Estimated rows have no voltage and current; a few others no voltage.
Law:     a row depends on its meter and timestamp alone, for each month is made whole, from its
         own random numbers, and then cut. So a later run can append to an earlier one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
from numpy.random import PCG64, Generator, SeedSequence

from meterport.domain.readings import READING_SCHEMA

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

HOUR_S, DAY_S = 3_600, 86_400
YEAR_S = 365.2425 * DAY_S
SOLAR_PEAK_KW = 7.5
LATITUDE_RAD, LONGITUDE_RAD = np.radians((52.5, 13.4))

# What is always on or changes slowly (standby, light, screens), by local hour.
SHAPE_HOURS = (0.0, 5.0, 6.5, 7.5, 9.0, 12.0, 14.0, 16.5, 18.5, 20.5, 22.5, 24.0)
WEEKDAY_KW = (0.14, 0.12, 0.24, 0.40, 0.20, 0.24, 0.20, 0.28, 0.54, 0.60, 0.34, 0.14)
WEEKEND_KW = (0.16, 0.13, 0.14, 0.22, 0.38, 0.42, 0.36, 0.38, 0.54, 0.58, 0.38, 0.16)

# Used at most once a day: local hour, its spread, chance on weekdays, at weekends, minutes, kW.
APPLIANCES = (
    (6.9, 0.4, 0.9, 0.2, 3, 2.1),  # kettle
    (9.3, 0.8, 0.2, 0.9, 3, 2.1),  # kettle, late breakfast
    (12.4, 0.5, 0.1, 0.6, 35, 1.7),  # oven, lunch
    (16.0, 2.5, 0.3, 0.5, 80, 0.6),  # washing machine
    (18.6, 0.7, 0.5, 0.5, 40, 1.7),  # oven, dinner
    (18.9, 0.7, 0.7, 0.6, 20, 1.4),  # hob
    (20.2, 0.7, 0.6, 0.6, 75, 0.8),  # dishwasher
)


@dataclass(frozen=True)
class DemoMeter:
    """An invented household; interval_s divides a day, scale multiplies all it consumes."""

    smart_meter_id: str
    interval_s: int
    seed: int
    solar: bool = False
    scale: float = 1.0


DEMO_METERS = (
    DemoMeter("123", 60, seed=123),
    DemoMeter("A-1001", 900, seed=1001),
    DemoMeter("A-1002", 900, seed=1002, scale=0.6),
    DemoMeter("A-1003", 900, seed=1003, solar=True),
    DemoMeter("A-1004", 900, seed=1004, scale=1.7),
    DemoMeter("B-2001", 1800, seed=2001),
    DemoMeter("B-2002", 1800, seed=2002, scale=0.8),
)


def load_test_meters(count: int) -> tuple[DemoMeter, ...]:
    """Meters L-00001 to L-<count>; a larger count begins with the meters of a smaller one."""
    return tuple(DemoMeter(f"L-{n:05}", 900, seed=100_000 + n) for n in range(1, count + 1))


def demo_readings(meter: DemoMeter, start: datetime, end: datetime) -> Iterator[pl.DataFrame]:
    """The readings with start <= timestamp < end; both bounds are timezone-aware."""
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    first_month = start.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    for month in pl.datetime_range(first_month, end, "1mo", closed="left", eager=True):
        frame = _month_readings(meter, month)
        frame = frame.filter(pl.col("timestamp").is_between(start, end, closed="left"))
        if not frame.is_empty():
            yield frame


class _Slots(NamedTuple):
    """The intervals of one UTC month, with the starts of its hours; in seconds of the epoch."""

    month: datetime
    interval_s: int
    start_s: Ints
    hour_s: Ints
    end_s: int


def _month_readings(meter: DemoMeter, month: datetime) -> pl.DataFrame:
    slots = _slots(month, meter.interval_s)
    rng = Generator(PCG64(SeedSequence((meter.seed, month.year, month.month))))
    usual_kw = _usual_kw(slots.start_s)
    net_kw = meter.scale * _consumption_kw(rng, slots, usual_kw)
    if meter.solar:
        net_kw -= _solar_kw(rng, slots)
    voltage_v = _voltage_v(rng, slots, usual_kw, net_kw)
    frame = _frame(meter, slots, _rounded(net_kw, 3), _rounded(voltage_v, 1))
    return _with_faults(frame, rng, slots, meter.seed)


def _slots(month: datetime, interval_s: int) -> _Slots:
    next_month = (month + timedelta(days=31)).replace(day=1)
    first_s, end_s = int(month.timestamp()), int(next_month.timestamp())
    start_s, hour_s = (np.arange(first_s, end_s, step_s) for step_s in (interval_s, HOUR_S))
    return _Slots(month, interval_s, start_s, hour_s, end_s)


def _usual_kw(epoch_s: Ints) -> Floats:
    """What such households draw on average, without large appliances."""
    local_s = _local_s(epoch_s)
    hour = local_s % DAY_S / HOUR_S
    weekday_kw, weekend_kw = (np.interp(hour, SHAPE_HOURS, y) for y in (WEEKDAY_KW, WEEKEND_KW))
    season: Floats = 1 + 0.28 * np.cos(2 * np.pi * epoch_s / YEAR_S - 0.3)
    return season * np.where(_is_weekend(local_s), weekend_kw, weekday_kw)


def _local_s(epoch_s: Ints) -> Ints:
    """What the clock in Berlin shows, counted like the epoch."""
    berlin = _timestamps(epoch_s).dt.convert_time_zone("Europe/Berlin")
    return berlin.dt.replace_time_zone(None).dt.epoch("s").to_numpy()


def _timestamps(epoch_s: Ints) -> pl.Series:
    return pl.Series(epoch_s * 1_000_000).cast(READING_SCHEMA["timestamp"])


def _is_weekend(local_s: Ints) -> Bools:
    return (local_s // DAY_S + 3) % 7 >= 5  # day 0 of the epoch was a Thursday


def _consumption_kw(rng: Generator, slots: _Slots, usual_kw: Floats) -> Floats:
    hourly = rng.normal(0, 0.22, len(slots.hour_s))
    activity: Floats = np.exp(np.interp(slots.start_s, slots.hour_s, hourly))
    flicker: Floats = rng.normal(1, 0.03, len(usual_kw)).clip(0.9, 1.1)
    return usual_kw * activity * flicker + _fridge_kw(rng, slots) + _appliances_kw(rng, slots)


def _fridge_kw(rng: Generator, slots: _Slots) -> Floats:
    begin_s = np.arange(slots.start_s[0], slots.end_s, 47 * 60) + rng.uniform(0, 600)
    length_s = rng.uniform(840, 1_260, len(begin_s))
    return _mean_kw(slots, begin_s, length_s, np.full(len(begin_s), 0.09))


def _appliances_kw(rng: Generator, slots: _Slots) -> Floats:
    hour, spread_h, weekday, weekend, minutes, power_kw = np.array(APPLIANCES).T[:, :, None]
    noon_s = slots.hour_s[12::24]
    # Counted from noon: clocks change at night, before anything here is switched on.
    local_noon_s = 2 * noon_s - _local_s(noon_s)
    size = (len(APPLIANCES), len(noon_s))
    is_used = rng.random(size) < np.where(_is_weekend(noon_s), weekend, weekday)
    begin_s = local_noon_s + HOUR_S * rng.normal(hour - 12, spread_h, size)
    length_s = 60 * minutes * rng.uniform(0.7, 1.3, size)
    used_kw = np.broadcast_to(power_kw, size)[is_used]
    return _mean_kw(slots, begin_s[is_used], length_s[is_used], used_kw)


def _mean_kw(slots: _Slots, begin_s: Floats, length_s: Floats, power_kw: Floats) -> Floats:
    """The mean power of all runs in each interval, exact for any interval length."""
    turn_s = np.concatenate([begin_s, begin_s + length_s])
    order = np.argsort(turn_s)
    level_kw = np.cumsum(np.concatenate([power_kw, -power_kw])[order])
    used_kws = np.append(0.0, np.cumsum(level_kw[:-1] * np.diff(turn_s[order])))
    edge_s = np.append(slots.start_s, slots.end_s)
    mean_kw: Floats = np.diff(np.interp(edge_s, turn_s[order], used_kws)) / slots.interval_s
    return mean_kw


def _solar_kw(rng: Generator, slots: _Slots) -> Floats:
    hours = len(slots.hour_s)
    hourly = np.repeat(rng.beta(1.1, 0.7, hours // 24), 24) * rng.uniform(0.6, 1.0, hours)
    clearness = 0.1 + 0.9 * np.interp(slots.start_s, slots.hour_s, hourly)
    sunshine = np.maximum(_sine_of_sun_height(slots.start_s + slots.interval_s // 2), 0) ** 1.15
    return SOLAR_PEAK_KW * clearness * sunshine


def _sine_of_sun_height(epoch_s: Ints) -> Floats:
    hour_angle = 2 * np.pi * (epoch_s / DAY_S - 0.5) + LONGITUDE_RAD
    # Ten days from the winter solstice to the new year.
    tilt = np.radians(-23.44) * np.cos(2 * np.pi * (epoch_s + 10 * DAY_S) / YEAR_S)
    across = np.cos(LATITUDE_RAD) * np.cos(tilt) * np.cos(hour_angle)
    height: Floats = np.sin(LATITUDE_RAD) * np.sin(tilt) + across
    return height


def _voltage_v(rng: Generator, slots: _Slots, usual_kw: Floats, net_kw: Floats) -> Floats:
    """Sags with what the neighbours usually draw and with what this household draws."""
    drift_v = np.interp(slots.start_s, slots.hour_s, rng.normal(232.2, 0.8, len(slots.hour_s)))
    return drift_v + rng.normal(0, 0.3, len(net_kw)) - 3.0 * usual_kw - 0.9 * net_kw


def _rounded(values: Floats, decimals: int) -> Floats:
    # Adding zero turns -0.0, which would be printed with its sign, into 0.0.
    return np.round(values, decimals) + 0.0


def _frame(meter: DemoMeter, slots: _Slots, power_kw: Floats, voltage_v: Floats) -> pl.DataFrame:
    net_kwh = power_kw * (meter.interval_s / HOUR_S)
    columns = {
        "timestamp": _timestamps(slots.start_s),
        "interval_s": meter.interval_s,
        "smart_meter_id": meter.smart_meter_id,
        "energy_kwh": _rounded(np.maximum(net_kwh, 0), 6),
        "power_kw": power_kw,
        "voltage_v": voltage_v,
        "current_a": _rounded(np.abs(power_kw) * 1_000 / voltage_v, 3),
        "energy_export_kwh": _rounded(np.maximum(-net_kwh, 0), 6) if meter.solar else None,
        "quality": None,
    }
    return pl.DataFrame(columns, schema=READING_SCHEMA)


def _with_faults(frame: pl.DataFrame, rng: Generator, slots: _Slots, seed: int) -> pl.DataFrame:
    lost_s = np.append(_short_outages_s(rng, 2.0), _long_outage_s(seed, slots.month))
    is_estimated = pl.lit(pl.Series(_in_outage(rng, slots, _short_outages_s(rng, 0.7))))
    has_voltage = pl.lit(pl.Series(rng.random(frame.height) >= 0.0005))
    return frame.with_columns(
        voltage_v=pl.when(~is_estimated & has_voltage).then("voltage_v"),
        current_a=pl.when(~is_estimated).then("current_a"),
        quality=pl.when(is_estimated).then(pl.lit("estimated")),
    ).filter(~_in_outage(rng, slots, lost_s))


def _short_outages_s(rng: Generator, mean_count: float) -> Floats:
    return 60 * rng.lognormal(3.0, 1.1, rng.poisson(mean_count)).clip(1, 480)


def _long_outage_s(seed: int, month: datetime) -> Floats:
    """One a year, never in January."""
    is_due = month.month == 2 + (seed + 5 * month.year) % 11
    return np.array([(24 + seed % 47) * 3_600.0] if is_due else [])


def _in_outage(rng: Generator, slots: _Slots, length_s: Floats) -> Bools:
    begin_s = rng.uniform(slots.hour_s[24], slots.end_s - length_s)
    start_s = slots.start_s[:, None]
    touched = (start_s < begin_s + length_s) & (start_s + slots.interval_s > begin_s)
    is_touched: Bools = np.logical_or.reduce(touched, axis=1)
    return is_touched
