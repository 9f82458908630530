"""Counts, while the frames of an export pass, what its manifest tells of them.

Memory: a sum for every meter, its days as compressed text, and at most MOST_GAPS gaps and the last.
"""

import io
import json
from collections.abc import Iterable, Iterator, Sequence
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
from meterport.domain.readings import MeterSummary
from meterport.domain.zones import Offsets
from meterport.encoders.compression import compressed
from meterport.services.fill_gaps import GapFiller, Steps
from meterport.services.resample import BILLION, LARGE
from meterport.services.shape import as_read

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


class Counting:
    """What is counted of readings in a zone's days; see Completeness."""

    def __init__(self, zone: str, period: Period) -> None:
        self._zone = zone
        begins, self._dates = Offsets.of(zone, period).days()
        self._begins = np.array(begins, np.int64)
        self._days = _DayLog()
        self._gaps: list[Gap] = []
        self._gap_count = self._rows = self._disagrees = self._exceeds = 0
        self._first: datetime | None = None
        self._last: datetime | None = None
        self._open: Gap | None = None

    def add(self, filled: pl.DataFrame) -> None:
        """Rows as GapFiller has them: in order, those that are missing among them."""
        rows = filled.filter(pl.col("gap").is_null())
        self._rows += rows.height
        self._disagrees += rows.filter(_power_disagrees()).height
        self._exceeds += rows.filter(_power_exceeds()).height
        if rows.height:
            low, high = rows.select(low=pl.min("timestamp"), high=pl.max("timestamp")).row(0)
            self._first = min(self._first or low, low)
            self._last = max(self._last or high, high)
        for meter, day, expected, present, values, energy in self._by_day(filled).iter_rows():
            kwh = _kwh(energy) if values else None
            self._days.add(MeterDay(meter, self._dates[day], expected, present, kwh))
        self._add_gaps(filled)

    def result(self) -> Manifest:
        self._end_gap()
        days = self._days.closed()
        about = Completeness(
            zone=self._zone,
            rows=self._rows,
            first=self._first,
            last=self._last,
            expected=self._days.expected,
            present=self._days.present,
            energy_kwh=self._days.energy_kwh,
            gaps=tuple(self._gaps),
            gap_count=self._gap_count,
            power_disagrees=self._disagrees,
            power_exceeds=self._exceeds,
        )
        return Manifest(about, days)

    def _by_day(self, filled: pl.DataFrame) -> pl.DataFrame:
        """`energy` is the sum in billionths, or where that may not fit the values themselves."""
        seconds = filled["timestamp"].dt.epoch("s").to_numpy()
        day = np.searchsorted(self._begins, seconds, side="right") - 1
        kwh = pl.col("energy_kwh")
        energy = (kwh * BILLION).round().cast(pl.Int128).sum()
        if filled.select((kwh.abs() >= LARGE).any()).item():
            energy = kwh.drop_nulls()
        return (
            filled.with_columns(pl.Series("day", day))
            .group_by("smart_meter_id", "day", maintain_order=True)
            .agg(
                pl.len().alias("expected"),
                pl.col("gap").null_count().alias("present"),
                kwh.count().alias("values"),
                energy.alias("energy"),
            )
        )

    def _add_gaps(self, filled: pl.DataFrame) -> None:
        """A gap is a run of missing rows of a meter; the last may go on in the next frame."""
        end = pl.col("timestamp") + pl.duration(seconds="interval_s", time_unit="us")
        runs = (
            filled.select("smart_meter_id", "timestamp", "gap", end=end)
            .with_columns(run=pl.struct("smart_meter_id", "gap").rle_id())
            .group_by("run", maintain_order=True)
            .agg(pl.first("smart_meter_id", "gap", "timestamp"), pl.last("end"), pl.len())
        )
        for _, meter, gap, start, stop, intervals in runs.iter_rows():
            if gap is None or (self._open and self._open.smart_meter_id != meter):
                self._end_gap()
            if gap is not None:
                begun = self._open or Gap(meter, start, start, 0)
                self._open = Gap(meter, begun.start, stop, begun.intervals + intervals)

    def _end_gap(self) -> None:
        if self._open:
            self._gap_count += 1
            del self._gaps[MOST_GAPS:]  # that one is not the last any more
            self._gaps.append(self._open)
        self._open = None


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
    period: Period,
    meters: Sequence[MeterSummary],
) -> Iterator[pl.DataFrame]:
    """Pass the frames on as they are, and count them; the counting is whole at the end."""
    filler = GapFiller(meters, period, Steps(), NEEDS)
    for frame in frames:
        for filled in filler.more(as_read(frame.select(NEEDS))):
            counting.add(filled)
        yield frame
    for filled in filler.rest():
        counting.add(filled)


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
