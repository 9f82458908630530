"""What a ReadingType says of its readings: the column of ours, or that they are none of ours.

Units:   Wh, W, V and A times ten to the powerOfTenMultiplier, which is 0 where it is absent.
Energy:  accumulationBehaviour 4, 0 or none is energy per interval; 1, 3 and 9 are registers.
         flowDirection 1, 0 or none is energy drawn, 19 energy fed in. Net flow is neither.
Others:  maxima, minima, power fed in, and commodities that are no electricity have no column.
"""

from dataclasses import dataclass
from pathlib import Path

from meterport.domain.errors import shown
from meterport.importers.base import BadRow, refused
from meterport.importers.green_button_feed import Entry
from meterport.importers.green_button_quality import level_of

_NONE = (None, 0)
_FORWARD, _REVERSE = (*_NONE, 1), (19,)
_INTERVAL, _REGISTER = (*_NONE, 4), (1, 3, 9)
_MOMENTARY = (*_NONE, 4, 6, 12)
_AVERAGE_OR_NORMAL = (*_NONE, 2, 12)
_ELECTRICITY = (*_NONE, 1, 2)
_WHOLE_SERVICE = (*_NONE, 224, 225, 769)
"""Phase codes that are of no single phase."""
_UNITS = {5: "A", 29: "V", 38: "W", 61: "VA", 63: "VAr", 71: "VAh", 72: "Wh", 73: "VArh"}
_TARIFF = ("tou", "consumptionTier", "cpp")
_MOST_TENS = 12

Code = int | None


@dataclass(frozen=True)
class ReadingKind:
    """A value in our unit is the feed's times ten to the `exponent`.

    `column` is None for what we have no place for. `part` is empty for readings of the whole
    service, else which phase and tariff they are of.
    """

    label: str
    column: str | None
    is_register: bool
    exponent: int
    interval_s: int | None
    level: int
    part: tuple[Code, ...]


def kind_of(path: Path, entry: Entry) -> ReadingKind:
    """Raises ImportRefused for a ReadingType without a unit, or with a code that is no number."""
    codes = {name: _code(path, entry, name) for name in _CODES}
    if codes["uom"] is None:
        reason = f"the ReadingType {shown(entry.name)} has no uom: its readings have no unit"
        raise refused(path, [BadRow(entry.line, reason)])
    multiplier = codes["powerOfTenMultiplier"] or 0
    if abs(multiplier) > _MOST_TENS:
        reason = f"powerOfTenMultiplier: {multiplier} is not between -12 and 12"
        raise refused(path, [BadRow(entry.line, reason)])
    unit, column = _UNITS.get(codes["uom"], f"uom {codes['uom']}"), _column(codes)
    return ReadingKind(
        label=", ".join([unit, *_oddities(codes, column)]),
        column=column,
        is_register=column is not None and codes["accumulationBehaviour"] in _REGISTER,
        exponent=multiplier - (3 if unit in ("Wh", "W") else 0),
        interval_s=codes["intervalLength"] or None,
        level=_level(path, entry),
        part=_part(codes),
    )


_CODES = (
    "accumulationBehaviour",
    "commodity",
    "dataQualifier",
    "flowDirection",
    "intervalLength",
    "phase",
    "powerOfTenMultiplier",
    "uom",
    *_TARIFF,
)


def _code(path: Path, entry: Entry, name: str) -> Code:
    text = entry.fields.get(name)
    if text is None or (text.isascii() and text.removeprefix("-").isdigit() and len(text) <= 9):
        return None if text is None else int(text)
    raise refused(path, [BadRow(entry.line, f"{name}: {shown(text)} is not a whole number")])


def _level(path: Path, entry: Entry) -> int:
    try:
        return level_of(entry.fields["defaultQuality"]) if "defaultQuality" in entry.fields else 0
    except ValueError as error:
        raise refused(path, [BadRow(entry.line, f"defaultQuality: {error}")]) from error


def _column(codes: dict[str, Code]) -> str | None:
    if codes["commodity"] not in _ELECTRICITY or codes["dataQualifier"] not in _AVERAGE_OR_NORMAL:
        return None
    if codes["uom"] == 72:
        return _energy(codes)
    if codes["accumulationBehaviour"] not in _MOMENTARY:
        return None
    if codes["uom"] == 38:
        return "power_kw" if codes["flowDirection"] in _FORWARD else None
    return {29: "voltage_v", 5: "current_a"}.get(codes["uom"] or 0)


def _energy(codes: dict[str, Code]) -> str | None:
    if codes["accumulationBehaviour"] not in (*_INTERVAL, *_REGISTER):
        return None
    if codes["flowDirection"] in _FORWARD:
        return "energy_kwh"
    return "energy_export_kwh" if codes["flowDirection"] in _REVERSE else None


def _oddities(codes: dict[str, Code], column: str | None) -> list[str]:
    """What tells readings without a column of ours from those with one, for the report."""
    usual: dict[str, tuple[Code, ...]] = {
        "commodity": _ELECTRICITY,
        "dataQualifier": _AVERAGE_OR_NORMAL,
        "flowDirection": (*_FORWARD, *_REVERSE) if codes["uom"] == 72 else _FORWARD,
        "accumulationBehaviour": (*_INTERVAL, *_REGISTER) if codes["uom"] == 72 else _MOMENTARY,
    }
    if column is not None:
        return []
    return [f"{name} {codes[name]}" for name, known in usual.items() if codes[name] not in known]


def _part(codes: dict[str, Code]) -> tuple[Code, ...]:
    phase = None if codes["phase"] in _WHOLE_SERVICE else codes["phase"]
    part = (phase, *(codes[name] or None for name in _TARIFF))
    return part if any(part) else ()
