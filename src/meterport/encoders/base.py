"""What a format is: a record and a function."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import polars as pl

from meterport.domain.readings import DEFAULT_COLUMNS
from meterport.domain.sheets import Sheet


class Sink(Protocol):
    def write(self, data: bytes, /) -> object: ...


Encoder = Callable[[Iterable[pl.DataFrame], Sink, Sheet], None]
"""Writes frames with the sheet's columns to a sink, one frame in memory."""


class Cut(IntEnum):
    """Where the bodies of several files may be put together to one: never, between meters,
    or anywhere between rows."""

    NEVER = 0
    METERS = 1
    ROWS = 2


def nothing(sheet: Sheet) -> bytes:
    return b""


@dataclass(frozen=True)
class ExportFormat:
    """A file is head, body and foot.

    `columns`: those of a file unless others are asked for.
    `needs`: what the body is made of, whatever is asked for; values that were not asked for then
    come as null. None: the columns that are asked for.
    `qualities`: the only ones that it has a word for, the surest first; none: it takes any.
    `steps_s`: the lengths of the intervals to which readings may be merged for it; None: any.
    `row_bytes`: about how long a row is; 0 where the format itself compresses.
    """

    name: str
    media_type: str
    extension: str
    body: Encoder
    head: Callable[[Sheet], bytes] = nothing
    foot: bytes = b""
    cut: Cut = Cut.NEVER
    columns: tuple[str, ...] = DEFAULT_COLUMNS
    needs: tuple[str, ...] | None = None
    qualities: tuple[str | None, ...] = ()
    steps_s: tuple[int, ...] | None = None
    row_bytes: int = 0

    def encode(self, frames: Iterable[pl.DataFrame], sink: Sink, sheet: Sheet) -> None:
        sink.write(self.head(sheet))
        self.body(frames, sink, sheet)
        sink.write(self.foot)
