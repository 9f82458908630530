"""The command `meterport export`."""

from pathlib import Path
from typing import Annotated

import typer

from meterport.cli_base import Data, Json, home, say
from meterport.processes import stop_as_on_ctrl_c
from meterport.settings import Settings


def export(
    meters: Annotated[
        list[str], typer.Argument(metavar="METER...", help="One, or several, or the word all.")
    ],
    start: Annotated[str, typer.Option("--from", metavar="TIME", help="Date or date-time.")],
    end: Annotated[str, typer.Option("--to", metavar="TIME", help="The same; not included.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="- is standard output.")
    ] = None,
    format_: Annotated[str, typer.Option("--format", help="csv, json, ndjson, xml …")] = "csv",
    compression: Annotated[str, typer.Option(help="none, gzip, zstd or auto.")] = "none",
    columns: Annotated[str | None, typer.Option(help="Names with commas between them.")] = None,
    resolution: Annotated[str, typer.Option(help="raw, 1m, 5m, 15m, 30m, 1h, 1d, 1mo.")] = "raw",
    timezone: Annotated[str, typer.Option(metavar="ZONE", help="Of all times.")] = "UTC",
    gaps: Annotated[str, typer.Option(help="omit, null or flag.")] = "omit",
    interval_label: Annotated[str, typer.Option(help="start, end or both.")] = "start",
    with_count: Annotated[bool, typer.Option("--with-count", help="Readings per row.")] = False,
    delimiter: Annotated[str | None, typer.Option(help="Of CSV: , ; | or tab.")] = None,
    decimal: Annotated[str | None, typer.Option(help="Of CSV: . or ,")] = None,
    bom: Annotated[bool, typer.Option("--bom", help="Begin a CSV with a BOM.")] = False,
    no_header: Annotated[bool, typer.Option("--no-header", help="A CSV without names.")] = False,
    line_end: Annotated[str | None, typer.Option(help="Of CSV: lf or crlf.")] = None,
    layout: Annotated[str, typer.Option(help="one_file or file_per_meter.")] = "one_file",
    as_of: Annotated[int | None, typer.Option(help="Version of the readings.")] = None,
    manifest: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the manifest there; - as above.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Export readings to a file, here and now."""
    from meterport import export_here

    words: dict[str, object] = {
        "columns": None if columns is None else [name.strip() for name in columns.split(",")],
        "resolution": resolution,
        "timezone": timezone,
        "gaps": gaps,
        "interval_label": interval_label,
        "with_count": with_count,
        "csv": _csv_words(delimiter, decimal, line_end, bom=bom, header=not no_header),
        "layout": layout,
        "as_of": as_of,
    }
    wanted = export_here.Wanted(meters, start, end, format_, compression, words)
    targets = export_here.Targets(output, manifest, overwrite=force)
    if said := export_here.run(_home(data), wanted, targets, as_json=as_json):
        say(said)


def _home(data: Path | None) -> Settings:
    """Nothing half is left on it, also when the command is told to stop."""
    stop_as_on_ctrl_c()
    return home(data=data, log_level="error")


def _csv_words(
    delimiter: str | None, decimal: str | None, line_end: str | None, *, bom: bool, header: bool
) -> dict[str, object]:
    said = {"delimiter": delimiter, "decimal": decimal, "line_end": line_end}
    return {name: word for name, word in said.items() if word is not None} | {
        "bom": bom,
        "header": header,
    }
