"""What `meterport import` and `meterport meters` do and print."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from meterport.bootstrap import connect, prepare
from meterport.domain.errors import MeterportError
from meterport.domain.period import iso_utc
from meterport.domain.readings import READING_SCHEMA, MeterSummary
from meterport.importers.base import BAD_ROWS_SHOWN, FileReport
from meterport.importers.options import ImportOptions
from meterport.processes import limit_memory
from meterport.services.import_readings import ImportReport, import_files
from meterport.services.receive_readings import heard, receive_readings, said_of
from meterport.settings import Settings


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
            audit=services.audit,
            progress=lambda rows: bar.update(task, completed=rows),
        )


def receive(settings: Settings, path: Path, words: str) -> str:
    """For the API, which waits for what is printed: a report or an error, as JSON."""
    limit_memory(settings.import_memory_bytes)
    try:
        services = connect(settings)
        report = receive_readings(
            path,
            *heard(json.loads(words)),
            source=services.source,
            store=services.readings,
            catalog=services.catalog,
            audit=services.audit,
        )
    except MeterportError as error:
        return json.dumps({"error": said_of(error)})
    return json.dumps({"report": report})


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
    return json.dumps(report.as_json())


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
