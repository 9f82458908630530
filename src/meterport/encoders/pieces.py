"""Frames cut into pieces of flat memory, looked over, with times as text.

Shape: the sheet's columns in the sheet's order; no empty pieces; at most PIECE_ROWS rows.
Check: keys are there and numbers are finite, as READING_SCHEMA has it; else the source is broken.
Text:  times are ISO 8601 to the second, in the sheet's zone: Z for UTC, else the offset.
"""

from collections.abc import Iterable, Iterator

import polars as pl
import polars.selectors as cs

from meterport.domain.errors import FormatCannotHold, SourceDataInvalid
from meterport.domain.readings import KEY
from meterport.domain.sheets import Sheet
from meterport.domain.zones import local_text

PIECE_ROWS = 65_536
MOST_CHARACTERS = len("2024-01-01T00:00:00+00:00")


def pieces(frames: Iterable[pl.DataFrame], sheet: Sheet) -> Iterator[pl.DataFrame]:
    for frame in frames:
        for piece in frame.select(sheet.columns).iter_slices(PIECE_ROWS):
            if piece.height:
                _check(piece)
                yield piece


def times_as_text(piece: pl.DataFrame, zone: str) -> pl.DataFrame:
    times = [local_text(time, zone) for time in piece.select(cs.datetime())]
    if any((text.str.len_bytes() > MOST_CHARACTERS).any() for text in times):
        raise FormatCannotHold(
            f"An offset of {zone} in that period is not of whole minutes; ISO 8601 has none such",
            "Ask for the time zone UTC",
        )
    return piece.with_columns(times)


def _check(piece: pl.DataFrame) -> None:
    for name in KEY:
        if name in piece.columns and piece[name].null_count():
            raise SourceDataInvalid(
                f"A reading has no {name}", "Mend the readings, then ask for the export again"
            )
    for column in piece.select(cs.float()):
        if not column.is_finite().all():
            raise SourceDataInvalid(
                f"{column.name} has a value that is not a finite number",
                "Mend the readings, then ask for the export again",
            )
