"""NEM12, the interval files of Australia's electricity market (AEMO, Meter Data File Format).

Channels: E1 is energy_kwh; B1 is energy_export_kwh, where a meter has any. In kWh.
Time:     days of 24 hours in market time (UTC+10, never summer time); interval 1 ends at 00:05,
          00:15 or 00:30. made_at is the time of the 100 record and of every update: no value has
          changed since, but most had not changed for long then.
Missing:  a day with any reading is written in full; an interval without value is 0 with quality
          N (null data), be it empty, absent or outside of the period. Other days are left out.
Quality:  empty is A; our words estimated, substituted and final_substituted are E, S and F, without
          the two digits of a method, which nobody told us; a day of several is V with 400 records.
Numbers:  the shortest digits that read back to the same float64, never with an exponent.
Lines:    CRLF, as in AEMO's examples. Meters in order, of each first E1, then B1.

The text of one meter is held, because B1 follows all of E1; frames may cut a meter anywhere.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from itertools import groupby

import polars as pl

from meterport.domain.errors import FormatCannotHold, shown
from meterport.domain.period import iso_utc
from meterport.domain.sheets import Sheet
from meterport.encoders.base import ExportFormat, Sink

MARKET_TIME = timezone(timedelta(hours=10))
NMI_LENGTH = 10
TOO_LARGE_KWH = 1e15
INTERVALS_S = (300, 900, 1800)
METHODS = {None: "A", "final_substituted": "F", "substituted": "S", "estimated": "E"}
"""The surest first, in which order the importer has them too."""

_NULL_DATA = "N"
_DAY_S = 86_400
_CHANNELS = {"E1": "energy_kwh", "B1": "energy_export_kwh"}
_METER, _TIME, _DAY = "smart_meter_id", "timestamp", "market_day"
COLUMNS = (_TIME, "interval_s", _METER, *_CHANNELS.values(), "quality")


def body(frames: Iterable[pl.DataFrame], sink: Sink, sheet: Sheet) -> None:
    """Raises FormatCannotHold at the first reading that NEM12 has no way to say."""
    made_at = sheet.made_at.astimezone(MARKET_TIME)
    sink.write(_line("100", "NEM12", f"{made_at:%Y%m%d%H%M}", "METERPORT", "METERPORT"))
    for nmi, days in groupby(_days(frames), key=lambda day: str(day[_METER][0])):
        meter = _Meter(nmi, f"{made_at:%Y%m%d%H%M%S}")
        for day in days:
            meter.add(day)
        meter.write(sink)
    sink.write(_line("900"))


def _days(frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The readings of one meter and market day after another, whatever the frames cut."""
    day = (pl.col(_TIME) + timedelta(hours=10)).dt.date().alias(_DAY)
    rest: pl.DataFrame | None = None
    for frame in frames:
        rows = frame.select(*COLUMNS, day)
        rows = rows if rest is None else pl.concat([rest, rows])
        if rows.height:
            *whole, rest = rows.partition_by(_METER, _DAY, maintain_order=True)
            yield from whole
    if rest is not None:
        yield rest


@dataclass
class _Block:
    """Days of one interval length: the 300 and 400 records of each channel."""

    interval_s: int
    records: dict[str, list[bytes]] = field(default_factory=lambda: {c: [] for c in _CHANNELS})


@dataclass
class _Meter:
    """A meter's records so far. Raises FormatCannotHold for what cannot be one."""

    nmi: str
    updated: str
    blocks: list[_Block] = field(default_factory=list)
    feeds_in: bool = False

    def __post_init__(self) -> None:
        if len(self.nmi) > NMI_LENGTH:
            raise FormatCannotHold(
                f"Meter {shown(self.nmi)}: NEM12 holds ids (NMIs) of at most {NMI_LENGTH} "
                "characters",
                "Choose another format, or meters with shorter ids",
            )

    def add(self, day: pl.DataFrame) -> None:
        interval_s = _interval_s(day)
        slots = _slots(day, interval_s)
        if not self.blocks or self.blocks[-1].interval_s != interval_s:
            self.blocks.append(_Block(interval_s))
        date = f"{day[_DAY][0]:%Y%m%d}"
        for channel, column in _CHANNELS.items():
            values, methods = _cells(day, column, slots, _DAY_S // interval_s)
            self.blocks[-1].records[channel] += _day_records(date, values, methods, self.updated)
        self.feeds_in |= day["energy_export_kwh"].count() > 0

    def write(self, sink: Sink) -> None:
        channels = list(_CHANNELS) if self.feeds_in else ["E1"]
        for channel in channels:
            for block in self.blocks:
                minutes = str(block.interval_s // 60)
                names = ("".join(channels), channel, channel)
                sink.write(_line("200", self.nmi, *names, "", "", "kWh", minutes, ""))
                sink.write(b"".join(block.records[channel]))


def _interval_s(day: pl.DataFrame) -> int:
    lengths = day["interval_s"]
    for row, length in enumerate(lengths):
        if length not in INTERVALS_S:
            said = "an unknown length" if length is None else f"{length} seconds"
            raise _refusal(
                day,
                row,
                f"an interval of {said}, but NEM12 holds those of 5, 15 and 30 minutes",
                "Choose another format, or a resolution that NEM12 has",
            )
        if length != lengths[0]:
            raise _refusal(
                day,
                row,
                f"an interval of {length} seconds on a day (UTC+10) that began with "
                f"{lengths[0]}; a day of NEM12 has one length",
                "Choose another format, or periods that leave this day out",
            )
    return int(lengths[0])


def _slots(day: pl.DataFrame, interval_s: int) -> list[int]:
    """Where in the day each reading stands, from 0."""
    seconds = (day[_TIME].dt.epoch("s") + 36_000) % _DAY_S
    astray = (seconds % interval_s != 0).arg_true()
    if len(astray):
        raise _refusal(
            day,
            astray[0],
            f"NEM12 counts its {interval_s // 60}-minute intervals from midnight (UTC+10), "
            "and this one begins between two of them",
            "Choose another format",
        )
    return (seconds // interval_s).to_list()


def _cells(
    day: pl.DataFrame, column: str, slots: Sequence[int], count: int
) -> tuple[list[str], list[str]]:
    """The whole day's values and their quality methods."""
    values, methods = ["0"] * count, [_NULL_DATA] * count
    cells = zip(slots, day[column], day["quality"], strict=True)
    for row, (slot, value, quality) in enumerate(cells):
        if value is None:
            continue
        if not 0 <= value < TOO_LARGE_KWH:
            raise _refusal(
                day,
                row,
                f"{column} is {value}, but NEM12 holds values from 0 to below 1e15",
                "Choose another format, or mend the reading",
            )
        if quality not in METHODS:
            raise _refusal(
                day,
                row,
                f"NEM12 has no quality {shown(quality)}; it has estimated, substituted and "
                "final_substituted",
                "Choose another format, or import the readings with one of these words",
            )
        values[slot], methods[slot] = _number(value), METHODS[quality]
    return values, methods


def _number(value: float) -> str:
    digits = repr(abs(value))  # there is no zero below zero
    return f"{Decimal(digits):f}" if "e" in digits else digits.removesuffix(".0")


def _day_records(
    date: str, values: Sequence[str], methods: Sequence[str], updated: str
) -> list[bytes]:
    """The 300 record and, if the quality varies, a 400 record for each stretch of the day."""
    ranges = [(method, len(list(same))) for method, same in groupby(methods)]
    if len(ranges) == 1:
        method = methods[0]
        updated = "" if method == _NULL_DATA else updated
        return [_line("300", date, *values, method, "", "", updated, "")]
    lines = [_line("300", date, *values, "V", "", "", updated, "")]
    first = 1
    for method, length in ranges:
        lines.append(_line("400", str(first), str(first + length - 1), method, "", ""))
        first += length
    return lines


def _line(*fields: str) -> bytes:
    return (",".join(fields) + "\r\n").encode()


def _refusal(day: pl.DataFrame, row: int, reason: str, remedy: str) -> FormatCannotHold:
    time: datetime = day[_TIME][row]
    return FormatCannotHold(f"Meter {day[_METER][0]} at {iso_utc(time)}: {reason}", remedy)


FORMAT = ExportFormat(
    "nem12",
    "text/csv; charset=utf-8",
    "nem12.csv",
    body,
    columns=COLUMNS,
    needs=COLUMNS,
    qualities=tuple(METHODS),
    steps_s=INTERVALS_S,
    row_bytes=8,
)
