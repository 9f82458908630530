"""The command line: parses, then calls. A user's mistake is one line, never a traceback.

Exit codes: 0 done · 1 it could not be done, the line says why · 2 the command line is wrong ·
130 stopped, as by Ctrl-C.
"""

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from meterport import __version__
from meterport.cli_audit import audit
from meterport.cli_base import Data, Json, LogLevel, home, say, settings_of
from meterport.cli_export import export
from meterport.cli_import import import_, receive
from meterport.cli_keys import keys
from meterport.client import MeterportRefused
from meterport.domain.errors import MeterportError
from meterport.domain.jobs import Lane

app = typer.Typer(
    help="Export smart-meter interval data: exact, whole, durable.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
db = typer.Typer(help="The database of jobs.", no_args_is_help=True)
config = typer.Typer(help="The settings.", no_args_is_help=True)
jobs = typer.Typer(help="The exports that were asked for.", invoke_without_command=True)
app.add_typer(db, name="db")
app.add_typer(config, name="config")
app.add_typer(jobs, name="jobs")
app.add_typer(keys, name="keys")
app.add_typer(audit, name="audit")
app.command()(export)
app.command("import")(import_)
app.command(hidden=True)(receive)


def main() -> None:
    # Load profiles show when people are at home: what we write is for its owner only.
    os.umask(0o077)
    try:
        app()
    except MeterportError as error:
        details = f" ({error.details})" if error.details else ""
        _fail(f"{error.code}: {error.message}{details}")
    except MeterportRefused as error:
        _fail(f"{error.code}: {error}")
    except KeyboardInterrupt:
        _fail("stopped")


def _fail(message: str) -> None:
    sys.stderr.write(f"meterport: {message}\n")
    sys.exit(1)


@app.callback(invoke_without_command=True)
def meterport(
    version: Annotated[bool, typer.Option("--version", help="Show the version and leave.")] = False,
) -> None:
    if version:
        say(__version__)
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

    settings = home(data=data, log_level="warning")
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

    settings = home(data=data, host=host, port=port, workers=workers, log_level=log_level)

    def ready(base_url: str) -> None:
        say(
            f"meterport {__version__} on {base_url} with {settings.workers} workers, "
            f"data in {settings.data}; stop with Ctrl-C"
        )

    service.serve(settings, ready=ready)


@app.command()
def worker(
    data: Data = None,
    wake_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
    lanes: Annotated[
        list[Lane] | None, typer.Option("--lane", help="Take jobs of that lane only.")
    ] = None,
    log_level: LogLevel = None,
) -> None:
    """Run one worker process beside those of `serve`."""
    from meterport.worker import run_worker

    settings = home(data=data, log_level=log_level)
    run_worker(settings, wake_fd=wake_fd, parent=parent, lanes=lanes or tuple(Lane))


@app.command()
def api(
    data: Data = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.")] = None,
    log_level: LogLevel = None,
) -> None:
    """Serve the API alone; workers and housekeeping run elsewhere."""
    from meterport import serve as service

    settings = home(data=data, host=host, port=port, log_level=log_level)
    service.serve_api(settings, ready=lambda url: say(f"meterport {__version__} on {url}"))


@app.command()
def housekeeping(
    data: Data = None,
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
    log_level: LogLevel = None,
) -> None:
    """Run the clock-driven work; `serve` does so by itself."""
    from meterport.housekeeping import run_housekeeping

    run_housekeeping(home(data=data, log_level=log_level), parent=parent)


@app.command()
def meters(data: Data = None, as_json: Json = False) -> None:
    """List the meters whose readings are stored."""
    from meterport import import_here

    say(import_here.meters(home(data=data), as_json=as_json))


@jobs.callback()
def list_jobs(
    context: typer.Context,
    data: Data = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 20,
    as_json: Json = False,
) -> None:
    """List the newest exports; or cancel one, or run one again."""
    context.obj = data
    if context.invoked_subcommand is None:
        from meterport import cli_jobs

        say(cli_jobs.listed(home(data=data), limit=limit, as_json=as_json))


@jobs.command()
def cancel(context: typer.Context, job_id: str, data: Data = None) -> None:
    """Call an export off that has not ended."""
    from meterport import cli_jobs

    say(cli_jobs.cancelled(home(data=data or context.obj), job_id))


@jobs.command()
def manifest(context: typer.Context, job_id: str, data: Data = None) -> None:
    """Say how complete a finished export is: gaps, days, totals, checks. As JSON."""
    from meterport import cli_jobs

    for text in cli_jobs.manifest(home(data=data or context.obj), job_id):
        sys.stdout.write(text)


@jobs.command()
def rerun(context: typer.Context, job_id: str, data: Data = None) -> None:
    """Ask for an export once more, from the same version of the readings if it is still kept."""
    from meterport import cli_jobs

    say(cli_jobs.run_again(home(data=data or context.obj), job_id))


@app.command()
def doctor(
    data: Data = None,
    scrub: Annotated[bool, typer.Option("--scrub", help="Read every file through.")] = False,
    as_json: Json = False,
) -> None:
    """Look the data folder over and say what to do; changes nothing."""
    from meterport import cli_jobs

    report, healthy = cli_jobs.examined(home(data=data), scrub=scrub, as_json=as_json)
    say(report)
    if not healthy:
        raise typer.Exit(1)


@app.command()
def backup(
    target: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")],
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Back up jobs, readings and files, also while the service runs."""
    from meterport import cli_backup

    report, whole = cli_backup.backed_up(home(data=data), target, as_json=as_json)
    say(report)
    if not whole:
        raise typer.Exit(1)


@app.command()
def restore(
    backup: Annotated[Path, typer.Argument(help="A folder that `meterport backup` made.")],
    data: Data = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in place of what is there.")
    ] = False,
    erasures: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Meters to erase again, from `erase --list`."),
    ] = None,
) -> None:
    """Put a backup in place; the service must not run."""
    from meterport import cli_backup

    settings = settings_of(data=data)
    say(cli_backup.restored(settings, backup, replace=replace, erasures=erasures))


@app.command()
def erase(
    meter: Annotated[str | None, typer.Argument(metavar="METER")] = None,
    data: Data = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="List the erased meters.")] = False,
) -> None:
    """Erase a meter's readings from every version, and its files; for ever."""
    from meterport import cli_backup

    if listed or meter is None:
        say(cli_backup.erasures(home(data=data)))
        return
    if not yes:
        typer.confirm(f"Erase every reading and file of meter {meter}, for ever?", abort=True)
    say(cli_backup.erased(home(data=data), meter))


@db.command()
def upgrade(data: Data = None) -> None:
    """Bring the database to this version's schema."""
    from meterport.bootstrap import upgrade_schema

    upgrade_schema(home(data=data))
    say("the database is up to date")


@config.command()
def show(data: Data = None) -> None:
    """Show every setting as it stands, as JSON."""
    settings = settings_of(data=data)
    say(json.dumps(settings.shown(), indent=2))


@app.command()
def openapi() -> None:
    """Print the API's OpenAPI document."""
    from meterport.web.app import document

    say(json.dumps(document(), indent=2))
