"""Drawn readings, and what each format is declared to hold of them: worked out in decimals.

A data set is some meters' readings, how a source cuts them into frames, and how they are asked for.
Most have only what the format holds; the others anything that can be imported.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from itertools import accumulate, pairwise

import polars as pl
from hypothesis import strategies as st

from meterport.domain.exports import ExportRequest
from meterport.domain.options import Compression, CsvDialect, ExportOptions
from meterport.domain.period import Period, iso_utc
from meterport.domain.readings import READING_SCHEMA, MeterSummary
from meterport.domain.shapes import Shape
from tests.readers import CHANNELS, ESPI_QUALITY, MARKET_TIME, METHODS, Row
from tests.unit import clocks

VALUES = ("energy_kwh", "power_kw", "voltage_v", "current_a", "energy_export_kwh")
TENS = dict(CHANNELS.values())
MONROVIA = "Africa/Monrovia"
"""Its clocks were 44 minutes and 30 seconds behind until 1972."""

FAR = (
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2150, 7, 1, tzinfo=UTC),
    datetime(2199, 12, 31, 23, tzinfo=UTC),
)


@dataclass(frozen=True)
class DataSet:
    """`rows` in order of meters and times; `cuts`: lengths of the source's frames."""

    format: str
    meters: tuple[str, ...]
    rows: tuple[Row, ...]
    period: Period
    zone: str
    cuts: tuple[int, ...]
    part_rows: int
    dialect: CsvDialect

    def request(self, compression: Compression) -> ExportRequest:
        # NEM12 refuses to be asked for what it has no place for; left out, it has all it can hold.
        columns = None if self.format == "nem12" else Row._fields
        options = ExportOptions(Shape(zone=self.zone, columns=columns), self.dialect)
        how = {"compression": compression, "options": options}
        if len(self.meters) == 1:
            return ExportRequest(self.meters[0], self.period, self.format, **how)  # type: ignore[arg-type]
        return ExportRequest.of_fleet(self.meters, self.period, self.format, **how)  # type: ignore[arg-type]


class InMemory:
    """The source of a data set, and the catalogue of its meters."""

    def __init__(self, data: DataSet) -> None:
        self._data = data

    def version(self) -> int:
        return 1

    def keeps(self, version: int) -> bool:
        return version == 1

    def made_at(self, version: int) -> datetime:
        return datetime(2024, 2, 3, tzinfo=UTC)

    def scan(
        self, meters: Sequence[str], period: Period, *, columns: Sequence[str], version: int
    ) -> Iterator[pl.DataFrame]:
        rows = [
            row
            for row in self._data.rows
            if row.smart_meter_id in meters and period.start <= row.timestamp < period.end
        ]
        bounds = [0, *accumulate(self._data.cuts), len(rows)]
        for start, end in pairwise(bounds):
            frame = pl.DataFrame(rows[start:end], schema=READING_SCHEMA, orient="row")
            yield frame.select(columns)

    def summaries(
        self, version: int | None = None, *, meters: Collection[str] | None = None
    ) -> Iterator[MeterSummary]:
        for meter in self._data.meters if meters is None else sorted(meters):
            own = [row for row in self._data.rows if row.smart_meter_id == meter]
            first, last, interval_s = self._data.period.start, self._data.period.start, 900
            if own:
                first, last, interval_s = own[0].timestamp, own[-1].timestamp, own[-1].interval_s
            yield MeterSummary(meter, first, last, interval_s, len(own))

    def some(self, meters: Collection[str]) -> Mapping[str, MeterSummary]:
        return {each.smart_meter_id: each for each in self.summaries(meters=meters)}


def data_sets(format: str) -> st.SearchStrategy[DataSet]:  # noqa: A002 - the contract's word
    """Two of three have nothing but what the format holds."""
    return st.sampled_from([True, True, False]).flatmap(
        lambda plain: _data_set(format, plain=plain)
    )


@st.composite
def _data_set(draw: st.DrawFn, format: str, *, plain: bool) -> DataSet:  # noqa: A002
    meters = tuple(sorted(draw(st.sets(_METERS, min_size=1, max_size=3))))
    if not plain:
        meters = draw(st.sampled_from([meters, ("an-id-of-17-signs",)]))
    in_monrovia = st.just((MONROVIA, datetime(1971, 1, 1, tzinfo=UTC)))
    zone, start = draw(_WHEN if plain else _WHEN | in_monrovia)
    lengths = st.sampled_from([300, 900, 1800] if format == "nem12" and plain else _LENGTHS)
    values, quality = _values(format, plain=plain), _quality(format, plain=plain)
    rows: list[Row] = []
    for meter in meters:
        length = draw(lengths)
        at = start if start in FAR else start - timedelta(seconds=draw(st.integers(0, 6)) * length)
        steps = st.tuples(st.sampled_from([1, 1, 1, 2, 50]), *[values] * 5, quality)
        for step, *numbers, word in draw(st.lists(steps, max_size=12)):
            rows.append(Row._make((at, length, meter, *numbers, word)))
            at += timedelta(seconds=length * step)
            if not plain and draw(st.integers(0, 9)) == 0:
                length = draw(lengths)
    times = [row.timestamp for row in rows] or [start]
    return DataSet(
        format,
        meters,
        tuple(rows),
        Period(min(times), max(times) + timedelta(days=1)),
        zone,
        tuple(draw(st.lists(st.integers(1, 9), max_size=3))),
        draw(st.sampled_from([3, 1_000_000, 1_000_000])),
        draw(_DIALECTS) if format == "csv" else CsvDialect(),
    )


_METERS = st.sampled_from(["123", "9", "A.b:c-d_e", "Zz"])
_LENGTHS = [60, 300, 900, 1800, 3600, 86_400, 7]
_DIALECTS = st.builds(
    CsvDialect,
    delimiter=st.sampled_from([";", "|", "\t"]),
    decimal=st.sampled_from([".", ","]),
    bom=st.booleans(),
    header=st.booleans(),
    line_end=st.sampled_from(["\n", "\r\n"]),
) | st.just(CsvDialect())


_changes = cache(clocks.changes)

_WHEN = st.sampled_from(clocks.ZONES).flatmap(
    lambda zone: st.tuples(
        st.just(zone),
        st.sampled_from([*_changes(zone) * 2, *FAR]),
    )
)
_ANY = (
    st.none()
    | st.sampled_from([-0.0, 0.0, 5e-324, -2.5, 1e300, 0.1 + 0.2])
    | st.floats(allow_nan=False, allow_infinity=False)
)
_SHORT = st.integers(-9_999, 99_999).map(lambda n: n / 1000)


def _decimals(digits: int, tens: int) -> st.SearchStrategy[float]:
    return st.builds(
        lambda n, m: float(Decimal(n).scaleb(m)),
        st.integers(1 - 10**digits, 10**digits - 1),
        st.integers(-tens, tens),
    )


def _values(format: str, *, plain: bool) -> st.SearchStrategy[float | None]:  # noqa: A002
    if not plain:
        return _ANY | _SHORT
    held: Mapping[str, st.SearchStrategy[float]] = {
        "xml": _decimals(14, 9) | _SHORT | st.just(-0.0),
        "xlsx": _decimals(15, 250) | _SHORT | st.just(-0.0),
        "nem12": st.floats(0, 1e15, exclude_max=True) | _SHORT.map(abs) | st.just(-0.0),
    }
    return st.none() | held.get(format, _ANY | _SHORT)


def _quality(format: str, *, plain: bool) -> st.SearchStrategy[str | None]:  # noqa: A002
    words = ["estimated", "edited", "raw", "smelled"]
    if format == "nem12" and plain:
        words = ["estimated", "substituted", "final_substituted"]
    return st.none() | st.sampled_from(words)


def not_held(data: DataSet) -> list[str]:
    """Where there is something that the format cannot hold, in the words of a refusal."""
    if data.format == "xml":
        return [place for row in data.rows for place in _not_in_espi(row)]
    if data.format == "nem12":
        return _not_in_nem12(data.rows)
    by_clock = data.format != "parquet" and data.zone == MONROVIA
    places = [f"An offset of {data.zone}"] if by_clock and data.rows else []
    if data.format == "xlsx":
        numbers = [
            (n, name, getattr(row, name)) for n, row in enumerate(data.rows, 2) for name in VALUES
        ]
        places += [f"Row {n}: {name}" for n, name, value in numbers if not _in_a_cell(value)]
    return places


def _not_in_espi(row: Row) -> Iterator[str]:
    """A whole number below 2**47 times a power of ten from -12 to 12, in Wh, W, V or A."""
    for column, tens in TENS.items():
        value = getattr(row, column)
        if value is None:
            continue
        exact = Decimal(repr(value)).scaleb(tens)
        units = (exact.scaleb(-power) for power in range(-12, 13))
        if not any(unit == unit.to_integral_value() and abs(unit) < 2**47 for unit in units):
            yield f"{column} of {row.smart_meter_id} at {iso_utc(row.timestamp)}"


def _in_a_cell(value: float | None) -> bool:
    if not value:
        return True
    digits = Decimal(repr(value)).normalize().as_tuple().digits
    return len(digits) <= 15 and 2.2250738585072014e-308 <= abs(value) <= 9.99999999999999e307


def _not_in_nem12(rows: Sequence[Row]) -> list[str]:
    of_day: dict[tuple[str, object], int | None] = {}
    places = [f"Meter '{row.smart_meter_id}'" for row in rows if len(row.smart_meter_id) > 10]
    for row in rows:
        local = row.timestamp.astimezone(MARKET_TIME)
        length = of_day.setdefault((row.smart_meter_id, local.date()), row.interval_s)
        since_midnight = local.hour * 3600 + local.minute * 60 + local.second
        energies = [e for e in (row.energy_kwh, row.energy_export_kwh) if e is not None]
        held = (
            row.interval_s in (300, 900, 1800)
            and row.interval_s == length
            and since_midnight % (row.interval_s or 1) == 0
            and all(0 <= energy < 1e15 for energy in energies)
            and (row.quality in METHODS.values() or not energies)
        )
        if not held:
            places.append(f"Meter {row.smart_meter_id} at {iso_utc(row.timestamp)}")
    return places


def as_held(data: DataSet) -> list[Row]:
    """The rows as the format tells them, where it holds them all."""
    if data.format == "xml":
        words = ESPI_QUALITY.values()
        return [
            _positive_zeros(row).but(
                quality=row.quality if row.quality in (None, *words) else "other"
            )
            for row in data.rows
            if any(getattr(row, name) is not None for name in VALUES)
        ]
    if data.format == "nem12":
        return [
            _positive_zeros(row).but(power_kw=None, voltage_v=None, current_a=None)
            for row in data.rows
            if row.energy_kwh is not None or row.energy_export_kwh is not None
        ]
    return [_positive_zeros(row) if data.format == "xlsx" else row for row in data.rows]


def _positive_zeros(row: Row) -> Row:
    """Equal to the negative ones, which these formats have not."""
    return row.but(**{name: 0.0 for name in VALUES if getattr(row, name) == 0})
