"""What an importer is, how columns of a file become ours, and how a bad row is named."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl

from meterport.domain.errors import ImportRefused
from meterport.domain.readings import READING_SCHEMA, VALUE_COLUMNS

BAD_ROWS_SHOWN = 10
_ENERGY = {"kWh": 1.0, "Wh": 1e3, "MWh": 1e-3}
_REGISTER = {f"register_{unit}": divisor for unit, divisor in _ENERGY.items()}
UNITS: Mapping[str, Mapping[str, float]] = {
    "timestamp": {"iso": 1.0, "epoch_s": 1.0, "epoch_ms": 1.0},
    "interval_s": {"s": 1.0},
    "smart_meter_id": {"text": 1.0},
    "energy_kwh": _ENERGY | _REGISTER,
    "power_kw": {"kW": 1.0, "W": 1e3, "MW": 1e-3},
    "voltage_v": {"V": 1.0, "mV": 1e3, "kV": 1e-3},
    "current_a": {"A": 1.0, "mA": 1e3},
    "energy_export_kwh": _ENERGY | _REGISTER,
    "quality": {"text": 1.0},
}
"""Per column of ours the units a file may have; a value is divided by the number beside its
unit. The first is the default. A register counts up; its differences are the energy."""


@dataclass(frozen=True)
class ColumnSource:
    """The file's column, and the unit in which it stands there."""

    name: str
    unit: str

    @property
    def is_register(self) -> bool:
        return self.unit.startswith("register_")


@dataclass(frozen=True)
class ImportOptions:
    """`mapping` is by our column's name; columns that it leaves out are found by that name.

    `timezone` is that of timestamps without an offset; without it such a file is refused.
    """

    mapping: Mapping[str, ColumnSource] = field(default_factory=dict)
    smart_meter_id: str | None = None
    timezone: ZoneInfo | None = None
    interval_s: int | None = None

    @property
    def fixed(self) -> dict[str, object]:
        """What is said once for all rows; a column of that name then counts for nothing."""
        said = {"smart_meter_id": self.smart_meter_id, "interval_s": self.interval_s}
        return {name: value for name, value in said.items() if value is not None}

    def columns(self, present: list[str]) -> dict[str, ColumnSource]:
        """Where each of our columns stands in a file that has these columns.

        Raises ImportRefused if the file lacks what a reading needs.
        """
        found = {
            ours: self.mapping.get(ours, ColumnSource(ours, next(iter(UNITS[ours]))))
            for ours in READING_SCHEMA
        }
        found = {
            ours: source
            for ours, source in found.items()
            if source.name in present and ours not in self.fixed
        }
        for ours, source in self.mapping.items():
            if source.name not in present:
                has = ", ".join(present)
                raise ImportRefused(
                    f"--map {ours}={source.name}: no such column; the file has: {has}"
                )
        self._check(found, present)
        return found

    def _check(self, found: Mapping[str, ColumnSource], present: list[str]) -> None:
        has = f"the file has: {', '.join(present)}"
        if "timestamp" not in found:
            raise ImportRefused(f"no column timestamp; say --map timestamp=COLUMN; {has}")
        if "smart_meter_id" not in found and self.smart_meter_id is None:
            raise ImportRefused(
                f"no column smart_meter_id; say --meter ID or --map smart_meter_id=COLUMN; {has}"
            )
        if not set(VALUE_COLUMNS) & set(found):
            raise ImportRefused(
                f"none of {', '.join(VALUE_COLUMNS)}; say --map energy_kwh=COLUMN; {has}"
            )


@dataclass
class FileReport:
    """What was found in one file, for the user to check."""

    path: Path
    rows: int = 0
    ignored_columns: list[str] = field(default_factory=list)
    missing_columns: list[str] = field(default_factory=list)
    unknown_register_steps: int = 0
    passed_over: dict[str, int] = field(default_factory=dict)
    """What a file holds besides readings, and how many values or records of it."""


@dataclass(frozen=True)
class BadRow:
    line: int
    reason: str


def refused(path: Path, bad: list[BadRow], *, unit: str = "line") -> ImportRefused:
    """One error that names the first bad rows by their place in the file."""
    named = [f"{path.name}: {unit} {row.line}: {row.reason}" for row in bad[:BAD_ROWS_SHOWN]]
    more = len(bad) - len(named)
    if more > 0:
        named.append(f"… and {more} more here")
    return ImportRefused("\n".join(["nothing was imported; bad rows:", *named]))


@dataclass(frozen=True)
class ImportFormat:
    """`read` yields batches of READING_SCHEMA (interval_s may be null) in the file's order.

    Raises ImportRefused, naming the place in the file.
    """

    name: str
    extensions: tuple[str, ...]
    read: Callable[[Path, ImportOptions, FileReport], Iterator[pl.DataFrame]]
