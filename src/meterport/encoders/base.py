"""What a format is: a record and a function."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import polars as pl


class Sink(Protocol):
    def write(self, data: bytes, /) -> object: ...


@dataclass(frozen=True)
class ExportFormat:
    """`encode` writes frames of READING_SCHEMA's default columns to a sink, one frame in memory."""

    name: str
    media_type: str
    extension: str
    encode: Callable[[Iterable[pl.DataFrame], Sink], None]
