"""How complete the readings of an export are, and whether they agree with one another.

Expected: the readings that are there and the intervals that are missing between them, from the
          meter's first to its last reading, within the period; a day of 23 hours has 92 quarters.
Days:     local ones of the zone; an interval belongs to the day in which it starts.
kWh:      exact decimal sums of the values, each rounded to a billionth; null counts as nothing,
          and a day without any value has the sum null, not zero. For people they are float64, and
          null beyond its range.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Self

from meterport.domain.period import iso_utc

TOLERANCE = 0.02
"""Relative: what a meter's own rounding and class of accuracy may explain."""
ROUNDING_KWH = 0.0005
"""Absolute: energy is often told in whole Wh, which over a minute is 0.03 kW of power."""
ROUNDING_KW = 0.01
MOST_GAPS = 1_000
"""As many gaps are told as periods; all are counted."""

Write = Callable[[Decimal], object]
"""How kWh become JSON: `for_people`, or `str` where no digit may be lost."""


def for_people(kwh: Decimal) -> float | None:
    number = float(kwh)
    return None if math.isinf(number) else number


@dataclass(frozen=True)
class Gap:
    """No reading covers the instants t with start <= t < end, of `intervals` intervals."""

    smart_meter_id: str
    start: datetime
    end: datetime
    intervals: int

    def as_json(self) -> dict[str, object]:
        return {
            "smart_meter_id": self.smart_meter_id,
            "start": iso_utc(self.start),
            "end": iso_utc(self.end),
            "intervals": self.intervals,
        }

    @classmethod
    def of_json(cls, said: Mapping[str, Any]) -> Self:
        start, end = _instant(said["start"]), _instant(said["end"])
        return cls(said["smart_meter_id"], start, end, said["intervals"])

    def goes_on_in(self, later: "Gap") -> bool:
        return later.smart_meter_id == self.smart_meter_id and later.start == self.end

    def up_to(self, later: "Gap") -> "Gap":
        return replace(self, end=later.end, intervals=self.intervals + later.intervals)


@dataclass(frozen=True)
class MeterDay:
    smart_meter_id: str
    day: date
    expected: int
    present: int
    energy_kwh: Decimal | None

    def as_json(self, write: Write = for_people) -> dict[str, object]:
        kwh = self.energy_kwh
        return {
            "smart_meter_id": self.smart_meter_id,
            "day": self.day.isoformat(),
            "expected": self.expected,
            "present": self.present,
            "energy_kwh": None if kwh is None else write(kwh),
        }

    @classmethod
    def of_json(cls, said: Mapping[str, Any]) -> Self:
        """As `as_json` writes it, with `str`."""
        return cls(
            said["smart_meter_id"],
            date.fromisoformat(said["day"]),
            said["expected"],
            said["present"],
            _decimal(said["energy_kwh"]),
        )

    def plus(self, other: "MeterDay") -> "MeterDay":
        return replace(
            self,
            expected=self.expected + other.expected,
            present=self.present + other.present,
            energy_kwh=_sum(self.energy_kwh, other.energy_kwh),
        )


def joined(days: Iterable[MeterDay]) -> Iterator[MeterDay]:
    """A meter's day that comes in two pieces, one after the other, is one."""
    last: MeterDay | None = None
    for day in days:
        if last is not None and (last.smart_meter_id, last.day) == (day.smart_meter_id, day.day):
            last = last.plus(day)
            continue
        if last is not None:
            yield last
        last = day
    if last is not None:
        yield last


@dataclass(frozen=True)
class Completeness:
    """`energy_kwh`: of each meter, exact; null where it has no value at all.

    `power_disagrees`: power is not energy/hours; `power_exceeds`: nor ≤ voltage·current.
    `gaps` are the first MOST_GAPS of `gap_count`, and the last one, which may go on in later
    readings; rows are the readings, without what is missing.
    """

    zone: str
    rows: int
    first: datetime | None
    last: datetime | None
    expected: int
    present: int
    energy_kwh: Mapping[str, Decimal | None]
    gaps: Sequence[Gap]
    gap_count: int
    power_disagrees: int
    power_exceeds: int

    def followed_by(self, later: "Completeness") -> "Completeness":
        """Of both together; `later` has further meters, or later readings of the last one."""
        kwh = dict(self.energy_kwh)
        for meter, more in later.energy_kwh.items():
            kwh[meter] = _sum(kwh.get(meter), more)
        gaps, joins = list(self.gaps), 0
        if gaps and later.gaps and gaps[-1].goes_on_in(later.gaps[0]):
            gaps[-1], joins = gaps[-1].up_to(later.gaps[0]), 1
        return Completeness(
            zone=self.zone,
            rows=self.rows + later.rows,
            first=min((t for t in (self.first, later.first) if t), default=None),
            last=max((t for t in (self.last, later.last) if t), default=None),
            expected=self.expected + later.expected,
            present=self.present + later.present,
            energy_kwh=kwh,
            gaps=first_and_last([*gaps, *later.gaps[joins:]]),
            gap_count=self.gap_count + later.gap_count - joins,
            power_disagrees=self.power_disagrees + later.power_disagrees,
            power_exceeds=self.power_exceeds + later.power_exceeds,
        )

    def told(self) -> dict[str, object]:
        """For people: as many gaps as are told."""
        return replace(self, gaps=self.gaps[:MOST_GAPS]).as_json()

    def as_json(self, write: Write = for_people) -> dict[str, object]:
        kwh = self.energy_kwh.items()
        return {
            "timezone": self.zone,
            "readings": self.rows,
            "first_timestamp": iso_utc(self.first) if self.first else None,
            "last_timestamp": iso_utc(self.last) if self.last else None,
            "expected": self.expected,
            "present": self.present,
            "energy_kwh": {meter: None if sum_ is None else write(sum_) for meter, sum_ in kwh},
            "checks": {
                "power_is_not_energy_per_hour": self.power_disagrees,
                "power_exceeds_voltage_times_current": self.power_exceeds,
            },
            "gap_count": self.gap_count,
            "gaps": [gap.as_json() for gap in self.gaps],
        }

    @classmethod
    def of_json(cls, said: Mapping[str, Any]) -> Self:
        """As `as_json` writes it, with `str`."""
        first, last = said["first_timestamp"], said["last_timestamp"]
        return cls(
            zone=said["timezone"],
            rows=said["readings"],
            first=_instant(first) if first else None,
            last=_instant(last) if last else None,
            expected=said["expected"],
            present=said["present"],
            energy_kwh={meter: _decimal(kwh) for meter, kwh in said["energy_kwh"].items()},
            gaps=tuple(Gap.of_json(gap) for gap in said["gaps"]),
            gap_count=said["gap_count"],
            power_disagrees=said["checks"]["power_is_not_energy_per_hour"],
            power_exceeds=said["checks"]["power_exceeds_voltage_times_current"],
        )


@dataclass(frozen=True)
class Manifest:
    """What is told of one stored file. `days`: its meters' days, as gzipped lines of JSON.

    They are kept as text because a fleet's year has millions.
    """

    about: Completeness
    days: bytes


def first_and_last(gaps: Sequence[Gap]) -> tuple[Gap, ...]:
    """The first MOST_GAPS of all, and the last."""
    return (*gaps[:MOST_GAPS], *gaps[MOST_GAPS:][-1:])


def _decimal(kwh: str | None) -> Decimal | None:
    return None if kwh is None else Decimal(kwh)


def _sum(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)
