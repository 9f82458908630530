"""What the 200, 300 and 400 records of a NEM12 meter say, day by day and channel by channel."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from meterport.domain.errors import shown
from meterport.importers import units
from meterport.importers.base import BadRow, FileReport, refused
from meterport.importers.nem12_meters import text_of
from meterport.importers.options import UNITS

MISSING = -1
LEVELS = {"A": 0, "F": 1, "S": 2, "E": 3, "N": MISSING}
COLUMNS = {"E": "energy_kwh", "B": "energy_export_kwh"}
_METHOD = re.compile(r"[AEFNSV](?:[0-9]{2})?")
_DATE = re.compile(r"(?:19|20|21)[0-9]{6}")
_NUMBERS = re.compile(r"[0-9eE.,+ -]*")
_ENERGY_UNITS = {unit.upper(): unit for unit in ("kWh", "Wh", "MWh")}
_DAY_MINUTES = 1440
_FIELDS_BEHIND = 5

Floats = npt.NDArray[np.float64]
Levels = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Channel:
    """A 200 record; `unit` is that of its energy, None if it is no energy that we keep."""

    suffix: str
    uom: str
    minutes: int
    unit: str | None

    @property
    def name(self) -> str:
        return f"{self.suffix} in {self.uom}" if self.uom else self.suffix


@dataclass
class Day:
    """A 300 record with its 400 records. `levels` are those of LEVELS, per interval."""

    line: int
    minutes: int
    unit: str | None
    values: Floats
    levels: Levels
    covered: int

    def known(self) -> tuple[Floats, Levels]:
        """In kWh; what is missing is NaN and MISSING, whichever of both said so."""
        missing = np.isnan(self.values) | (self.levels == MISSING)
        values = np.where(missing, np.nan, self.values)
        units_in_kwh = UNITS["energy_kwh"][self.unit or "kWh"]
        converted = units.converted(pl.Series(values), units_in_kwh).to_numpy()
        return converted, np.where(missing, MISSING, self.levels).astype(np.int8)


Days = dict[date, dict[str, list[Day]]]
"""A meter's days, by channel; several of one channel in the order of the file."""


class _Bad(Exception):
    """The line cannot be read, for this reason."""


class Reader:
    def __init__(self, path: Path, report: FileReport) -> None:
        self._path = path
        self._passed_over = report.passed_over
        self._channel: Channel | None = None
        self._day: Day | None = None

    def days(self, lines: Iterable[tuple[int, bytes]]) -> Days:
        days: Days = {}
        for number, raw in lines:
            fields = [field.strip() for field in text_of(self._path, raw, number).split(",")]
            try:
                if fields[0] != "400":
                    self._close_day()
                self._take(fields, days, number)
            except _Bad as bad:
                raise refused(self._path, [BadRow(number, str(bad))]) from bad
        self._close_day()
        return days

    def _close_day(self) -> None:
        day, self._day = self._day, None
        if day is not None and day.covered < len(day.values):
            reason = (
                f"quality V, but the 400 records cover {day.covered} of {len(day.values)} intervals"
            )
            raise refused(self._path, [BadRow(day.line, reason)])

    def _take(self, fields: Sequence[str], days: Days, line: int) -> None:
        if fields[0] == "200":
            self._channel = _channel(fields)
        elif fields[0] == "300" and self._channel is not None:
            self._take_day(fields, self._channel, days, line)
        elif fields[0] == "400":
            if self._day is None:
                raise _Bad("a 400 record, but the 300 record before it has not quality V")
            _cover(self._day, fields)
        elif fields[0] == "500":
            self._pass_over("500 records")

    def _take_day(self, fields: Sequence[str], channel: Channel, days: Days, line: int) -> None:
        day = _day(fields, channel, line)
        if day.covered == 0:
            self._day = day
        if channel.unit is None:
            self._pass_over(channel.name, len(day.values))
            return
        channels = days.setdefault(_date(fields), {})
        for other in chain.from_iterable(channels.values()):
            if other.minutes != day.minutes:
                raise _Bad(
                    f"intervals of {day.minutes} minutes, but line {other.line} has "
                    f"{other.minutes} for the same meter and day"
                )
        if channel.suffix in channels:
            self._pass_over("days that a later record repeats")
        channels.setdefault(channel.suffix, []).append(day)

    def _pass_over(self, what: str, count: int = 1) -> None:
        self._passed_over[what] = self._passed_over.get(what, 0) + count


def _channel(fields: Sequence[str]) -> Channel:
    if len(fields) < 9:
        raise _Bad(f"{len(fields)} fields, but a 200 record has 10")
    suffix, uom, length = fields[4].upper(), fields[7], fields[8]
    minutes = int(length) if length.isascii() and length.isdigit() else 0
    if not 1 <= minutes <= _DAY_MINUTES or _DAY_MINUTES % minutes:
        raise _Bad(f"interval length {shown(length)} is not a number of minutes such as 5, 15, 30")
    unit = _ENERGY_UNITS.get(uom.upper()) if suffix[:1] in COLUMNS else None
    return Channel(suffix, uom, minutes, unit)


def _date(fields: Sequence[str]) -> date:
    text = fields[1] if len(fields) > 1 else ""
    if not _DATE.fullmatch(text):
        raise _Bad(f"{shown(text)} is not a date such as 20240131")
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        raise _Bad(f"{shown(text)} is not a date such as 20240131") from None


def _day(fields: Sequence[str], channel: Channel, line: int) -> Day:
    _date(fields)
    count = _DAY_MINUTES // channel.minutes
    texts, method = _values(fields, count), (fields[2 + count :] or [""])[0]
    day = Day(line, channel.minutes, channel.unit, _floats(texts), np.zeros(count, np.int8), count)
    if method.startswith("V"):
        day.covered = 0
    else:
        day.levels[:] = LEVELS[method[:1] or "A"]
    return day


def _values(fields: Sequence[str], count: int) -> Sequence[str]:
    """The day's values. Raises _Bad unless the quality method stands right behind them.

    Some files leave it empty, with all the fields that follow, or end the record before it.
    """
    rest = fields[2:]
    found = next((at for at, text in enumerate(rest) if _METHOD.fullmatch(text)), None)
    if found is None:
        behind = rest[count : count + 1]
        if behind and not _NUMBERS.fullmatch(behind[0]):
            raise _Bad(f"{shown(behind[0])} is not a quality method such as A, E52, F14, S14, V")
        whole = len(rest) in (count, count + _FIELDS_BEHIND) and behind in ([], [""])
        found = count if whole else len(",".join(rest).rstrip(",").split(","))
    if found != count:
        minutes = _DAY_MINUTES // count
        raise _Bad(f"{found} values, but a day of {minutes}-minute intervals has {count}")
    return rest[:count]


def _floats(texts: Sequence[str]) -> Floats:
    """An empty text is a missing value, NaN."""
    values = np.full(len(texts), np.nan)
    for at, text in enumerate(texts):
        if text:
            values[at] = _float(text, at + 1)
    return values


def _float(text: str, interval: int) -> float:
    try:
        value = float(text) if _NUMBERS.fullmatch(text) else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _Bad(f"interval {interval}: {shown(text)} is not a finite number")
    return value


def _cover(day: Day, fields: Sequence[str]) -> None:
    """Take a 400 record. Raises _Bad unless it begins where the one before it ended."""
    ends = [int(text) if text.isascii() and text.isdigit() else 0 for text in fields[1:3]]
    method = fields[3] if len(fields) > 3 else ""
    if len(ends) < 2 or not ends[0] <= ends[1] <= len(day.values) or ends[0] != day.covered + 1:
        said = shown(",".join(fields[1:3]))
        raise _Bad(
            f"intervals {said}, but the next range begins at {day.covered + 1} "
            f"and none ends after {len(day.values)}"
        )
    if not _METHOD.fullmatch(method) or method.startswith("V"):
        raise _Bad(f"{shown(method)} is not a quality method such as A, E52, F14, N, S14")
    day.levels[ends[0] - 1 : ends[1]] = LEVELS[method[0]]
    day.covered = ends[1]
