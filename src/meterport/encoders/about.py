"""What a file says of itself, for formats that have a place for it.

Units: per column; null where the column has none. Times are ISO 8601 with offset, or Z.
Clock: none; `made_at` is the commit time of the version of the readings.
"""

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TypedDict
from zoneinfo import ZoneInfo

from meterport.domain.period import iso_utc
from meterport.domain.sheets import Sheet

UNITS: Mapping[str, str] = {
    "interval_s": "s",
    "energy_kwh": "kWh",
    "power_kw": "kW",
    "voltage_v": "V",
    "current_a": "A",
    "energy_export_kwh": "kWh",
}


class Column(TypedDict):
    name: str
    unit: str | None


class Bounds(TypedDict):
    start: str
    end: str


class Source(TypedDict):
    made_at: str


class About(TypedDict):
    """`interval_label`: which end of an interval its timestamp names; both: see interval_end."""

    meters: list[str]
    period: Bounds
    timezone: str
    interval_label: str
    resolution: str
    columns: list[Column]
    source: Source


def about(sheet: Sheet) -> About:
    return {
        "meters": list(sheet.meters),
        "period": {
            "start": time_text(sheet.period.start, sheet.zone),
            "end": time_text(sheet.period.end, sheet.zone),
        },
        "timezone": sheet.zone,
        "interval_label": str(sheet.label),
        "resolution": str(sheet.resolution),
        "columns": [{"name": name, "unit": UNITS.get(name)} for name in sheet.columns],
        "source": {"made_at": time_text(sheet.made_at)},
    }


def time_text(time: datetime, zone: str = "UTC") -> str:
    """In UTC where ISO 8601 has no text for it: the offset is not of whole minutes, or the
    calendar ends before the zone's clock gets there."""
    if zone != "UTC":
        with suppress(OverflowError):
            local = time.astimezone(ZoneInfo(zone))
            if not (local.utcoffset() or timedelta(0)) % timedelta(minutes=1):
                return local.isoformat()
    return iso_utc(time)
