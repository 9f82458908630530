"""What `meterport import` and `meterport meters` read from the command line and print."""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from meterport.bootstrap import prepare
from meterport.domain.errors import ImportRefused, InvalidRequest, shown
from meterport.domain.exports import check_smart_meter_id
from meterport.domain.options import DELIMITERS
from meterport.domain.period import iso_utc
from meterport.domain.readings import READING_SCHEMA, VALUE_COLUMNS, MeterSummary
from meterport.domain.words import Word, one_of
from meterport.importers.base import BAD_ROWS_SHOWN, FileReport
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
from meterport.services.import_readings import ImportReport, import_files
from meterport.settings import Settings


@dataclass(frozen=True)
class Said:
    """What the command line says, as it was written."""

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


def run(settings: Settings, files: Sequence[Path], chosen: ImportOptions) -> ImportReport:
    services = prepare(settings)
    columns = (TextColumn("importing"), TextColumn("{task.completed:,} rows"), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=None)
        return import_files(
            files,
            chosen,
            source=services.source,
            store=services.readings,
            catalog=services.catalog,
            progress=lambda rows: bar.update(task, completed=rows),
        )


def as_text(report: ImportReport) -> str:
    merged = report.merged
    lines = [line for file in report.files for line in _file_lines(file)]
    lines.append(
        f"{merged.rows_new:,} rows new, {merged.rows_replaced:,} replaced, "
        f"{merged.rows_duplicate:,} repeated in the files (the last one counts); "
        f"{_meters(len(merged.added))}; version {merged.version}"
    )
    if merged.rows_overlapped:
        lines.append(f"{merged.rows_overlapped:,} rows left out that shorter ones overlap")
    lines += [
        f"interval {seconds} s for {_meters(count)}, from the commonest step"
        for seconds, count in sorted(merged.derived_intervals.items())
    ]
    return "\n".join(lines)


def as_json(report: ImportReport) -> str:
    merged = report.merged
    return json.dumps(
        {
            "files": [asdict(file) | {"path": str(file.path)} for file in report.files],
            "rows_new": merged.rows_new,
            "rows_replaced": merged.rows_replaced,
            "rows_duplicate": merged.rows_duplicate,
            "rows_overlapped": merged.rows_overlapped,
            "meters": len(merged.added),
            "version": merged.version,
            "derived_intervals": dict(merged.derived_intervals),
        }
    )


def meters(settings: Settings, *, as_json: bool) -> str:
    found = prepare(settings).catalog.all()
    if as_json:
        return json.dumps([_meter(meter) for meter in found])
    lines = [
        f"{meter.smart_meter_id:<24} {meter.rows:>12,} rows  {meter.interval_s:>6} s  "
        f"{iso_utc(meter.first)} … {iso_utc(meter.last)}"
        for meter in found
    ]
    return "\n".join(lines or ["no meters yet; `meterport import FILE` brings some"])


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


def _file_lines(file: FileReport) -> list[str]:
    lines = [f"{file.path.name}: {_rows(file)}"]
    if file.read_as:
        read_as = (f"{what} {value}" for what, value in file.read_as.items())
        lines.append(f"  read as: {', '.join(read_as)}")
    if file.ignored_columns:
        lines.append(f"  ignored columns: {', '.join(map(_hinted, file.ignored_columns))}")
    if file.missing_columns:
        lines.append(f"  missing columns: {', '.join(file.missing_columns)}")
    if file.unknown_register_steps:
        lines.append(
            "  register steps left empty (gap, reset or false count): "
            f"{file.unknown_register_steps:,}"
        )
    if file.passed_over:
        counts = (f"{what} ({count:,})" for what, count in file.passed_over.items())
        lines.append(f"  passed over: {', '.join(counts)}")
    if file.rows_refused:
        lines.append(f"  refused: {file.rows_refused:,} rows")
        lines += [f"    line {bad.line}: {bad.reason}" for bad in file.refused[:BAD_ROWS_SHOWN]]
        if file.rows_refused > BAD_ROWS_SHOWN:
            lines.append(f"    … and {file.rows_refused - BAD_ROWS_SHOWN:,} more")
    return lines


def _rows(file: FileReport) -> str:
    if file.rows_read in (0, file.rows):
        return f"{file.rows:,} rows"
    return f"{file.rows:,} readings from {file.rows_read:,} rows"


def _meters(count: int) -> str:
    return "1 meter" if count == 1 else f"{count:,} meters"


def _hinted(name: str) -> str:
    near = get_close_matches(name.lower(), READING_SCHEMA, n=1, cutoff=0.8)
    return f"{name} (did you mean {near[0]}? then --map {near[0]}={name})" if near else name


def _meter(meter: MeterSummary) -> dict[str, object]:
    return asdict(meter) | {"first": iso_utc(meter.first), "last": iso_utc(meter.last)}
