"""NEM12, the interval files of Australia's electricity market (AEMO, Meter Data File Format).

Channels: E* in kWh, Wh or MWh is energy_kwh, B* energy_export_kwh; the channels of a meter (NMI)
          become one row per interval, several E* (or B*) their sum. Others are counted.
          Where one of several has no value the sum is missing.
Time:     a day has 24 hours in market time (UTC+10, never summer time); interval 1 ends at 00:05,
          00:15 or 00:30, so that its reading is the one that starts at 00:00.
Quality:  A is null; E, S and F are words of ours; N and an empty value are missing.
Order:    a file may come back to a meter, so it is read twice: once to find each meter's records,
          once meter by meter. A meter's records are in memory together.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from meterport.domain.errors import ImportRefused, shown
from meterport.domain.readings import SMART_METER_ID
from meterport.importers import units
from meterport.importers.base import BadRow, FileReport, ImportFormat, gathered, refused
from meterport.importers.nem12_meters import Stretch, lines_of, stretches
from meterport.importers.nem12_records import COLUMNS, MISSING, Day, Days, Floats, Levels, Reader
from meterport.importers.options import ImportOptions

MARKET_TIME = timezone(timedelta(hours=10))
BATCH_ROWS = 100_000
QUALITY_WORDS = (None, "final_substituted", "substituted", "estimated")
"""From the surest to the least sure: a row of several channels has that of the least sure one."""

_BEGINS = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:100,NEM|200,[^,\r\n]*,|300,[0-9]{8},)")


def is_nem12(path: Path) -> bool:
    """Whether it begins with a record of NEM12, whatever its name ends in."""
    with path.open("rb") as file:
        return _BEGINS.match(file.read(256)) is not None


def read(path: Path, options: ImportOptions, report: FileReport) -> Iterator[pl.DataFrame]:
    found = stretches(path)
    if options.smart_meter_id is not None and len(found) > 1:
        raise ImportRefused(
            f"{path.name}: the file has {len(found)} meters (NMIs); --meter would make them one"
        )
    report.missing_columns = ["power_kw", "voltage_v", "current_a"]
    yield from gathered(_meters(path, found, options, report), report, rows=BATCH_ROWS)
    if report.rows == 0:
        raise ImportRefused(f"{path.name}: no value of an E or B channel in kWh, Wh or MWh")


def _meters(
    path: Path,
    found: Mapping[str, Sequence[Stretch]],
    options: ImportOptions,
    report: FileReport,
) -> Iterator[pl.DataFrame]:
    with path.open("rb") as file:
        for nmi, where in found.items():
            meter = options.smart_meter_id or nmi
            if not SMART_METER_ID.fullmatch(meter):
                reason = (
                    f"the NMI {shown(nmi)} is not a meter id "
                    "(1 to 64 letters, digits or . _ : -); say --meter ID"
                )
                raise refused(path, [BadRow(where[0].first_line, reason)])
            days = Reader(path, report).days(lines_of(file, where))
            starts = {day: _start(path, day, days[day], options.timezone) for day in days}
            if days:
                yield _readings(meter, days, starts)


def _start(
    path: Path, day: date, channels: Mapping[str, Sequence[Day]], zone: ZoneInfo | None
) -> datetime:
    """Its first instant. Raises ImportRefused in a zone that has summer time on that day."""
    start = datetime.combine(day, time(), zone or MARKET_TIME)
    end = start + timedelta(days=1)
    if start.dst() or end.dst() or start.utcoffset() != end.utcoffset():
        line = next(iter(channels.values()))[0].line
        reason = (
            f"{day} has summer time in --timezone {zone}, which NEM12 never has; leave it out "
            "for market time (UTC+10), or say a zone without, such as Australia/Perth"
        )
        raise refused(path, [BadRow(line, reason)])
    return start


def _readings(meter: str, days: Days, starts: Mapping[date, datetime]) -> pl.DataFrame:
    """One row per interval whose energy is known in a direction, in order of time."""
    parts = [_day_rows(days[day], starts[day]) for day in sorted(days)]
    words = pl.Series(QUALITY_WORDS, dtype=pl.String)
    rows = pl.concat(parts).filter(pl.any_horizontal(pl.col(*COLUMNS.values()).is_not_null()))
    return rows.select(
        "timestamp",
        "interval_s",
        pl.lit(meter).alias("smart_meter_id"),
        "energy_kwh",
        *(pl.lit(None, pl.Float64).alias(name) for name in ("power_kw", "voltage_v", "current_a")),
        "energy_export_kwh",
        words.gather(rows["level"]).alias("quality"),
    )


def _day_rows(channels: Mapping[str, Sequence[Day]], start: datetime) -> pl.DataFrame:
    first = next(iter(channels.values()))[0]
    count = len(first.values)
    energy: dict[str, Floats] = {}
    level = np.full(count, MISSING, np.int8)
    for suffix, days in channels.items():
        values, levels = _latest_known(days)
        name = COLUMNS[suffix[0]]
        energy[name] = units.sums(energy[name], values) if name in energy else values
        level = np.maximum(level, levels)
    step = timedelta(minutes=first.minutes)
    none = np.full(count, np.nan)
    return pl.DataFrame(
        {
            "timestamp": pl.datetime_range(
                start.astimezone(UTC),
                start.astimezone(UTC) + step * (count - 1),
                step,
                time_unit="us",
                eager=True,
            ),
            "interval_s": pl.repeat(first.minutes * 60, count, dtype=pl.Int32, eager=True),
            **{
                name: pl.Series(energy.get(name, none), nan_to_null=True)
                for name in COLUMNS.values()
            },
            "level": level,
        }
    )


def _latest_known(days: Sequence[Day]) -> tuple[Floats, Levels]:
    """Of one channel's records for the day, per interval, the last one that knows the value."""
    values, levels = days[0].known()
    for day in days[1:]:
        later, later_levels = day.known()
        known = later_levels != MISSING
        values, levels = np.where(known, later, values), np.where(known, later_levels, levels)
    return values, levels


FORMAT = ImportFormat(
    "nem12",
    (".nem12",),
    read,
    understands=frozenset({"--meter", "--timezone"}),
    knows="NEM12 says its columns and interval lengths itself",
)
