"""Earlier exports, as they are looked for and found."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from meterport.domain.jobs import Job, Phase


@dataclass(frozen=True)
class Wanted:
    """Which exports; None: whatever it is. A fleet is also found by any one of its meters.

    Time: created_from <= created < created_before, to the millisecond.
    """

    smart_meter_id: str | None = None
    phase: Phase | None = None
    format: str | None = None
    label: str | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None


@dataclass(frozen=True)
class Entry:
    """`meters`: how many the job has."""

    job: Job
    meters: int


@dataclass(frozen=True)
class HistoryPage:
    """`next_key`: where the next page goes on; None: this is the last one."""

    entries: Sequence[Entry]
    next_key: tuple[str, ...] | None
