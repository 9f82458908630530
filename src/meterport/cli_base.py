"""What the commands have in common: options, the home they work on, their output."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from meterport.settings import Settings, load_settings

Data = Annotated[
    Path | None, typer.Option("--data", help="Home of database, readings and files.", metavar="DIR")
]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
LogLevel = Annotated[str | None, typer.Option(help="debug, info, warning or error.")]


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def home(**given: Any) -> Settings:
    """The settings of a home on which this process works until it ends."""
    from meterport.data_folder import hold_home

    settings = settings_of(**given)
    hold_home(settings)
    return settings


def settings_of(**given: Any) -> Settings:
    from meterport.telemetry import configure_logs

    settings = load_settings(**given)
    configure_logs(settings.log_format, settings.log_level)
    return settings
