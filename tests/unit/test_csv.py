"""The contract's CSV, byte for byte, and read back by an independent reader."""

import csv
import io
import math
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterport.domain.readings import DEFAULT_COLUMNS, READING_SCHEMA
from meterport.encoders import FORMATS
from tests import make
from tests.unit.sheets import sheet

FLOATS = st.none() | st.floats(allow_nan=False, allow_infinity=False)
TIMES = st.integers(0, 7_258_118_400).map(
    lambda s: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=s)
)


def encoded(*frames: pl.DataFrame) -> str:
    sink = io.BytesIO()
    FORMATS["csv"].encode(frames, sink, sheet(DEFAULT_COLUMNS))
    return sink.getvalue().decode()


def test_the_contracts_example_is_written_as_printed() -> None:
    frame = pl.concat(
        [
            make.readings(0.5, power_kw=2.1),
            make.readings(
                0.6, start=datetime(2024, 1, 1, 0, 1, tzinfo=UTC), power_kw=2.3
            ).with_columns(voltage_v=pl.lit(230.2), current_a=pl.lit(9.2)),
        ]
    )

    assert encoded(frame) == (
        "timestamp,smart_meter_id,energy_kwh,power_kw,voltage_v,current_a\n"
        "2024-01-01T00:00:00Z,123,0.5,2.1,230.1,9.1\n"
        "2024-01-01T00:01:00Z,123,0.6,2.3,230.2,9.2\n"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.5"),
        (230.0, "230.0"),
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (-1.25, "-1.25"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e-7, "1e-7"),
        (1e15, "1000000000000000.0"),
        (1e16, "1e+16"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (None, ""),
    ],
)
def test_numbers_are_the_shortest_text_that_reads_back(value: float | None, text: str) -> None:
    assert encoded(make.readings(value)).splitlines()[1] == (
        f"2024-01-01T00:00:00Z,123,{text},2.1,230.1,9.1"
    )


def test_no_rows_are_a_header_only() -> None:
    assert encoded() == make.HEADER + "\n"
    assert encoded(make.readings()) == make.HEADER + "\n"


@given(
    rows=st.lists(st.tuples(TIMES, FLOATS, FLOATS, FLOATS, FLOATS), max_size=20),
    cut=st.integers(0, 20),
)
def test_what_is_written_reads_back_value_for_value(
    rows: list[tuple[datetime, float | None, float | None, float | None, float | None]], cut: int
) -> None:
    frame = pl.DataFrame(
        [(time, 60, "m.1:x", *values, None, None) for time, *values in rows],
        schema=READING_SCHEMA,
        orient="row",
    )

    text = encoded(frame[:cut], frame[cut:])

    header, *lines = csv.reader(io.StringIO(text, newline=""))
    assert ",".join(header) == make.HEADER
    assert len(lines) == len(rows)
    for (time, *values), (written_time, meter, *written) in zip(rows, lines, strict=True):
        assert datetime.fromisoformat(written_time) == time
        assert meter == "m.1:x"
        assert [same(w) for w in written] == [repr(v) for v in values]
    assert "\r" not in text
    assert text.endswith("\n")


def same(text: str) -> str:
    """repr tells -0.0 from 0.0, which == does not."""
    value = float(text) if text else None
    assert value is None or math.isfinite(value)
    return repr(value)
