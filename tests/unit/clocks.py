"""Zones with unlike rules, stretches of time around their clock changes, and a slow calendar."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from meterport.domain.period import Period
from meterport.domain.readings import MeterSummary
from tests import make

QUARTER = timedelta(minutes=15)
YEARS = {
    "Pacific/Apia": 2011,  # skipped 30 December
    "Asia/Pyongyang": 2018,
    "America/Sao_Paulo": 2018,  # changed at midnight
    "America/Caracas": 2016,
    "Europe/Istanbul": 2016,
    "Asia/Tehran": 2021,
    "Asia/Amman": 2021,
    "America/Mexico_City": 2022,
    "Europe/Volgograd": 2018,
    "Pacific/Bougainville": 2014,
}
ZONES = (
    *("UTC", "Europe/Berlin", "Europe/London", "Europe/Dublin", "Europe/Lisbon", "Europe/Chisinau"),
    *("America/New_York", "America/Chicago", "America/Denver", "America/Phoenix"),
    *("America/Los_Angeles", "America/Anchorage", "America/St_Johns", "America/Halifax"),
    *("America/Havana", "America/Santiago", "America/Asuncion", "America/Nuuk"),
    *("Atlantic/Azores", "Africa/Casablanca", "Africa/Cairo", "Asia/Beirut", "Asia/Jerusalem"),
    *("Asia/Gaza", "Asia/Kathmandu", "Asia/Kolkata", "Asia/Yangon", "Australia/Lord_Howe"),
    *("Australia/Adelaide", "Australia/Sydney", "Australia/Eucla", "Pacific/Auckland"),
    *("Pacific/Chatham", "Pacific/Norfolk", "Pacific/Kiritimati", "Pacific/Marquesas"),
    *("Antarctica/Troll", *YEARS),
)


def changes(zone: str) -> list[datetime]:
    """The hours of the zone's year in which its offset changes; without any, one hour of it."""
    rules, year = ZoneInfo(zone), YEARS.get(zone, 2025)
    hours = [datetime(year, 1, 2, tzinfo=UTC) + timedelta(hours=n) for n in range(363 * 24)]
    offsets = [hour.astimezone(rules).utcoffset() for hour in hours]
    found = [hours[n] for n in range(1, len(hours)) if offsets[n] != offsets[n - 1]]
    return found or [hours[3000]]


def around(change: datetime, days: int = 2) -> Period:
    return Period(change - timedelta(days=days), change + timedelta(days=days))


def quarters(period: Period, meter: str = "123") -> pl.DataFrame:
    """A reading every 15 minutes, of 0.001, 0.002 … kWh."""
    count = (period.end - period.start) // QUARTER
    kwh = [n / 1000 for n in range(1, count + 1)]
    return make.readings(*kwh, start=period.start, interval_s=900, meter=meter)


def summary(frame: pl.DataFrame) -> MeterSummary:
    first, last = frame.row(0, named=True), frame.row(-1, named=True)
    return MeterSummary(
        first["smart_meter_id"],
        first["timestamp"],
        last["timestamp"],
        last["interval_s"],
        frame.height,
    )


def bucket(instant: datetime, resolution: str, zone: str) -> tuple[object, ...]:
    """What tells the instant's bucket from all others, by the clock on the wall."""
    local = instant.astimezone(ZoneInfo(zone))
    if resolution == "1d":
        return (local.date(),)
    if resolution == "1mo":
        return local.year, local.month
    minutes = {"15m": 15, "30m": 30, "1h": 60}[resolution]
    at = local.hour * 60 + local.minute
    return local.date(), at // minutes, local.utcoffset()


def steps(period: Period) -> Iterator[datetime]:
    at = period.start
    while at < period.end:
        yield at
        at += QUARTER


def quarters_a_day(period: Period, zone: str) -> dict[date, int]:
    return by_day(steps(period), zone)


def by_day(instants: Iterable[datetime], zone: str) -> dict[date, int]:
    return Counter(at.astimezone(ZoneInfo(zone)).date() for at in instants)
