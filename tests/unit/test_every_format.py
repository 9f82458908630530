"""One meter in every format and compression: the same numbers, and bytes that depend on them alone.

Readings are loaded, asked for, worked on, opened, unpacked, and read by others' readers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import cycle, product
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from meterport.domain.exports import ExportRequest
from meterport.domain.options import Compression, CsvDialect
from meterport.domain.period import Period
from meterport.domain.readings import READING_SCHEMA
from meterport.ports import ReadingSource
from tests import make, readers
from tests.chaos.data_sets import VALUES, DataSet, as_held, long_set
from tests.readers import READERS, Row
from tests.unit.exports import exported

FORMATS = tuple(READERS)
PACKED = (Compression.NONE, Compression.GZIP, Compression.ZSTD)
WHOLE = 10**6
METER, ANOTHER = "6001234567", "6001234568"
WORDS = (None, None, "estimated", None, "substituted", "final_substituted")
AUTUMN, SPRING = datetime(2024, 10, 27, 1, tzinfo=UTC), datetime(2024, 3, 31, 1, tzinfo=UTC)
"""When Berlin's clocks change."""


def around(change: datetime) -> Period:
    """73 hours, from and to the midnight of no clock: a day more on either side of the change's."""
    midnight = change.replace(hour=0)
    return Period(midnight - timedelta(hours=26), midnight + timedelta(hours=47))


def rows(meter: str, change: datetime, interval_s: int) -> tuple[Row, ...]:
    """With feed-in and quality; values are missing in each column, some rows have none, some rows
    are missing, and numbers have up to seven digits."""
    period, step = around(change), timedelta(seconds=interval_s)
    found = [
        Row(
            period.start + n * step,
            interval_s,
            meter,
            energy_kwh=None if n % 11 == 3 else n * 7_654_321 % 10_000_019 / 1000,
            power_kw=None if n % 13 == 4 else -(n * 104_729 % 9_999_991) / 1000,
            voltage_v=None if n % 17 == 5 else 230 + n * 7919 % 10_007 / 10_000,
            current_a=None if n % 19 == 6 else n * 371_293 % 5_000_011 / 1000,
            energy_export_kwh=None if n % 7 == 2 else n * 2_654_435 % 8_000_009 / 1000,
            quality=WORDS[n // 5 % len(WORDS)],
        )
        for n in range((period.end - period.start) // step)
        if n % 41 != 40
    ]
    empty = dict.fromkeys(VALUES)
    return tuple(row.but(**empty) if n % 23 == 22 else row for n, row in enumerate(found))


READINGS = {AUTUMN: rows(METER, AUTUMN, 900), SPRING: rows(METER, SPRING, 1800)}
OTHERS = rows(ANOTHER, SPRING, 1800)


def frame(rows: Sequence[Row]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=READING_SCHEMA, orient="row")


def data_set(
    format_: str, change: datetime = AUTUMN, meters: tuple[str, ...] = (METER,)
) -> DataSet:
    readings, period = READINGS[change], around(change)
    return DataSet(format_, meters, readings, period, "Europe/Berlin", (), WHOLE, CsvDialect())


@pytest.fixture(scope="module")
def meters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[make.Home]:
    home = make.home(tmp_path_factory.mktemp("meters"))
    home.load(*map(frame, READINGS.values()), frame(OTHERS))
    yield home
    home.services.close()


@pytest.mark.parametrize("change", READINGS, ids=["quarters", "halves"])
@pytest.mark.parametrize("compression", PACKED)
@pytest.mark.parametrize("format_", FORMATS)
def test_others_read_what_was_loaded(
    format_: str, compression: Compression, change: datetime, meters: make.Home
) -> None:
    data = data_set(format_, change)

    text = readers.unpacked(exported(meters, data.request(compression)), compression)

    for read in READERS[format_]:
        assert readers.told(read(text)) == readers.told(as_held(data)), read


PLACES = dict.fromkeys(FORMATS, VALUES) | {"nem12": ("energy_kwh", "energy_export_kwh")}
"""The values that a format has a place for."""


def numbers(rows: Sequence[Row], columns: Sequence[str]) -> dict[tuple[datetime, str], float]:
    every = {(row.timestamp, name): getattr(row, name) for row in rows for name in columns}
    return {key: value for key, value in every.items() if value is not None}


def test_all_formats_tell_the_same_numbers(meters: make.Home) -> None:
    files = {name: exported(meters, data_set(name).request(Compression.NONE)) for name in FORMATS}

    told = [
        (format_, column, numbers(rows, [column]))
        for format_, data in files.items()
        for rows in [read(data) for read in READERS[format_]]
        for column in VALUES
    ]

    for format_, column, found in told:
        expected = numbers(READINGS[AUTUMN], [column]) if column in PLACES[format_] else {}
        assert found == expected, (format_, column)


def test_what_all_formats_tell_is_no_small_thing() -> None:
    """A clock that goes back and one that goes forward; empty values, empty rows, gaps, words."""
    for found in READINGS.values():
        steps = 73 * 3600 // found[0].interval_s
        kept = numbers(found, VALUES)
        empty = [row for row in found if not numbers([row], VALUES)]
        assert steps - len(found) == steps // 41
        assert len(empty) == len(found) // 23
        assert all(0 < sum(key[1] == name for key in kept) < len(found) for name in VALUES)
        assert {row.quality for row in found} == set(WORDS)


class Recut:
    """A source's frames, cut anew: each of those lengths in turn, whosever rows they are."""

    def __init__(self, source: ReadingSource, lengths: Sequence[int]) -> None:
        self._source, self._lengths = source, lengths

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def scan(self, *what: Any, **which: Any) -> Iterator[pl.DataFrame]:
        rest = pl.concat(self._source.scan(*what, **which))
        for length in cycle(self._lengths):
            yield rest[:length]
            rest = rest[length:]
            if rest.is_empty():
                return


@pytest.mark.parametrize("compression", PACKED)
@pytest.mark.parametrize("format_", FORMATS)
def test_how_a_source_cuts_its_frames_is_not_in_the_bytes(
    format_: str, compression: Compression, meters: make.Home
) -> None:
    request = data_set(format_, SPRING, (METER, ANOTHER)).request(compression)
    in_one = Recut(meters.services.source, [WHOLE])

    whole = exported(meters, request, source=in_one)

    for lengths in ([1], [7], [0, 95, 2, 300], [len(OTHERS)]):
        cut = Recut(meters.services.source, lengths)
        assert exported(meters, request, source=cut) == whole, lengths
    assert exported(meters, request) == whole


@pytest.mark.parametrize("format_", FORMATS)
def test_nor_is_it_in_a_gzip_of_many_blocks(format_: str, tmp_path: Path) -> None:
    """Deflate looks back over 32 KiB, and so over the ends of what it was given before."""
    data = long_set(format_, days=10)
    home = make.home(tmp_path, frame(data.rows))
    request = data.request(Compression.GZIP)

    whole = exported(home, request)

    for lengths in ([997], [5000, 1, 20]):
        cut = Recut(home.services.source, lengths)
        assert exported(home, request, source=cut) == whole, lengths
    home.services.close()


@dataclass(frozen=True)
class Corrected:
    """A home whose readings were changed since a version, and the files of that, made before."""

    home: make.Home
    version: int
    files: Mapping[tuple[str, Compression], bytes]


def of_version(version: int, format_: str, compression: Compression) -> ExportRequest:
    request = data_set(format_).request(compression)
    return replace(request, options=replace(request.options, as_of=version))


@pytest.fixture(scope="module")
def corrected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corrected]:
    """All numbers and words become others, what was missing is there; then it is all joined."""
    home = make.home(tmp_path_factory.mktemp("corrected"))
    version = home.load(frame(READINGS[AUTUMN])).version
    files = {
        named: exported(home, of_version(version, *named)) for named in product(FORMATS, PACKED)
    }
    start = around(AUTUMN).start
    home.load(make.readings(*[0.5] * 292, meter=METER, start=start, interval_s=900))
    home.load(frame(OTHERS))
    home.services.upkeep.compact(f"{AUTUMN:%Y-%m}", fence=lambda: None)
    yield Corrected(home, version, files)
    home.services.close()


@pytest.mark.parametrize("compression", PACKED)
@pytest.mark.parametrize("format_", FORMATS)
def test_a_version_has_the_same_bytes_after_later_imports(
    format_: str, compression: Compression, corrected: Corrected
) -> None:
    before = corrected.files[format_, compression]

    after = exported(corrected.home, of_version(corrected.version, format_, compression))

    assert after == before
    assert exported(corrected.home, data_set(format_).request(compression)) != before
