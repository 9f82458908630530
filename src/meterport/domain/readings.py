"""The one shape of meter data inside the service.

Shape:   frames of READING_SCHEMA, one row per interval, whole meters,
         sorted by (smart_meter_id, timestamp), no duplicates.
Units:   energy_kwh and energy_export_kwh over the interval (from and to the grid);
         power_kw, voltage_v and current_a are means; null means missing, not zero.
Time:    timestamp is the inclusive start of the interval, in UTC, in whole seconds;
         interval_s is its length.
Quality: null means measured; anything else is the importer's word (estimated, edited, …).
Source:  interval start as in NAESB ESPI (REQ.21), DateTimeInterval.start.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from meterport.domain.period import Period

READING_SCHEMA = pl.Schema(
    {
        "timestamp": pl.Datetime("us", "UTC"),
        "interval_s": pl.Int32(),
        "smart_meter_id": pl.String(),
        "energy_kwh": pl.Float64(),
        "power_kw": pl.Float64(),
        "voltage_v": pl.Float64(),
        "current_a": pl.Float64(),
        "energy_export_kwh": pl.Float64(),
        "quality": pl.String(),
    }
)
KEY = ("smart_meter_id", "timestamp")
VALUE_COLUMNS = ("energy_kwh", "power_kw", "voltage_v", "current_a", "energy_export_kwh")
DEFAULT_COLUMNS = (
    "timestamp",
    "smart_meter_id",
    "energy_kwh",
    "power_kw",
    "voltage_v",
    "current_a",
)
FRAME_ROWS = 1_000_000
"""About how many rows a frame may hold; what follows the source stays in flat memory."""
SLICE_ROWS = 50_000
"""About how many are worked on before anybody hears of it."""

SMART_METER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
"""Cannot begin a formula, break a header, a path or a quote."""


@dataclass(frozen=True)
class MeterSummary:
    """What the catalogue knows of a meter: its first and last reading, its newest interval."""

    smart_meter_id: str
    first: datetime
    last: datetime
    interval_s: int
    rows: int

    def plus(self, later: "MeterSummary") -> "MeterSummary":
        return MeterSummary(
            self.smart_meter_id,
            min(self.first, later.first),
            max(self.last, later.last),
            later.interval_s if later.last >= self.last else self.interval_s,
            self.rows + later.rows,
        )

    def expected_rows(self, period: Period, *, step_s: int = 0) -> int:
        """How many rows there would be without gaps, between its first and last reading.

        `step_s`: of the intervals that readings are merged to, where they are longer.
        """
        start = max(period.start, self.first)
        end = min(period.end, self.end)
        step = timedelta(seconds=max(step_s, self.interval_s))
        return max(0, -((start - end) // step))

    @property
    def end(self) -> datetime:
        return self.last + timedelta(seconds=self.interval_s)


@dataclass(frozen=True)
class Merged:
    """What one import changed. `added` counts each touched meter's new keys and spans its rows.

    `rows_duplicate`: of one key with a later one; `rows_overlapped`: by shorter ones.

    `derived_intervals` counts the meters whose interval length came from the commonest step.
    """

    version: int
    rows_new: int
    rows_replaced: int
    rows_duplicate: int
    rows_overlapped: int
    added: Sequence[MeterSummary]
    derived_intervals: Mapping[int, int]


@dataclass(frozen=True)
class DamagedFile:
    """A file of the readings store that is not what was written: `changed`, `missing` …"""

    path: str
    state: str
    month: str
    first_meter: str
    last_meter: str

    def __str__(self) -> str:
        return (
            f"{self.path} is {self.state}: readings of {self.month}, "
            f"meters {self.first_meter} to {self.last_meter}"
        )


def commonest_steps(frame: pl.DataFrame) -> pl.DataFrame:
    """The commonest distance to the next reading, per meter and UTC day, as (id, day, interval_s).

    `frame` holds whole meters; days without any step (a meter's single reading) take the
    meter's own commonest step and stay null where there is none.
    """
    meter, time = "smart_meter_id", "timestamp"
    step_s = (pl.col(time).shift(-1) - pl.col(time)).dt.total_seconds().over(meter)
    steps = (
        frame.select(meter, time)
        .unique()
        .sort(KEY)
        .select(meter, pl.col(time).dt.date().alias("day"), step_s.alias("step_s"))
    )
    per_meter = steps.group_by(meter).agg(_commonest("step_s").alias("meter_step_s"))
    return (
        steps.group_by(meter, "day")
        .agg(_commonest("step_s"))
        .join(per_meter, on=meter)
        .select(
            meter,
            "day",
            pl.coalesce("step_s", "meter_step_s").cast(pl.Int32).alias("interval_s"),
        )
    )


def _commonest(column: str) -> pl.Expr:
    return pl.col(column).drop_nulls().mode().min()
