"""What `meterport doctor` finds: each with what to do about it."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """`remedy` is empty where nothing needs to be done."""

    level: Level
    about: str
    message: str
    remedy: str = ""


def ok(about: str, message: str) -> Finding:
    return Finding(Level.OK, about, message)


def warning(about: str, message: str, remedy: str) -> Finding:
    return Finding(Level.WARNING, about, message, remedy)


def error(about: str, message: str, remedy: str) -> Finding:
    return Finding(Level.ERROR, about, message, remedy)
