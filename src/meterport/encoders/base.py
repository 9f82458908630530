"""What a format is: a record and a function."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import polars as pl


class Sink(Protocol):
    def write(self, data: bytes, /) -> object: ...


Encoder = Callable[[Iterable[pl.DataFrame], Sink], None]
"""Writes frames of READING_SCHEMA's default columns to a sink, one frame in memory."""


@dataclass(frozen=True)
class ExportFormat:
    """`append` writes what follows an earlier part of the same file; None: it has no parts."""

    name: str
    media_type: str
    extension: str
    encode: Encoder
    append: Encoder | None = None
