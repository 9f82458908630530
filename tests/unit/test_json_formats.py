"""JSON and NDJSON, byte for byte, and read back by the standard library's reader."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterport.domain.errors import FormatCannotHold, SourceDataInvalid
from meterport.domain.period import Period
from meterport.domain.readings import DEFAULT_COLUMNS
from meterport.encoders import json as json_format
from meterport.encoders import ndjson
from meterport.encoders.base import ExportFormat
from tests import make
from tests.unit import sheets
from tests.unit.sheets import COLUMNS, Row, encoded, frame, sheet


def test_ndjson_is_written_as_printed() -> None:
    assert encoded(ndjson.FORMAT, make.readings(0.5, None), of=sheet(DEFAULT_COLUMNS)).decode() == (
        '{"timestamp":"2024-01-01T00:00:00Z","smart_meter_id":"123",'
        '"energy_kwh":0.5,"power_kw":2.1,"voltage_v":230.1,"current_a":9.1}\n'
        '{"timestamp":"2024-01-01T00:01:00Z","smart_meter_id":"123",'
        '"energy_kwh":null,"power_kw":2.1,"voltage_v":230.1,"current_a":9.1}\n'
    )


def test_json_is_written_as_printed() -> None:
    of = sheet(("timestamp", "energy_kwh"), meters=("123", "a"))

    assert encoded(json_format.FORMAT, make.readings(0.5), make.readings(None), of=of).decode() == (
        '{"export": {"meters": ["123", "a"], '
        '"period": {"start": "2024-01-01T00:00:00Z", "end": "2024-01-02T00:00:00Z"}, '
        '"timezone": "UTC", "interval_label": "start", "resolution": "raw", '
        '"columns": [{"name": "timestamp", "unit": null}, {"name": "energy_kwh", "unit": "kWh"}], '
        '"source": {"made_at": "2024-02-03T04:05:06Z"}},\n'
        '"readings": [\n'
        '{"timestamp":"2024-01-01T00:00:00Z","energy_kwh":0.5},\n'
        '{"timestamp":"2024-01-01T00:00:00Z","energy_kwh":null}\n'
        "]}\n"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (230.0, "230.0"),
        (-0.0, "-0.0"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e300, "1e+300"),
        (1e16, "1e+16"),
        (5e-324, "5e-324"),
        (None, "null"),
    ],
)
def test_numbers_are_the_shortest_text_that_reads_back(value: float | None, text: str) -> None:
    of = sheet(("energy_kwh",))

    assert encoded(ndjson.FORMAT, make.readings(value), of=of).decode() == (
        f'{{"energy_kwh":{text}}}\n'
    )


def test_no_readings_are_an_empty_list_and_no_lines() -> None:
    for frames in ([], [make.readings()]):
        document = json.loads(encoded(json_format.FORMAT, *frames, of=sheet(DEFAULT_COLUMNS)))

        assert document["readings"] == []
        assert document["export"]["meters"] == ["123"]
        assert encoded(ndjson.FORMAT, *frames, of=sheet(DEFAULT_COLUMNS)) == b""


def test_times_carry_the_zones_offset_through_the_hour_that_comes_twice() -> None:
    start = datetime(2024, 10, 27, 0, 30, tzinfo=UTC)
    readings = make.readings(1.0, 2.0, start=start, interval_s=3600)

    text = encoded(ndjson.FORMAT, readings, of=sheet(("timestamp",), "Europe/Berlin")).decode()

    assert text == (
        '{"timestamp":"2024-10-27T02:30:00+02:00"}\n{"timestamp":"2024-10-27T02:30:00+01:00"}\n'
    )


def test_an_offset_that_no_text_can_carry_is_refused() -> None:
    monrovia = sheet(DEFAULT_COLUMNS, "Africa/Monrovia")
    then = make.readings(1.0, start=datetime(1971, 1, 1, tzinfo=UTC))

    with pytest.raises(FormatCannotHold, match="Africa/Monrovia"):
        encoded(ndjson.FORMAT, then, of=monrovia)

    assert b"+00:00" in encoded(ndjson.FORMAT, make.readings(1.0), of=monrovia)


@pytest.mark.parametrize(
    ("bound", "zone", "text"),
    [
        ("1900-01-01T00:00:00Z", "Europe/Amsterdam", None),  # its clocks were 19:32 ahead
        ("1970-01-01T00:00:00Z", "Africa/Monrovia", None),
        ("0001-01-01T00:00:00Z", "America/New_York", None),
        ("9999-12-31T23:59:59Z", "Europe/Berlin", None),
        ("2024-01-01T00:00:00Z", "Asia/Kathmandu", "2024-01-01T05:45:00+05:45"),
    ],
)
def test_a_bound_without_an_offset_of_whole_minutes_is_told_in_utc(
    bound: str, zone: str, text: str | None
) -> None:
    instant = datetime.fromisoformat(bound)
    day = Period(min(instant, make.JANUARY), max(instant, make.JANUARY + timedelta(days=1)))
    of = replace(sheet(("timestamp",), zone), period=day)

    period = json.loads(encoded(json_format.FORMAT, of=of))["export"]["period"]

    assert (text or bound) in period.values()


@pytest.mark.parametrize("form", [json_format.FORMAT, ndjson.FORMAT])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_finite_number_is_refused_not_made_null(
    form: ExportFormat, value: float
) -> None:
    with pytest.raises(SourceDataInvalid, match="energy_kwh"):
        encoded(form, make.readings(1.0, value), of=sheet(DEFAULT_COLUMNS))


@given(
    rows=sheets.rows(), cut=st.integers(0, 20), zone=st.sampled_from(["UTC", "Australia/Lord_Howe"])
)
def test_what_is_written_reads_back_value_for_value(rows: list[Row], cut: int, zone: str) -> None:
    whole, of = frame(rows), sheet(zone=zone)

    lines = encoded(ndjson.FORMAT, whole, of=of)
    document = encoded(json_format.FORMAT, whole, of=of)

    assert [parsed(json.loads(line)) for line in lines.splitlines()] == list(map(repr, rows))
    assert [parsed(reading) for reading in json.loads(document)["readings"]] == list(
        map(repr, rows)
    )
    assert encoded(ndjson.FORMAT, whole[:cut], whole[cut:], of=of) == lines
    assert encoded(json_format.FORMAT, whole[:cut], whole[cut:], of=of) == document
    assert (
        encoded(ndjson.FORMAT, whole[:cut], of=of) + encoded(ndjson.FORMAT, whole[cut:], of=of)
        == lines
    )


def test_every_hour_of_the_days_of_clock_changes_reads_back() -> None:
    for start in (datetime(2024, 3, 30, 22, tzinfo=UTC), datetime(2024, 10, 26, 22, tzinfo=UTC)):
        day = make.readings(*range(26), start=start, interval_s=3600)
        lines = encoded(ndjson.FORMAT, day, of=sheet(("timestamp",), "Europe/Berlin")).splitlines()

        times = [datetime.fromisoformat(json.loads(line)["timestamp"]) for line in lines]
        assert times == [start + timedelta(hours=n) for n in range(26)]


def parsed(reading: dict[str, object]) -> str:
    """As repr, which tells -0.0 from 0.0."""
    assert tuple(reading) == COLUMNS
    time, *values = reading.values()
    return repr((datetime.fromisoformat(str(time)).astimezone(UTC), *values))
