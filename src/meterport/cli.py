"""The command line: parses, then calls. A user's mistake is one line, never a traceback.

Exit codes: 0 done · 1 it could not be done, the line says why · 2 the command line is wrong.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from meterport import __version__
from meterport.client import MeterportRefused
from meterport.domain.errors import MeterportError
from meterport.settings import Settings, load_settings

app = typer.Typer(
    help="Export smart-meter interval data: exact, whole, durable.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
db = typer.Typer(help="The database of jobs.", no_args_is_help=True)
config = typer.Typer(help="The settings.", no_args_is_help=True)
app.add_typer(db, name="db")
app.add_typer(config, name="config")

Data = Annotated[
    Path | None, typer.Option("--data", help="Home of database, readings and files.", metavar="DIR")
]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
LogLevel = Annotated[str | None, typer.Option(help="debug, info, warning or error.")]


def main() -> None:
    try:
        app()
    except (MeterportError, MeterportRefused) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _fail("stopped")


def _fail(message: str) -> None:
    sys.stderr.write(f"meterport: {message}\n")
    sys.exit(1)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _settings(**given: Any) -> Settings:
    from meterport.telemetry import configure_logs

    settings = load_settings(**given)
    configure_logs(settings.log_format, settings.log_level)
    return settings


@app.callback(invoke_without_command=True)
def meterport(
    version: Annotated[bool, typer.Option("--version", help="Show the version and leave.")] = False,
) -> None:
    if version:
        _say(__version__)
        raise typer.Exit


@app.command()
def demo(
    data: Data = None,
    meters: Annotated[int, typer.Option(min=0, max=1_000_000, help="Load-test meters.")] = 0,
    days: Annotated[int, typer.Option(min=1, max=4_000, help="Days of each of them.")] = 30,
    stay: Annotated[bool, typer.Option("--stay", help="Keep serving afterwards.")] = False,
) -> None:
    """Load demo meters, serve, run one export through HTTP and show it."""
    from meterport.demo import run_demo

    settings = _settings(data=data, log_level="warning")
    run_demo(settings, extra_meters=meters, days=days, stay=stay)


@app.command()
def serve(
    data: Data = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes.")] = None,
    log_level: LogLevel = None,
) -> None:
    """Serve the API and run its workers until Ctrl-C."""
    from meterport import serve as service

    settings = _settings(data=data, host=host, port=port, workers=workers, log_level=log_level)

    def ready(base_url: str) -> None:
        _say(
            f"meterport {__version__} on {base_url} with {settings.workers} workers, "
            f"data in {settings.data}; stop with Ctrl-C"
        )

    service.serve(settings, ready=ready)


@app.command()
def worker(
    data: Data = None,
    wake_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
    log_level: LogLevel = None,
) -> None:
    """Run one worker process beside those of `serve`."""
    from meterport.worker import run_worker

    settings = _settings(data=data, log_level=log_level)
    run_worker(settings, wake_fd=wake_fd, parent=parent)


@app.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(help="CSV or Parquet files.", metavar="FILE...")],
    data: Data = None,
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="COLUMN=SOURCE[:UNIT]",
            help="Where a column of ours stands in the file; may be repeated.",
        ),
    ] = None,
    meter: Annotated[
        str | None, typer.Option(metavar="ID", help="The meter, where the file does not name it.")
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="Zone of timestamps without an offset.")
    ] = None,
    interval: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=31 * 86_400,
            metavar="SECONDS",
            help="Length of an interval, if not in the file.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Import readings, all files as one version or nothing."""
    from meterport import cli_import

    options = cli_import.options(map_ or [], meter=meter, timezone=timezone, interval_s=interval)
    report = cli_import.run(_settings(data=data), files, options)
    _say(cli_import.as_json(report) if as_json else cli_import.as_text(report))


@app.command()
def meters(data: Data = None, as_json: Json = False) -> None:
    """List the meters whose readings are stored."""
    from meterport import cli_import

    _say(cli_import.meters(_settings(data=data), as_json=as_json))


@db.command()
def upgrade(data: Data = None) -> None:
    """Bring the database to this version's schema."""
    from meterport.bootstrap import upgrade_schema

    upgrade_schema(_settings(data=data))
    _say("the database is up to date")


@config.command()
def show(data: Data = None) -> None:
    """Show every setting as it stands, as JSON."""
    settings = _settings(data=data)
    _say(json.dumps(settings.model_dump(mode="json"), indent=2))


@app.command()
def openapi() -> None:
    """Print the API's OpenAPI document."""
    from meterport.web.app import document

    _say(json.dumps(document(), indent=2))
