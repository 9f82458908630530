"""Parquet: its types, metadata, pages and checksums, and read back by Arrow and by Polars."""

import io
import json
from datetime import UTC

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterport.domain.errors import SourceDataInvalid, StorageFull
from meterport.domain.readings import DEFAULT_COLUMNS, READING_SCHEMA
from meterport.encoders import parquet
from meterport.encoders.about import about
from tests import make
from tests.unit import sheets
from tests.unit.sheets import Row, encoded, frame, sheet


def table(data: bytes) -> pa.Table:
    return pq.read_table(pa.BufferReader(data), page_checksum_verification=True)


def test_columns_are_typed_and_carry_their_units() -> None:
    of = sheet(tuple(READING_SCHEMA))

    schema = table(encoded(parquet.FORMAT, make.readings(0.5), of=of)).schema

    assert [(f.name, str(f.type), f.nullable, f.metadata) for f in schema] == [
        ("timestamp", "timestamp[us, tz=UTC]", False, None),
        ("interval_s", "int32", True, {b"unit": b"s"}),
        ("smart_meter_id", "string", False, None),
        ("energy_kwh", "double", True, {b"unit": b"kWh"}),
        ("power_kw", "double", True, {b"unit": b"kW"}),
        ("voltage_v", "double", True, {b"unit": b"V"}),
        ("current_a", "double", True, {b"unit": b"A"}),
        ("energy_export_kwh", "double", True, {b"unit": b"kWh"}),
        ("quality", "string", True, None),
    ]
    assert json.loads(schema.metadata[b"meterport"]) == about(of)


def test_values_are_those_of_the_readings() -> None:
    written = encoded(parquet.FORMAT, make.readings(0.5, None), of=sheet(DEFAULT_COLUMNS))

    assert table(written).to_pylist() == [
        {
            "timestamp": make.JANUARY.replace(minute=minute),
            "smart_meter_id": "123",
            "energy_kwh": energy,
            "power_kw": 2.1,
            "voltage_v": 230.1,
            "current_a": 9.1,
        }
        for minute, energy in ((0, 0.5), (1, None))
    ]


def test_no_readings_are_a_schema_without_row_groups() -> None:
    written = encoded(parquet.FORMAT, make.readings(), of=sheet(DEFAULT_COLUMNS))

    assert table(written).num_rows == 0
    assert tuple(table(written).column_names) == DEFAULT_COLUMNS
    assert pq.ParquetFile(io.BytesIO(written)).num_row_groups == 0


def test_row_groups_are_the_same_however_the_frames_are_cut() -> None:
    rows = 2 * parquet.ROW_GROUP_ROWS + 1
    whole, of = make.many_readings(rows), sheet(DEFAULT_COLUMNS)

    written = encoded(parquet.FORMAT, whole, of=of)

    file = pq.ParquetFile(io.BytesIO(written)).metadata
    groups = [file.row_group(n) for n in range(file.num_row_groups)]
    assert [g.num_rows for g in groups] == [parquet.ROW_GROUP_ROWS, parquet.ROW_GROUP_ROWS, 1]
    energy = groups[0].column(2)
    assert (energy.compression, energy.has_column_index, energy.has_offset_index) == (
        "ZSTD",
        True,
        True,
    )
    assert energy.statistics.max == (parquet.ROW_GROUP_ROWS - 1) / 1000
    assert energy.statistics.null_count == 0
    cuts = (whole[:7], whole[7:100_000], whole[100_000:])
    assert encoded(parquet.FORMAT, *cuts, of=of) == written


def test_a_flipped_bit_in_a_page_is_found_by_its_checksum() -> None:
    values = [n / 7 for n in range(1000)]
    written = bytearray(encoded(parquet.FORMAT, make.readings(*values), of=sheet(DEFAULT_COLUMNS)))
    energy = pq.ParquetFile(io.BytesIO(written)).metadata.row_group(0).column(2)

    written[energy.dictionary_page_offset + energy.total_compressed_size // 2] ^= 1

    with pytest.raises(OSError, match="CRC checksum"):
        table(bytes(written))


@given(rows=sheets.rows(), cut=st.integers(0, 20))
def test_what_is_written_reads_back_value_for_value(rows: list[Row], cut: int) -> None:
    whole = frame(rows)

    written = encoded(parquet.FORMAT, whole, of=sheet(zone="Australia/Lord_Howe"))

    read = table(written).to_pydict()
    times = [time.astimezone(UTC) for time in read.pop("timestamp")]
    assert list(map(repr, zip(times, *read.values(), strict=True))) == list(map(repr, rows))
    assert pl.read_parquet(written).equals(whole)
    assert (
        encoded(parquet.FORMAT, whole[:cut], whole[cut:], of=sheet(zone="Australia/Lord_Howe"))
        == written
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_finite_number_is_refused(value: float) -> None:
    with pytest.raises(SourceDataInvalid, match="energy_kwh"):
        encoded(parquet.FORMAT, make.readings(value), of=sheet(DEFAULT_COLUMNS))


def test_a_reading_without_its_meter_is_refused() -> None:
    nameless = make.readings(1.0).with_columns(smart_meter_id=pl.lit(None, pl.String))

    with pytest.raises(SourceDataInvalid, match="smart_meter_id"):
        encoded(parquet.FORMAT, nameless, of=sheet(DEFAULT_COLUMNS))


def test_what_the_sink_says_is_not_lost_in_arrow() -> None:
    class Full:
        def write(self, data: bytes, /) -> None:
            raise StorageFull(f"no space for {len(data)} bytes")

    with pytest.raises(StorageFull):
        parquet.FORMAT.encode([make.readings(1.0)], Full(), sheet(DEFAULT_COLUMNS))
