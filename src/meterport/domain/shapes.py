"""The shape in which readings are asked for.

Shape: columns in the order asked for; then `interval_end` (label both, after timestamp), `readings`
       (with_count) and `gap` (gaps flag), which are no readings' own columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from meterport.domain.errors import InvalidColumns, InvalidResolution, shown
from meterport.domain.readings import DEFAULT_COLUMNS, READING_SCHEMA
from meterport.domain.words import hint, one_of, true_or_false
from meterport.domain.zones import DAY_S, check_zone


class Resolution(StrEnum):
    RAW = "raw"
    MINUTE = "1m"
    MINUTES_5 = "5m"
    MINUTES_15 = "15m"
    MINUTES_30 = "30m"
    HOUR = "1h"
    DAY = "1d"
    MONTH = "1mo"


class Gaps(StrEnum):
    """OMIT: no row; NULL: a row without values; FLAG: also a column `gap` that says so."""

    OMIT = "omit"
    NULL = "null"
    FLAG = "flag"


class Label(StrEnum):
    """Which bound of the interval `timestamp` is; BOTH: the start, and `interval_end` beside it."""

    START = "start"
    END = "end"
    BOTH = "both"


STEP_S: Mapping[Resolution, int] = {
    Resolution.MINUTE: 60,
    Resolution.MINUTES_5: 300,
    Resolution.MINUTES_15: 900,
    Resolution.MINUTES_30: 1800,
    Resolution.HOUR: 3600,
    Resolution.DAY: DAY_S,
    Resolution.MONTH: 28 * DAY_S,
}
"""The usual length of a bucket; of a month the shortest."""


@dataclass(frozen=True)
class Shape:
    """`zone`: an IANA name, to whose clock buckets are aligned and in which times are written.
    It is checked when it is asked for: where a job is read again, it may be an unknown one.

    `columns` are of READING_SCHEMA, each once, `timestamp` among them; None: DEFAULT_COLUMNS, or
    those that a format has instead.
    """

    resolution: Resolution = Resolution.RAW
    zone: str = "UTC"
    gaps: Gaps = Gaps.OMIT
    label: Label = Label.START
    columns: tuple[str, ...] | None = None
    with_count: bool = False

    def __post_init__(self) -> None:
        if self.columns is not None:
            check_columns(self.columns)

    @classmethod
    def requested(
        cls,
        *,
        resolution: object = "raw",
        zone: object = "UTC",
        gaps: object = "omit",
        label: object = "start",
        columns: object = None,
        with_count: object = False,
    ) -> Self:
        """The shape that a request's words name, checked in that order."""
        return cls(
            one_of(Resolution, "resolution", resolution, InvalidResolution),
            check_zone(zone),
            one_of(Gaps, "gaps", gaps),
            one_of(Label, "interval_label", label),
            None if columns is None else check_columns(columns),
            true_or_false("with_count", with_count),
        )

    @property
    def own(self) -> tuple[str, ...]:
        return self.columns or DEFAULT_COLUMNS

    @property
    def step_s(self) -> int:
        """The usual length of a bucket; 0 where readings stay as they are."""
        return STEP_S.get(self.resolution, 0)

    @property
    def keeps_rows(self) -> bool:
        """Each reading is a row, and nothing else is."""
        return self.resolution is Resolution.RAW and self.gaps is Gaps.OMIT

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns that the readings need to come with, in READING_SCHEMA's order."""
        always = ("timestamp", "interval_s", "smart_meter_id")
        return tuple(c for c in READING_SCHEMA if c in always or c in self.own)

    @property
    def written(self) -> tuple[str, ...]:
        """The columns of the frames that come out, in order."""
        own = list(self.own)
        if self.label is Label.BOTH:
            own.insert(own.index("timestamp") + 1, "interval_end")
        if self.with_count:
            own.append("readings")
        if self.gaps is Gaps.FLAG:
            own.append("gap")
        return tuple(own)


def check_columns(columns: object) -> tuple[str, ...]:
    if not isinstance(columns, Sequence) or isinstance(columns, str) or not columns:
        raise InvalidColumns("columns must be a list that names at least one column")
    for name in columns:
        if name not in READING_SCHEMA.names():
            raise InvalidColumns(
                f"column {shown(name)} is not known; {hint(name, tuple(READING_SCHEMA))}"
            )
    twice = [name for n, name in enumerate(columns) if name in columns[:n]]
    if twice:
        raise InvalidColumns(f"column {shown(twice[0])} is named twice; name it once")
    if "timestamp" not in columns:
        raise InvalidColumns("columns lacks timestamp; add it")
    return tuple(columns)
