"""A file for each meter, in a zip that is written front to back.

Shape: entries in the order of the meters, deflated; a meter without readings has a file too.
Names: fit for Windows and macOS, where no name may have a colon, nor differ in case alone.
Bytes: the archive's own times are fixed, so that the same rows make the same bytes.
"""

import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, cast

import polars as pl

from meterport.domain.sheets import Sheet
from meterport.encoders.base import ExportFormat, Sink
from meterport.encoders.sinks import SinkFile

EARLIEST = (1980, 1, 1, 0, 0, 0)
UNIX = 3  # else an entry names the machine's own system
LEVEL = 1


def encode_each(
    frames: Iterable[pl.DataFrame],
    sink: Sink,
    sheet: Sheet,
    format: ExportFormat,  # noqa: A002 - the contract's word
    *,
    name_of: Callable[[str], str],
) -> None:
    """`frames` have smart_meter_id beside the sheet's columns, in order of the sheet's meters."""
    waiting = _Queue(frames)
    called = names(sheet.meters)
    with zipfile.ZipFile(cast(IO[bytes], SinkFile(sink)), "w") as archive:
        for meter in sheet.meters:
            # A file may turn out larger than 4 GiB; only zip64 can say so afterwards.
            with archive.open(entry(name_of(called[meter])), "w", force_zip64=True) as file:
                format.encode(waiting.of(meter), file, sheet.of_one(meter))


def names(meters: Iterable[str]) -> Mapping[str, str]:
    """What each meter is called in the names of entries; no id has a plus or a tilde."""
    called, seen = {}, Counter[str]()
    for meter in meters:
        seen[meter.lower()] += 1
        number = seen[meter.lower()]
        called[meter] = meter.replace(":", "+") + (f"~{number}" if number > 1 else "")
    return called


def entry(name: str) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name, EARLIEST)
    made.compress_type = zipfile.ZIP_DEFLATED
    made.create_system = UNIX
    setattr(made, "_compresslevel", LEVEL)  # noqa: B010 - before Python 3.13 it has no public name
    return made


class _Queue:
    """Frames of many meters, taken meter by meter."""

    def __init__(self, frames: Iterable[pl.DataFrame]) -> None:
        self._pieces = (
            piece
            for frame in frames
            if frame.height
            for piece in frame.partition_by("smart_meter_id", maintain_order=True)
        )
        self._next = next(self._pieces, None)

    def of(self, meter: str) -> Iterator[pl.DataFrame]:
        while self._next is not None and self._next["smart_meter_id"][0] == meter:
            yield self._next
            self._next = next(self._pieces, None)
