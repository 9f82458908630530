"""NDJSON files: keys as columns, values digit for digit, and which line refuses a broken file."""

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterport.domain.readings import READING_SCHEMA
from meterport.encoders import ndjson
from meterport.importers import ndjson as importer
from meterport.importers.base import FileReport
from meterport.importers.options import ColumnSource, ImportOptions
from tests import make
from tests.unit import sheets
from tests.unit.feeds import BAD_LINE, OURS, read, refusal

JANUARY = "2024-01-01T00:00:00Z"
GOOD = {"timestamp": JANUARY, "smart_meter_id": "A", "energy_kwh": 0.5}


def file(folder: Path, *lines: object, name: str = "a.ndjson") -> Path:
    """Objects are written as JSON, text as it is."""
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    return make.write(folder, name, texts)


@pytest.mark.parametrize("name", ["a.ndjson", "a.jsonl", "a.JSONL"])
def test_an_object_is_a_row(tmp_path: Path, name: str) -> None:
    path = file(tmp_path, GOOD | {"interval_s": 900, "quality": "estimated"}, name=name)

    frame = read(path)

    assert frame.schema == READING_SCHEMA
    assert frame.rows() == [(make.JANUARY, 900, "A", 0.5, None, None, None, None, "estimated")]


def test_numbers_and_strings_are_taken_alike(tmp_path: Path) -> None:
    text = {"energy_kwh": "0.5", "interval_s": "900", "smart_meter_id": 7}
    number = {"energy_kwh": 5e-1, "interval_s": 900, "smart_meter_id": "7"}

    frame = read(file(tmp_path, GOOD | text, GOOD | number))

    assert frame.row(0) == frame.row(1)
    assert frame.row(0)[:4] == (make.JANUARY, 900, "7", 0.5)


def test_keys_may_differ_from_line_to_line(tmp_path: Path) -> None:
    path = file(
        tmp_path, GOOD, "", {"power_kw": 2, **GOOD, "energy_kwh": None}, GOOD | {"note": "x"}
    )
    report = FileReport(path)

    frame = read(path, report=report)

    assert frame.select("energy_kwh", "power_kw").rows() == [(0.5, None), (None, 2.0), (0.5, None)]
    assert report.ignored_columns == ["note"]
    assert report.missing_columns == [
        "interval_s",
        "voltage_v",
        "current_a",
        "energy_export_kwh",
        "quality",
    ]


def test_a_bom_and_windows_line_ends_are_no_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\r\n\r\n")

    assert read(path)["energy_kwh"].to_list() == [0.5]


def test_a_map_says_other_names_units_and_registers(tmp_path: Path) -> None:
    options = ImportOptions(
        mapping={
            "timestamp": ColumnSource("t", "epoch_s"),
            "energy_kwh": ColumnSource("count", "register_Wh"),
            "power_kw": ColumnSource("watts", "W"),
        },
        smart_meter_id="A",
    )
    lines = [{"t": 1704067200 + 60 * n, "count": 100 * n, "watts": 2.1} for n in range(3)]

    frame = read(file(tmp_path, *lines), options)

    assert frame["timestamp"].to_list() == [make.JANUARY + timedelta(minutes=n) for n in range(3)]
    assert frame["energy_kwh"].to_list() == [0.1, 0.1, None]
    assert frame["power_kw"].to_list() == [0.0021] * 3


def test_batches_keep_their_line_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importer, "BATCH_ROWS", 2)
    path = file(tmp_path, GOOD, GOOD, "", GOOD, GOOD | {"energy_kwh": "abc"})

    assert refusal(path) == BAD_LINE.format(
        "a.ndjson", 5, "energy_kwh: 'abc' is not a finite number"
    )


NOT_SINGLE = "not a number, a string or null"
LINES = {
    "a list": ("[1]", 'a list, not an object such as {"energy_kwh": 0.5}'),
    "a number": ("5", 'a single value, not an object such as {"energy_kwh": 0.5}'),
    "null": ("null", 'null, not an object such as {"energy_kwh": 0.5}'),
    "cut": ('{"energy_kwh": 0.', "not JSON (Expecting ',' delimiter at character 17)"),
    "two objects": ("{} {}", "not JSON (Extra data at character 4)"),
    "no JSON": ("timestamp,energy_kwh", "not JSON (Expecting value at character 1)"),
    "NaN": ('{"energy_kwh": NaN}', "NaN is no number in JSON; a missing value is null"),
    "infinity": ('{"a": -Infinity}', "-Infinity is no number in JSON; a missing value is null"),
    "a key twice": ('{"a": 1, "b": 2, "a": 3}', "the key 'a' comes twice"),
    "a nested object": ('{"a": {"b": 1}}', f"'a' is an object, {NOT_SINGLE}"),
    "a nested list": ('{"a": [1]}', f"'a' is a list, {NOT_SINGLE}"),
    "a boolean": ('{"a": true}', f"'a' is true, {NOT_SINGLE}"),
    "half a character": (
        '{"a": "\\ud800"}',
        "an escape of half a character (a lone surrogate)",
    ),
    "deep": ('{"a":' + "[" * 100_000, "nested too deeply"),
    "no time": (
        '{"energy_kwh": 1}',
        "timestamp: null is not a date-time in whole seconds, such as 2024-01-01T00:00:00Z",
    ),
    "a huge number": (
        json.dumps(GOOD)[:-1] + ', "power_kw": 1e400}',
        "power_kw: '1e400' is not a finite number",
    ),
    "a number as time": (
        json.dumps(GOOD | {"timestamp": 5}),
        "timestamp: '5' is not a date-time in whole seconds, such as 2024-01-01T00:00:00Z",
    ),
}


@pytest.mark.parametrize("name", LINES)
def test_a_bad_line_is_refused_by_its_number(tmp_path: Path, name: str) -> None:
    line, reason = LINES[name]

    assert refusal(file(tmp_path, GOOD, line, GOOD)) == BAD_LINE.format("a.ndjson", 2, reason)


def test_bytes_that_are_not_utf8_are_refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_bytes(json.dumps(GOOD).encode() + b'\n{"quality": "gesch\xe4tzt"}\n')

    assert refusal(path) == BAD_LINE.format("a.ndjson", 2, "not UTF-8; convert the file first")


def test_a_line_without_end_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    path = file(tmp_path, GOOD, '{"quality": "' + "x" * (2 << 20) + '"}')

    assert refusal(path) == BAD_LINE.format("a.ndjson", 2, "longer than 1,048,576 bytes")


def test_keys_without_end_are_refused(tmp_path: Path) -> None:
    path = file(tmp_path, *({f"{line}.{n}": 1 for n in range(400)} for line in range(5)))

    assert refusal(path) == BAD_LINE.format("a.ndjson", 3, "more than 1,000 different keys so far")


@pytest.mark.parametrize("lines", [[], [""], ["{}"]])
def test_a_file_without_any_key_is_refused(tmp_path: Path, lines: list[str]) -> None:
    assert refusal(file(tmp_path, *lines)) == "a.ndjson: no line with an object that has keys"


def test_missing_columns_are_said_with_the_remedy(tmp_path: Path) -> None:
    assert refusal(file(tmp_path, {"time": JANUARY, "kwh": 1})) == (
        "a.ndjson: no column timestamp; say --map timestamp=COLUMN; the file has: time, kwh"
    )


@settings(max_examples=50, deadline=None)
@given(
    rows=sheets.rows(
        texts=st.none() | st.from_regex(r"[a-z][a-z0-9_-]{0,31}", fullmatch=True),
        times=st.integers(-2_208_000_000, 7_258_000_000).map(
            lambda s: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=s)
        ),
    ),
    zone=st.sampled_from(["UTC", "Asia/Kathmandu"]),
)
def test_every_float_word_and_time_of_our_writer_comes_back(
    rows: list[sheets.Row], zone: str
) -> None:
    in_zone = [row for row in rows if zone == "UTC" or row[0].year >= 1990]
    written = sheets.encoded(ndjson.FORMAT, sheets.frame(in_zone), of=sheets.sheet(zone=zone))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.ndjson"
        path.write_bytes(written)
        frame = read(path, OURS) if in_zone else READING_SCHEMA.to_frame()

    back = frame.select(sheets.COLUMNS).rows()
    assert list(map(signed, back)) == list(map(signed, in_zone))


def signed(row: tuple[object, ...]) -> tuple[object, ...]:
    """As itself, with the sign of zeros told apart."""
    return (*row, *(math.copysign(1, value) for value in row if isinstance(value, float)))


def test_ten_thousand_lines_come_back(tmp_path: Path) -> None:
    frame = make.many_readings(10_000)
    path = tmp_path / "a.ndjson"
    path.write_bytes(
        sheets.encoded(ndjson.FORMAT, frame, of=sheets.sheet(columns=tuple(READING_SCHEMA)))
    )

    assert read(path).equals(frame)
