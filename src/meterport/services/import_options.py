"""What is said of a file that is to be imported, in words, as the importers take it."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from meterport.domain.errors import ImportRefused, InvalidRequest, shown
from meterport.domain.exports import check_smart_meter_id
from meterport.domain.options import DELIMITERS
from meterport.domain.readings import READING_SCHEMA, VALUE_COLUMNS
from meterport.domain.words import Word, one_of
from meterport.importers.columns import QUALITY_WORD
from meterport.importers.options import (
    DECIMALS,
    UNITS,
    ColumnSource,
    DateOrder,
    ImportOptions,
    RepeatedHour,
    RowFilter,
    TimeLabel,
)


@dataclass(frozen=True)
class Said:
    """The words as they were written."""

    maps: Sequence[str] = ()
    meter: str | None = None
    timezone: str | None = None
    interval_s: int | None = None
    delimiter: str | None = None
    decimal: str | None = None
    header_line: int | None = None
    date_format: str | None = None
    label: str = "start"
    repeated_hour: str = "order"
    where: Sequence[str] = ()
    factor: str | None = None
    quality: Sequence[str] = ()
    missing: Sequence[str] = ()
    wide: str | None = None
    skip_bad_rows: bool = False


def options(said: Said) -> ImportOptions:
    """Raises ImportRefused, naming the flag and what may stand there."""
    return ImportOptions(
        mapping=dict(_mapped("--map", text) for text in said.maps),
        smart_meter_id=None if said.meter is None else check_smart_meter_id(said.meter),
        timezone=None if said.timezone is None else _zone(said.timezone),
        interval_s=said.interval_s,
        delimiter=_delimiter(said.delimiter),
        decimal=_decimal(said.decimal),
        header_line=said.header_line,
        date_order=_one_of(DateOrder, "--date-format", said.date_format),
        label=_one_of(TimeLabel, "--label", said.label) or TimeLabel.START,
        repeated_hour=_one_of(RepeatedHour, "--repeated-hour", said.repeated_hour)
        or RepeatedHour.ORDER,
        where=tuple(map(_filter, said.where)),
        factor=said.factor,
        quality=dict(map(_quality, said.quality)),
        missing=tuple(said.missing),
        wide=None if said.wide is None else _wide(said.wide),
        skip_bad_rows=said.skip_bad_rows,
    )


def _mapped(flag: str, text: str) -> tuple[str, ColumnSource]:
    ours, equals, source = text.partition("=")
    if not equals or not source:
        raise ImportRefused(f"{flag} {shown(text)}: write COLUMN=SOURCE or COLUMN=SOURCE:UNIT")
    _check_ours(flag, ours, READING_SCHEMA)
    name, colon, unit = source.rpartition(":")
    if not colon or (unit not in UNITS[ours] and _is_part_of_name(unit)):
        return ours, ColumnSource(source, next(iter(UNITS[ours])))
    return ours, ColumnSource(name, _unit(flag, ours, unit))


def _is_part_of_name(after_colon: str) -> bool:
    """As in `Usage (kWh):` or `00:15`, where the colon begins no unit."""
    return not re.fullmatch(r"[A-Za-z_]+", after_colon)


def _check_ours(flag: str, ours: str, known: Collection[str]) -> None:
    if ours not in known:
        near = get_close_matches(ours, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"ours are {', '.join(known)}"
        raise ImportRefused(f"{flag}: {shown(ours)} is no column of ours; {hint}")


def _unit(flag: str, ours: str, unit: str) -> str:
    if unit not in UNITS[ours]:
        raise ImportRefused(
            f"{flag} {ours}: unknown unit {shown(unit)}; known: {', '.join(UNITS[ours])}"
        )
    return unit


def _wide(text: str) -> ColumnSource:
    ours, colon, unit = text.partition(":")
    _check_ours("--wide", ours, VALUE_COLUMNS)
    unit = _unit("--wide", ours, unit) if colon else next(iter(UNITS[ours]))
    return ColumnSource(ours, unit)


def _one_of(kind: type[Word], flag: str, text: str | None) -> Word | None:
    try:
        return None if text is None else one_of(kind, flag, text)
    except InvalidRequest as error:
        raise ImportRefused(error.message) from error


def _delimiter(text: str | None) -> str | None:
    if text is not None and text not in DELIMITERS:
        raise ImportRefused(f"--delimiter {shown(text)} is not known; known: , ; | tab")
    return None if text is None else DELIMITERS[text]


def _decimal(text: str | None) -> str | None:
    if text is not None and text not in DECIMALS:
        raise ImportRefused(f"--decimal {shown(text)} is not known; known: . ,")
    return text


def _filter(text: str) -> RowFilter:
    only = RowFilter.written(text)
    if only is None:
        raise ImportRefused(f"--where {shown(text)}: write COLUMN=WORD or COLUMN=WORD|WORD")
    return only


def _quality(text: str) -> tuple[str, str | None]:
    word, equals, ours = text.rpartition("=")
    if not equals or not word or (ours and not QUALITY_WORD.fullmatch(ours)):
        raise ImportRefused(
            f"--quality {shown(text)}: write WORD=QUALITY, with a quality such as estimated, "
            "or WORD= for what was measured"
        )
    return word, ours or None


def _zone(name: str) -> ZoneInfo:
    try:
        pl.Series([], dtype=pl.Datetime("us")).dt.replace_time_zone(name)
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError, pl.exceptions.PolarsError) as error:
        raise ImportRefused(
            f"--timezone {shown(name)} is unknown; write one such as UTC or Europe/Berlin"
        ) from error
