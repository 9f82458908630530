"""Counts, while the frames of an export pass, what its manifest tells of them.

Memory: a sum for every meter, its days as compressed text, and at most MOST_GAPS gaps and the last.
        What is missing is reckoned day by day; no row of it is ever made.
"""

import heapq
import io
import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np
import polars as pl

from meterport.domain.completeness import (
    MOST_GAPS,
    ROUNDING_KW,
    ROUNDING_KWH,
    TOLERANCE,
    Completeness,
    Gap,
    Manifest,
    MeterDay,
    joined,
)
from meterport.domain.options import Compression
from meterport.domain.period import Period
from meterport.domain.readings import READING_SCHEMA
from meterport.domain.zones import Offsets, instant_at
from meterport.encoders.compression import compressed
from meterport.services.beside import Beside
from meterport.services.find_gaps import FAR, Stretch, Stretches
from meterport.services.resample import BILLION, LARGE

NEEDS = (
    "timestamp",
    "interval_s",
    "smart_meter_id",
    "energy_kwh",
    "power_kw",
    "voltage_v",
    "current_a",
)
"""The columns that frames need to have for it, whichever the export writes."""
_SCHEMA = {column: READING_SCHEMA[column] for column in NEEDS}


class Counting:
    """What is counted of readings in a zone's days; see Completeness."""

    def __init__(self, zone: str, period: Period) -> None:
        self._zone = zone
        begins, self._dates = Offsets.of(zone, period).days()
        self._begins = [*begins, FAR]
        self._days = _DayLog()
        self._gaps: list[Stretch] = []
        self._gap_count = self._rows = self._disagrees = self._exceeds = 0
        self._first: datetime | None = None
        self._last: datetime | None = None

    def add(self, rows: pl.DataFrame, missing: Iterable[Stretch]) -> None:
        """The next readings, and what is missing before and between them; both in order."""
        if rows.height:
            self._rows += rows.height
            self._disagrees += rows.filter(_power_disagrees()).height
            self._exceeds += rows.filter(_power_exceeds()).height
            low, high = rows.select(low=pl.min("timestamp"), high=pl.max("timestamp")).row(0)
            self._first = min(self._first or low, low)
            self._last = max(self._last or high, high)
        days = (self._days_of(rows), self._days_without(missing))
        for day in heapq.merge(*days, key=lambda day: (day.smart_meter_id, day.day)):
            self._days.add(day)

    def result(self) -> Manifest:
        days = self._days.closed()
        about = Completeness(
            zone=self._zone,
            rows=self._rows,
            first=self._first,
            last=self._last,
            expected=self._days.expected,
            present=self._days.present,
            energy_kwh=self._days.energy_kwh,
            gaps=tuple(map(_gap, self._gaps)),
            gap_count=self._gap_count,
            power_disagrees=self._disagrees,
            power_exceeds=self._exceeds,
        )
        return Manifest(about, days)

    def _days_of(self, rows: pl.DataFrame) -> Iterator[MeterDay]:
        """The sum is of billionths, or where they may not fit of the values themselves."""
        seconds = rows["timestamp"].dt.epoch("s").to_numpy()
        day = np.searchsorted(np.array(self._begins, np.int64), seconds, side="right") - 1
        kwh = pl.col("energy_kwh")
        energy = (kwh * BILLION).round().cast(pl.Int128).sum()
        if rows.select((kwh.abs() >= LARGE).any()).item():
            energy = kwh.drop_nulls()
        by_day = (
            rows.with_columns(pl.Series("day", day))
            .group_by("smart_meter_id", "day", maintain_order=True)
            .agg(pl.len().alias("there"), kwh.count().alias("values"), energy.alias("energy"))
        )
        for meter, number, there, values, sum_ in by_day.iter_rows():
            date = self._dates[number]
            yield MeterDay(meter, date, there, there, _kwh(sum_) if values else None)

    def _days_without(self, missing: Iterable[Stretch]) -> Iterator[MeterDay]:
        """Of each stretch the days in which its intervals begin; it is one gap."""
        for gap in missing:
            counted = 0
            day = bisect_right(self._begins, gap.start)
            while counted < gap.intervals:
                begun = gap.begun_before(self._begins[day])
                if begun > counted:
                    yield MeterDay(gap.meter, self._dates[day - 1], begun - counted, 0, None)
                counted, day = begun, day + 1
            self._gap_count += 1
            del self._gaps[MOST_GAPS:]  # that one is not the last any more
            self._gaps.append(gap)


class _DayLog:
    """The days of meters as lines, and their sums; the last one may yet go on."""

    def __init__(self) -> None:
        self.expected = self.present = 0
        self.energy_kwh: dict[str, Decimal | None] = {}
        self._last: MeterDay | None = None
        self._text = io.BytesIO()
        self._open = ExitStack()
        self._lines = self._open.enter_context(compressed(self._text, Compression.GZIP))

    def add(self, this: MeterDay) -> None:
        *finished, self._last = joined([this] if self._last is None else [self._last, this])
        for each in finished:
            self._write(each)

    def closed(self) -> bytes:
        if self._last is not None:
            self._write(self._last)
        self._open.close()
        return self._text.getvalue()

    def _write(self, day: MeterDay) -> None:
        self.expected += day.expected
        self.present += day.present
        kwh = (self.energy_kwh.get(day.smart_meter_id), day.energy_kwh)
        known = [value for value in kwh if value is not None]
        self.energy_kwh[day.smart_meter_id] = sum(known, Decimal()) if known else None
        self._lines.write(json.dumps(day.as_json(str)).encode() + b"\n")


def counted(
    frames: Iterable[pl.DataFrame],
    counting: Counting,
    stretches: Stretches,
    near: Beside = Beside(),  # noqa: B008 - it is frozen
    *,
    heard: Callable[[], None] = lambda: None,
) -> Iterator[pl.DataFrame]:
    """Pass the frames on as they are, and count them; the counting is whole at the end.

    `near`: the readings beside a part, which are not counted. `heard` is called often, also where
    there are gaps for years, and may raise.
    """

    def told(gaps: Sequence[Stretch]) -> Iterator[Stretch]:
        for gap in gaps:
            heard()
            yield gap

    none = pl.DataFrame(schema=_SCHEMA)
    for frame in near.before:
        counting.add(none, told(stretches.around(frame)))
    for frame in frames:
        rows = frame.select(NEEDS)
        counting.add(rows, told(stretches.around(rows)))
        yield frame
    for frame in near.after:
        counting.add(none, told(stretches.around(frame)))
    counting.add(none, told(stretches.rest()))


def _gap(gap: Stretch) -> Gap:
    return Gap(gap.meter, instant_at(gap.start), instant_at(gap.end), gap.intervals)


def _power_disagrees() -> pl.Expr:
    hours = pl.col("interval_s") / timedelta(hours=1).total_seconds()
    power = pl.col("power_kw")
    allowed = TOLERANCE * power.abs() + ROUNDING_KWH / hours
    return (power - pl.col("energy_kwh") / hours).abs() > allowed


def _power_exceeds() -> pl.Expr:
    apparent = (pl.col("voltage_v") * pl.col("current_a")).abs() / 1000
    return pl.col("power_kw").abs() > apparent * (1 + TOLERANCE) + ROUNDING_KW


def _kwh(energy: int | Sequence[float]) -> Decimal:
    if isinstance(energy, int):
        return Decimal(energy).scaleb(-9)
    # Of whole numbers, because decimals are rounded to the 28th digit.
    billionths = sum(round(Decimal(repr(kwh)).scaleb(9)) for kwh in energy)
    return Decimal(billionths).scaleb(-9)
