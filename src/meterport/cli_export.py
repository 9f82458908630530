"""The command `meterport export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meterport.cli_base import Data, Json, home, say
from meterport.processes import stop_as_on_ctrl_c

if TYPE_CHECKING:
    from meterport.export_targets import Targets, Wanted


Meters = Annotated[
    list[str], typer.Argument(metavar="METER...", help="One, or several, or the word all.")
]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", help="- is standard output.")
]
Manifest = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the manifest there; - as above.")
]


def export(
    meters: Meters,
    start: Annotated[str, typer.Option("--from", metavar="TIME", help="Date or date-time.")],
    end: Annotated[str, typer.Option("--to", metavar="TIME", help="The same; not included.")],
    output: Output = None,
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
    manifest: Manifest = None,
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
    server: Annotated[
        str | None, typer.Option(metavar="URL", help="Ask that service, not a home here.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Export readings to a file, here and now or from a service."""
    from meterport.export_targets import Targets, Wanted

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
    wanted = Wanted(meters, start, end, format_, compression, words)
    targets = Targets(output, manifest, overwrite=force)
    if said := _run(wanted, targets, server=server, data=data, as_json=as_json):
        say(said)


def _run(
    wanted: "Wanted", targets: "Targets", *, server: str | None, data: Path | None, as_json: bool
) -> str | None:
    """Nothing half is left, also when the command is told to stop."""
    from meterport import export_here, export_there
    from meterport.settings import load_settings

    stop_as_on_ctrl_c()
    if server is not None:
        key = load_settings().api_key.get_secret_value() or None
        return export_there.run(server, key, wanted, targets, as_json=as_json)
    return export_here.run(home(data=data, log_level="error"), wanted, targets, as_json=as_json)


def _csv_words(
    delimiter: str | None, decimal: str | None, line_end: str | None, *, bom: bool, header: bool
) -> dict[str, object]:
    said = {"delimiter": delimiter, "decimal": decimal, "line_end": line_end}
    return {name: word for name, word in said.items() if word is not None} | {
        "bom": bom,
        "header": header,
    }
