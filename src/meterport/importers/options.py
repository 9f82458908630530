"""What can be said of a file that is to be imported, in the words of the command line."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from zoneinfo import ZoneInfo

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

DECIMALS = (".", ",")


class DateOrder(StrEnum):
    """The order of day, month and year; ISO: as ISO 8601 has it."""

    ISO = "iso"
    YMD = "ymd"
    DMY = "dmy"
    MDY = "mdy"


class TimeLabel(StrEnum):
    """Which bound of its interval a timestamp is."""

    START = "start"
    END = "end"


class RepeatedHour(StrEnum):
    """Whose turn a local time is that the clock shows twice.

    ORDER: where a file has both, the first row is the first; a single row is refused.
    """

    ORDER = "order"
    FIRST = "first"
    SECOND = "second"


@dataclass(frozen=True)
class ColumnSource:
    """The file's column, and the unit in which it stands there.

    `name` may also be several columns with + between them, which are added up (of the timestamp:
    a date and a time), and `VOLUME[REGISTER=DAY|NIGHT]`: where REGISTER is one of these words.
    """

    name: str
    unit: str


@dataclass(frozen=True)
class RowFilter:
    """Rows in which `column` is one of `words`."""

    column: str
    words: tuple[str, ...]

    @classmethod
    def written(cls, text: str) -> "RowFilter | None":
        """From `COLUMN=WORD|WORD`; None for what is not."""
        column, equals, words = text.partition("=")
        return cls(column, tuple(words.split("|"))) if column and equals and words else None

    def __str__(self) -> str:
        return f"{self.column}={'|'.join(self.words)}"


@dataclass(frozen=True)
class ImportOptions:
    """`mapping` is by our column's name; columns that it leaves out are found by that name.

    `timezone` is that of timestamps without an offset; without it such a file is refused.
    What is None is found out from the file.
    """

    mapping: Mapping[str, ColumnSource] = field(default_factory=dict)
    smart_meter_id: str | None = None
    timezone: ZoneInfo | None = None
    interval_s: int | None = None
    delimiter: str | None = None
    decimal: str | None = None
    header_line: int | None = None
    """From 1; 0: the file has no header, and its columns are #1, #2, …"""
    date_order: DateOrder | None = None
    label: TimeLabel = TimeLabel.START
    repeated_hour: RepeatedHour = RepeatedHour.ORDER
    where: tuple[RowFilter, ...] = ()
    factor: str | None = None
    """The column by whose number, less its sign, the values are multiplied."""
    quality: Mapping[str, str | None] = field(default_factory=dict)
    """Ours by the file's words; None: measured."""
    missing: tuple[str, ...] = ()
    wide: ColumnSource | None = None
    """Our column, as `name`, whose values stand beside a day in columns such as 00:15-00:30."""
    skip_bad_rows: bool = False

    @property
    def given(self) -> list[str]:
        """The flags of what was said."""
        unsaid = ImportOptions()
        return [
            flag for name, flag in FLAGS.items() if getattr(self, name) != getattr(unsaid, name)
        ]

    @property
    def fixed(self) -> dict[str, object]:
        """What is said once for all rows; a column of that name then counts for nothing."""
        said = {"smart_meter_id": self.smart_meter_id, "interval_s": self.interval_s}
        return {name: value for name, value in said.items() if value is not None}


FLAGS: Mapping[str, str] = {
    "mapping": "--map",
    "smart_meter_id": "--meter",
    "timezone": "--timezone",
    "interval_s": "--interval",
    "delimiter": "--delimiter",
    "decimal": "--decimal",
    "header_line": "--header-line",
    "date_order": "--date-format",
    "label": "--label",
    "repeated_hour": "--repeated-hour",
    "where": "--where",
    "factor": "--factor",
    "quality": "--quality",
    "missing": "--missing",
    "wide": "--wide",
    "skip_bad_rows": "--skip-bad-rows",
}
"""The command line's flags by the fields of ImportOptions."""

OF_TEXT_FILES = frozenset({"--delimiter", "--header-line"})
OF_TABLES = frozenset(FLAGS.values()) - OF_TEXT_FILES
