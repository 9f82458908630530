"""Variants of the product that do not write quite what they should: R20 must notice each."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import polars as pl
import polars.selectors as cs
import pytest

from meterport.adapters.local_files import LocalFiles
from meterport.domain.errors import FormatCannotHold
from meterport.encoders import compression, csv, espi, espi_values, nem12, pieces, xlsx
from meterport.services import run_export

Frames = Iterable[pl.DataFrame]
Spoil = Callable[[pytest.MonkeyPatch], None]


def _encode(patch: pytest.MonkeyPatch, spoiled: Callable[[Frames], Frames]) -> None:
    encode = run_export._Task.encode

    def spoilt(self: Any, frames: Frames, *rest: Any) -> None:
        encode(self, spoiled(frames), *rest)

    patch.setattr(run_export._Task, "encode", spoilt)


def nulls_become_zero(patch: pytest.MonkeyPatch) -> None:
    """What is missing is written as zero."""
    _encode(patch, lambda frames: (f.with_columns(cs.float().fill_null(0.0)) for f in frames))


def rounded_to_six_digits(patch: pytest.MonkeyPatch) -> None:
    """Values lose what comes after the sixth digit."""
    _encode(patch, lambda frames: (f.with_columns(cs.float().round_sig_figs(6)) for f in frames))


def zeros_without_sign(patch: pytest.MonkeyPatch) -> None:
    """-0.0 is written as 0.0."""
    unsigned = pl.when(cs.float() != 0.0).then(cs.float()).otherwise(cs.float().abs())
    _encode(patch, lambda frames: (f.with_columns(unsigned) for f in frames))


def last_frame_dropped(patch: pytest.MonkeyPatch) -> None:
    """The last frame is read and counted, but not written."""

    def without_last(frames: Frames) -> Iterator[pl.DataFrame]:
        waiting: list[pl.DataFrame] = []
        for frame in frames:
            yield from waiting
            waiting = [frame]

    _encode(patch, without_last)


def one_offset_for_all(patch: pytest.MonkeyPatch) -> None:
    """The offset of the first time is that of all, also when the clock has been changed."""

    def with_first_offset(times: pl.Series, zone: str) -> pl.Series:
        local = times.dt.convert_time_zone(zone)
        said = local.dt.to_string("%Y-%m-%dT%H:%M:%S%:z")
        suffix = said.head(1).str.tail(6).new_from_index(0, times.len())
        return (said.str.head(19) + suffix).alias(times.name)

    patch.setattr(pieces, "local_text", with_first_offset)


def gzip_without_trailer(patch: pytest.MonkeyPatch) -> None:
    """The length and checksum at the end are missing."""
    _flush(patch, "gzip", lambda flushed: flushed[:-8])


def zstd_frame_not_ended(patch: pytest.MonkeyPatch) -> None:
    """The checksum at the end is missing."""
    _flush(patch, "zstd", lambda flushed: flushed[:-4])


def _flush(patch: pytest.MonkeyPatch, spoilt: str, change: Callable[[bytes], bytes]) -> None:
    compressor_of = compression._compressor

    class Spoilt:
        def __init__(self, compressor: Any) -> None:
            self.compress = compressor.compress
            self._flush = compressor.flush

        def flush(self) -> bytes:
            return change(self._flush())

    def chosen(wanted: Any) -> Any:
        made = compressor_of(wanted)
        return Spoilt(made) if wanted == spoilt else made

    patch.setattr(compression, "_compressor", chosen)


def any_number_fits_a_cell(patch: pytest.MonkeyPatch) -> None:
    """Excel would change some of them."""
    patch.setattr(xlsx, "_refuse_where", lambda *what: None)


def green_button_rounds(patch: pytest.MonkeyPatch) -> None:
    """A value that no multiplier holds is taken for one that has no digits behind the point."""
    spans = espi_values.spans

    def any_other(values: Any, *, shift: int) -> Any:
        return tuple(
            np.where(found == espi_values.NOT_HELD, 0, found)
            for found in spans(values, shift=shift)
        )

    patch.setattr(espi, "spans", any_other)


def nem12_takes_any_length(patch: pytest.MonkeyPatch) -> None:
    """Readings of any length stand in days of half hours."""
    patch.setattr(nem12, "_interval_s", lambda day: 1800)
    patch.setattr(
        nem12, "_slots", lambda day, length: (day["timestamp"].dt.epoch("s") // 1800 % 48).to_list()
    )


def refused_file_is_left(patch: pytest.MonkeyPatch) -> None:
    """What was written before the refusal can be had."""
    draft = LocalFiles.draft

    @contextmanager
    def published(self: LocalFiles, key: str) -> Iterator[Any]:
        refusal = None
        with draft(self, key) as made:
            try:
                yield made
            except FormatCannotHold as error:
                made.publish()
                refusal = error
        if refusal:
            raise refusal

    patch.setattr(LocalFiles, "draft", published)
    patch.setattr(LocalFiles, "delete", lambda self, key: None)


def decimal_comma_forgotten(patch: pytest.MonkeyPatch) -> None:
    """The dialect's decimal sign is not asked for."""
    rows = csv.rows

    def with_points(frame: pl.DataFrame, sheet: Any) -> bytes:
        text = rows(frame, sheet)
        return text.replace(b",", b".") if sheet.csv.decimal == "," else text

    patch.setattr(csv, "rows", with_points)


TEETH: Mapping[str, tuple[Spoil, str, str]] = {
    f"{spoil.__name__}-{format_}": (spoil, format_, packed)
    for spoil, formats, packed in (
        (nulls_become_zero, ("csv", "json", "ndjson", "xml", "nem12", "parquet", "xlsx"), "none"),
        (rounded_to_six_digits, ("csv", "json", "xml", "nem12", "parquet", "xlsx"), "none"),
        (zeros_without_sign, ("csv", "json", "ndjson", "parquet"), "none"),
        (last_frame_dropped, ("csv", "json", "ndjson", "xml", "nem12", "parquet", "xlsx"), "gzip"),
        (one_offset_for_all, ("csv", "json", "ndjson", "xlsx"), "none"),
        (gzip_without_trailer, ("csv", "parquet"), "gzip"),
        (zstd_frame_not_ended, ("ndjson", "xlsx"), "zstd"),
        (any_number_fits_a_cell, ("xlsx",), "none"),
        (green_button_rounds, ("xml",), "none"),
        (nem12_takes_any_length, ("nem12",), "none"),
        (refused_file_is_left, ("xlsx", "xml", "nem12"), "none"),
        (decimal_comma_forgotten, ("csv",), "none"),
    )
    for format_ in formats
}
"""The variant, and the format and compression in which it is looked for."""
