"""What `meterport import` and `meterport meters` read from the command line and print."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from meterport.bootstrap import prepare
from meterport.domain.errors import ImportRefused, shown
from meterport.domain.exports import check_smart_meter_id
from meterport.domain.period import iso_utc
from meterport.domain.readings import READING_SCHEMA, MeterSummary
from meterport.importers.base import UNITS, ColumnSource, FileReport, ImportOptions
from meterport.services.import_readings import ImportReport, import_files
from meterport.settings import Settings


def options(
    maps: Sequence[str], *, meter: str | None, timezone: str | None, interval_s: int | None
) -> ImportOptions:
    return ImportOptions(
        mapping=dict(_mapped(text) for text in maps),
        smart_meter_id=None if meter is None else check_smart_meter_id(meter),
        timezone=None if timezone is None else _zone(timezone),
        interval_s=interval_s,
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


def _mapped(text: str) -> tuple[str, ColumnSource]:
    ours, equals, source = text.partition("=")
    if not equals or not source:
        raise ImportRefused(f"--map {shown(text)}: write COLUMN=SOURCE or COLUMN=SOURCE:UNIT")
    if ours not in READING_SCHEMA:
        near = get_close_matches(ours, READING_SCHEMA, n=1)
        hint = f"did you mean {near[0]}?" if near else f"ours are {', '.join(READING_SCHEMA)}"
        raise ImportRefused(f"--map: {shown(ours)} is no column of ours; {hint}")
    name, colon, unit = source.rpartition(":")
    if not colon:
        return ours, ColumnSource(source, next(iter(UNITS[ours])))
    if unit not in UNITS[ours]:
        raise ImportRefused(
            f"--map {ours}: unknown unit {shown(unit)}; known: {', '.join(UNITS[ours])}"
        )
    return ours, ColumnSource(name, unit)


def _zone(name: str) -> ZoneInfo:
    try:
        pl.Series([], dtype=pl.Datetime("us")).dt.replace_time_zone(name)
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError, pl.exceptions.PolarsError) as error:
        raise ImportRefused(
            f"--timezone {shown(name)} is unknown; write one such as UTC or Europe/Berlin"
        ) from error


def _file_lines(file: FileReport) -> list[str]:
    lines = [f"{file.path.name}: {file.rows:,} rows"]
    if file.ignored_columns:
        lines.append(f"  ignored columns: {', '.join(map(_hinted, file.ignored_columns))}")
    if file.missing_columns:
        lines.append(f"  missing columns: {', '.join(file.missing_columns)}")
    if file.unknown_register_steps:
        lines.append(f"  register steps left empty (gap or reset): {file.unknown_register_steps:,}")
    if file.passed_over:
        counts = (f"{what} ({count:,})" for what, count in file.passed_over.items())
        lines.append(f"  passed over: {', '.join(counts)}")
    return lines


def _meters(count: int) -> str:
    return "1 meter" if count == 1 else f"{count:,} meters"


def _hinted(name: str) -> str:
    near = get_close_matches(name.lower(), READING_SCHEMA, n=1, cutoff=0.8)
    return f"{name} (did you mean {near[0]}? then --map {near[0]}={name})" if near else name


def _meter(meter: MeterSummary) -> dict[str, object]:
    return asdict(meter) | {"first": iso_utc(meter.first), "last": iso_utc(meter.last)}
