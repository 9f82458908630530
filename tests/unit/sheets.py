"""What the tests of the formats share: sheets, drawn rows, and bytes of a format."""

import io
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import polars as pl
from hypothesis import strategies as st

from meterport.domain.period import Period
from meterport.domain.readings import READING_SCHEMA
from meterport.domain.sheets import Sheet
from meterport.encoders.base import ExportFormat

Row = tuple[datetime, int, str, float | None, float | None, str | None]

COLUMNS = ("timestamp", "interval_s", "smart_meter_id", "energy_kwh", "power_kw", "quality")
FLOATS = (
    st.none()
    | st.sampled_from([-0.0, 5e-324, 1e300, -1.5])
    | st.floats(allow_nan=False, allow_infinity=False)
)
TIMES = st.integers(0, 7_258_118_400).map(
    lambda s: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=s)
)
TEXTS = st.none() | st.text(max_size=8)


def rows(
    numbers: st.SearchStrategy[float | None] = FLOATS,
    texts: st.SearchStrategy[str | None] = TEXTS,
    times: st.SearchStrategy[datetime] = TIMES,
) -> st.SearchStrategy[list[Row]]:
    meters = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,9}", fullmatch=True)
    row = st.tuples(times, st.integers(1, 86_400), meters, numbers, numbers, texts)
    return st.lists(row, max_size=20)


def sheet(
    columns: tuple[str, ...] = COLUMNS, zone: str = "UTC", meters: tuple[str, ...] = ("123",)
) -> Sheet:
    day = Period(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC))
    return Sheet(meters, day, datetime(2024, 2, 3, 4, 5, 6, tzinfo=UTC), columns, zone)


def frame(rows: Iterable[Row]) -> pl.DataFrame:
    schema = {name: READING_SCHEMA[name] for name in COLUMNS}
    return pl.DataFrame(list(rows), schema=schema, orient="row")


def encoded(form: ExportFormat, *frames: pl.DataFrame, of: Sheet | None = None) -> bytes:
    sink = WriteOnly()
    form.encode(frames, sink, of or sheet())
    return sink.text.getvalue()


class WriteOnly:
    """A sink that can nothing but write."""

    def __init__(self) -> None:
        self.text = io.BytesIO()

    def write(self, data: bytes, /) -> None:
        self.text.write(data)
