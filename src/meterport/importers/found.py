"""Where our columns stand in a file that has these columns of its own."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from meterport.domain.errors import ImportRefused, shown
from meterport.domain.readings import READING_SCHEMA, VALUE_COLUMNS
from meterport.importers.options import UNITS, ColumnSource, ImportOptions, RowFilter, TimeLabel

WIDE_TIME, WIDE_VALUE = "(time of the column)", "(value of the column)"
_TIME_OF_DAY = r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?"
WIDE_NAME = re.compile(rf"({_TIME_OF_DAY})(?:\s*[-–]\s*{_TIME_OF_DAY})?(?:#[0-9]+)?")  # noqa: RUF001
_SELECTION = re.compile(r"(?P<names>.+)\[(?P<filter>[^\[\]]+=[^\[\]]+)\]")


@dataclass(frozen=True)
class Found:
    """One of our columns: the sum of `columns`, in the rows that `only` names, if it does."""

    columns: tuple[str, ...]
    unit: str
    only: RowFilter | None = None

    @property
    def is_register(self) -> bool:
        return self.unit.startswith("register_")

    @property
    def divisor(self) -> float:
        """How many of the unit make one of ours."""
        return next(units[self.unit] for units in UNITS.values() if self.unit in units)


def find_columns(options: ImportOptions, present: Sequence[str]) -> dict[str, Found]:
    """By our column's name. Raises ImportRefused if the file lacks what a reading needs."""
    found = {
        ours: Found((ours,), next(iter(UNITS[ours])))
        for ours in READING_SCHEMA
        if ours in present and ours not in options.mapping
    }
    for ours, source in options.mapping.items():
        found[ours] = _resolved(f"--map {ours}={source.name}", source, present)
    if options.wide is not None:
        found |= _wide(options.wide, found, present)
    found = {ours: found[ours] for ours in READING_SCHEMA if ours in found}
    for ours in options.fixed:
        found.pop(ours, None)
    _check(found, options, present)
    return found


def wide_columns(present: Sequence[str]) -> dict[str, str]:
    """Those that are named by a time of day, and that time."""
    times = {name: WIDE_NAME.fullmatch(name) for name in present}
    return {name: time[1] for name, time in times.items() if time}


def numbered(names: Sequence[str]) -> list[str]:
    """Names that come twice are NAME#1, NAME#2; columns without a name are #1, #2, … by place."""
    named = [name or f"#{place}" for place, name in enumerate(names, start=1)]
    return [
        f"{name}#{named[: place + 1].count(name)}" if named.count(name) > 1 else name
        for place, name in enumerate(named)
    ]


def _resolved(flag: str, source: ColumnSource, present: Sequence[str]) -> Found:
    """A column that has that very name is it, whatever signs are in it."""
    if source.name in present:
        return Found((source.name,), source.unit)
    selection = _SELECTION.fullmatch(source.name)
    only = RowFilter.written(selection["filter"]) if selection else None
    names = selection["names"] if selection and only else source.name
    columns = (names,) if names in present else tuple(name.strip() for name in names.split("+"))
    for column in (*columns, *([only.column] if only else [])):
        check_present(flag, column, present)
    return Found(columns, source.unit, only)


def check_present(flag: str, column: str, present: Sequence[str]) -> None:
    if column in present:
        return
    _check_twice(flag, column, present)
    raise ImportRefused(f"{flag}: no such column; the file has: {_listed(present)}")


def _check_twice(flag: str, column: str, present: Sequence[str]) -> None:
    times = [name for name in present if name.startswith(f"{column}#")]
    if times:
        say = (
            f"{flag}: say which, {' or '.join(times[:3])}"
            if flag
            else f"say --map {column}={times[0]}"
        )
        raise ImportRefused(f"the header names {shown(column)} twice; {say}")


def _wide(
    source: ColumnSource, found: Mapping[str, Found], present: Sequence[str]
) -> Mapping[str, Found]:
    if not wide_columns(present):
        raise ImportRefused(
            "--wide: no column is named by a time of day, such as 00:15 or 00:15-00:30; "
            f"the file has: {_listed(present)}"
        )
    wide = {source.name: Found((WIDE_VALUE,), source.unit)}
    if "timestamp" in found:
        day = found["timestamp"]
        wide["timestamp"] = replace(day, columns=(*day.columns, WIDE_TIME))
    return wide


def _check(found: Mapping[str, Found], options: ImportOptions, present: Sequence[str]) -> None:
    has = f"the file has: {_listed(present)}"
    for ours in READING_SCHEMA:
        if ours not in options.mapping and ours not in options.fixed:
            _check_twice("", ours, present)
    if "timestamp" not in found:
        raise ImportRefused(f"no column timestamp; say --map timestamp=COLUMN; {has}")
    if "smart_meter_id" not in found and options.smart_meter_id is None:
        raise ImportRefused(
            f"no column smart_meter_id; say --meter ID or --map smart_meter_id=COLUMN; {has}"
        )
    if not set(VALUE_COLUMNS) & set(found):
        raise ImportRefused(
            f"none of {', '.join(VALUE_COLUMNS)}; say --map energy_kwh=COLUMN; {has}"
        )
    if options.label is TimeLabel.END:
        _check_label(found, options)
    for flag, column in _others(options):
        check_present(flag, column, present)


def _check_label(found: Mapping[str, Found], options: ImportOptions) -> None:
    if "interval_s" not in found and options.interval_s is None:
        raise ImportRefused(
            "--label end: how long is the interval? "
            "say --interval SECONDS or --map interval_s=COLUMN"
        )
    if any(each.is_register for each in found.values()):
        raise ImportRefused(
            "--label end: the count of a register is that at its time; leave --label out"
        )


def _others(options: ImportOptions) -> Iterator[tuple[str, str]]:
    for each in options.where:
        yield f"--where {each}", each.column
    if options.factor is not None:
        yield f"--factor {options.factor}", options.factor


def _listed(present: Sequence[str]) -> str:
    return ", ".join(present)
