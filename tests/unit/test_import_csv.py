"""CSV files in our own column names: what is read, what is refused, and by which line."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from meterport.domain.errors import ImportRefused
from meterport.domain.readings import READING_SCHEMA
from meterport.importers import csv
from meterport.importers.base import FileReport
from meterport.importers.options import ImportOptions
from tests import make

OURS = ImportOptions()
ONE = "2024-01-01T00:00:00Z,123,0.5,2.1,230.1,9.1"
TWO = "2024-01-01T00:01:00Z,123,0.6,2.1,230.1,9.1"
BAD_LINE = "nothing was imported; bad rows:\na.csv: line {}: {}"
WANTED = {
    "timestamp": "a date-time in whole seconds, such as 2024-01-01T00:00:00Z",
    "smart_meter_id": "a meter id (1 to 64 letters, digits or . _ : -)",
    "interval_s": "a whole number of seconds up to 31 days",
    "energy_kwh": "a finite number",
    "quality": "a word such as estimated; --quality says what another word means",
}


def file(folder: Path, content: str | bytes) -> Path:
    path = folder / "a.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path: Path, report: FileReport | None = None) -> pl.DataFrame:
    batches = csv.read(path, OURS, report or FileReport(path))
    return pl.concat([READING_SCHEMA.to_frame(), *batches])


def energies(path: Path) -> list[float | None]:
    return read(path)["energy_kwh"].to_list()


def refusal(path: Path) -> str:
    with pytest.raises(ImportRefused) as refused:
        read(path)
    return refused.value.message


def test_columns_may_come_in_any_order(tmp_path: Path) -> None:
    path = file(
        tmp_path,
        "quality,current_a,energy_export_kwh,smart_meter_id,voltage_v,interval_s,power_kw,"
        "energy_kwh,timestamp\n"
        "estimated,9.1,0.2,house-7,230.1,60,2.1,0.5,2024-01-01T00:00:00Z\n",
    )

    frame = read(path)

    assert frame.schema == READING_SCHEMA
    assert frame.rows() == [
        (make.JANUARY, 60, "house-7", 0.5, 2.1, 230.1, 9.1, 0.2, "estimated"),
    ]


def test_extra_columns_are_named_and_ignored(tmp_path: Path) -> None:
    path = file(
        tmp_path,
        "note,timestamp,smart_meter_id,energy_kwh,f\nhello,2024-01-01T00:00:00Z,123,0.5,50.0\n",
    )
    report = FileReport(path)

    frame = read(path, report)

    assert report.ignored_columns == ["note", "f"]
    assert report.rows == 1
    assert frame["energy_kwh"].to_list() == [0.5]


def test_absent_columns_are_named_and_null(tmp_path: Path) -> None:
    path = file(tmp_path, "timestamp,smart_meter_id,voltage_v\n2024-01-01T00:00:00Z,123,230.1\n")
    report = FileReport(path)

    frame = read(path, report)

    assert report.missing_columns == [
        "interval_s",
        "energy_kwh",
        "power_kw",
        "current_a",
        "energy_export_kwh",
        "quality",
    ]
    assert frame.rows() == [(make.JANUARY, None, "123", None, None, 230.1, None, None, None)]


def test_an_empty_or_blank_field_is_null_and_not_zero(tmp_path: Path) -> None:
    path = file(tmp_path, make.csv_lines("2024-01-01T00:00:00Z,123,, \t,0,"))

    frame = read(path)

    values = ("energy_kwh", "power_kw", "voltage_v", "current_a")
    assert frame.select(values).rows() == [(None, None, 0.0, None)]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("\ufeff" + make.csv_lines(ONE, TWO), id="with a BOM"),
        pytest.param(make.csv_lines(ONE, TWO).replace("\n", "\r\n"), id="CRLF"),
        pytest.param(make.csv_lines(ONE, TWO).removesuffix("\n"), id="no newline at the end"),
        pytest.param("\ufeff" + make.csv_lines(ONE, TWO).replace("\n", "\r\n")[:-2], id="all"),
        pytest.param(make.csv_lines("", ONE, "", "", TWO, ""), id="blank lines"),
        pytest.param(make.csv_lines(ONE, "", TWO, "").replace("\n", "\r\n"), id="blank CRLF"),
        pytest.param(make.csv_lines(ONE.replace(",", " ,\t"), f"  {TWO}\t"), id="padded fields"),
        pytest.param(
            make.csv_lines(ONE, TWO).replace("energy_kwh", '"energy_kwh"'), id="quoted header"
        ),
    ],
)
def test_what_editors_and_spreadsheets_add_changes_no_row(tmp_path: Path, text: str) -> None:
    path = file(tmp_path, text)

    frame = read(path)

    assert frame.select("timestamp", "smart_meter_id", "energy_kwh", "current_a").rows() == [
        (make.JANUARY, "123", 0.5, 9.1),
        (make.JANUARY.replace(minute=1), "123", 0.6, 9.1),
    ]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_blank_lines_are_counted(tmp_path: Path, newline: str) -> None:
    text = make.csv_lines("", ONE, "", "", TWO.replace("0.6", "x")).replace("\n", newline)

    message = refusal(file(tmp_path, text))

    assert message == BAD_LINE.format(6, "energy_kwh: 'x' is not a finite number")


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("2024-01-01T00:00:00Z,123,0.5,2.1,230.1", 5),
        ("2024-01-01T00:00:00Z,123,0.5,2.1,230.1,9.1,", 7),
        ("2024-01-01T00:00:00Z;123;0.5;2.1;230.1;9.1", 1),
        ("2024-01-01T00:00:00Z,123,0,5,2,1,230,1,9,1", 10),
    ],
)
@pytest.mark.parametrize("quoted", [False, True])
def test_a_line_with_another_number_of_fields_is_refused(
    tmp_path: Path, line: str, fields: int, quoted: bool
) -> None:
    first = ONE.replace("123", '"123"') if quoted else ONE

    message = refusal(file(tmp_path, make.csv_lines(first, line, TWO)))

    assert message == BAD_LINE.format(3, f"{fields} fields, but the header has 6")


def test_a_file_that_was_cut_in_its_last_line_is_refused(tmp_path: Path) -> None:
    whole = make.csv_lines(ONE, TWO)

    message = refusal(file(tmp_path, whole[: whole.rindex(",2.1")]))

    assert message == BAD_LINE.format(3, "3 fields, but the header has 6")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("energy_kwh", "abc"),
        ("energy_kwh", "1.5 kWh"),
        ("energy_kwh", "1_000"),
        ("energy_kwh", "0x10"),
        ("energy_kwh", "inf"),
        ("energy_kwh", "-inf"),
        ("energy_kwh", "Infinity"),
        ("energy_kwh", "1e400"),
        ("smart_meter_id", "=1+1"),
        ("smart_meter_id", "-7"),
        ("smart_meter_id", "../7"),
        ("smart_meter_id", "a b"),
        ("smart_meter_id", "#7"),
        ("interval_s", "0"),
        ("interval_s", "-60"),
        ("interval_s", "60.5"),
        ("interval_s", "2678401"),
        ("interval_s", "99999999999"),
        ("quality", "=cmd()"),
        ("quality", "Estimated"),
        ("timestamp", "2024-02-30T00:00:00Z"),
        ("timestamp", "2024-01-01T00:00:00.500Z"),
        ("timestamp", "yesterday"),
    ],
)
def test_a_bad_value_is_refused_by_file_line_column_and_value(
    tmp_path: Path, column: str, value: str
) -> None:
    good = {"timestamp": "2024-01-01T00:00:00Z", "smart_meter_id": "123", "energy_kwh": "0.5"}
    good |= {"interval_s": "60", "quality": ""}
    lines = [good, good | {"timestamp": "2024-01-01T00:01:00Z"} | {column: value}]

    message = refusal(
        file(tmp_path, "\n".join([",".join(good), *(",".join(row.values()) for row in lines)]))
    )

    assert message == BAD_LINE.format(3, f"{column}: '{value}' is not {WANTED[column]}")


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        ("nan", "if it means that there is none, say --missing nan"),
        ("NaN", "if it means that there is none, say --missing NaN"),
        ("-", "if it means that there is none, say --missing -"),
        ("N/A", "if it means that there is none, say --missing N/A"),
    ],
)
def test_a_value_that_another_dialect_may_mean_is_refused_with_the_remedy(
    tmp_path: Path, value: str, remedy: str
) -> None:
    path = file(tmp_path, make.csv_lines(ONE, TWO.replace("0.6", value)))

    assert refusal(path) == BAD_LINE.format(
        3, f"energy_kwh: '{value}' is not a finite number; {remedy}"
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("7" * 64 + "x", "a string of 65 characters"),
        ("\x1b[2J", "a string of 4 characters"),
        ("12\N{EN DASH}3", "a string of 4 characters"),
    ],
)
def test_a_long_or_unprintable_value_is_not_repeated(
    tmp_path: Path, value: str, shown: str
) -> None:
    message = refusal(file(tmp_path, make.csv_lines(ONE.replace("0.5", value))))

    assert message == BAD_LINE.format(2, f"energy_kwh: {shown} is not a finite number")


@pytest.mark.parametrize("column", ["timestamp", "smart_meter_id"])
def test_a_row_without_time_or_meter_is_refused(tmp_path: Path, column: str) -> None:
    empty = {"timestamp": ONE.replace("2024-01-01T00:00:00Z", ""), "smart_meter_id": ""}
    empty["smart_meter_id"] = ONE.replace("123", "")

    message = refusal(file(tmp_path, make.csv_lines(TWO, empty[column])))

    assert message == BAD_LINE.format(3, f"{column}: null is not {WANTED[column]}")


def test_ten_bad_rows_are_named_and_the_others_counted(tmp_path: Path) -> None:
    rows = [f"2024-01-01T00:{i:02}:00Z,123,bad{i},2.1,230.1,9.1" for i in range(13)]

    message = refusal(file(tmp_path, make.csv_lines(ONE, *rows)))

    assert message.splitlines() == [
        "nothing was imported; bad rows:",
        *(f"a.csv: line {i + 3}: energy_kwh: 'bad{i}' is not a finite number" for i in range(10)),
        "… and 3 more here",
    ]


def test_a_row_with_several_bad_values_is_named_once(tmp_path: Path) -> None:
    rows = ["yesterday,=1,x,y,z,9.1", ONE.replace("123", "=1").replace("0.5", "x")]

    message = refusal(file(tmp_path, make.csv_lines(*rows)))

    assert message.splitlines()[1:] == [
        f"a.csv: line 2: timestamp: 'yesterday' is not {WANTED['timestamp']}",
        f"a.csv: line 3: smart_meter_id: '=1' is not {WANTED['smart_meter_id']}",
    ]


@pytest.mark.parametrize("quoted", [False, True])
def test_a_file_that_is_not_utf8_is_refused_by_line(tmp_path: Path, quoted: bool) -> None:
    first = ONE.replace("123", '"123"') if quoted else ONE
    text = make.csv_lines(first, TWO).encode() + "2024-01-01T00:02:00Z,Zähler".encode("latin-1")

    message = refusal(file(tmp_path, text))

    assert message == BAD_LINE.format(4, "not UTF-8; convert the file first")


def test_a_header_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    message = refusal(file(tmp_path, "timestamp,Zähler\n".encode("utf-16")))

    assert message == BAD_LINE.format(1, "not UTF-8; convert the file first")


QUOTED = (
    "timestamp,note,smart_meter_id,energy_kwh\r\n"
    "2024-01-01T00:00:00Z,-,123,0.5\r\n"
    "\r\n"
    '2024-01-01T00:01:00Z,"a, ""b""\r\n\r\nc","123",0.6\r\n'
    '2024-01-01T00:02:00Z,"","123","0.7"\r\n'
)
"""Its rows begin on lines 2, 4 and 7."""


@pytest.fixture(params=[1, 60, 100, 1 << 20])
def block_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Blocks of which the first quote is in the first, or in a later one."""
    size: int = request.param
    monkeypatch.setattr(csv, "BLOCK_BYTES", size)
    return size


@pytest.mark.usefixtures("block_bytes")
def test_quoted_fields_may_hold_commas_quotes_and_newlines(tmp_path: Path) -> None:
    frame = read(file(tmp_path, QUOTED))

    assert frame.select("timestamp", "smart_meter_id", "energy_kwh").rows() == [
        (make.JANUARY, "123", 0.5),
        (make.JANUARY.replace(minute=1), "123", 0.6),
        (make.JANUARY.replace(minute=2), "123", 0.7),
    ]


@pytest.mark.usefixtures("block_bytes")
@pytest.mark.parametrize(("energy", "line"), [("0.5", 2), ("0.6", 4), ("0.7", 7)])
def test_a_row_is_named_by_the_line_on_which_it_begins(
    tmp_path: Path, energy: str, line: int
) -> None:
    message = refusal(file(tmp_path, QUOTED.replace(energy, "x")))

    assert message == BAD_LINE.format(line, "energy_kwh: 'x' is not a finite number")


@pytest.mark.usefixtures("block_bytes")
def test_a_quote_that_is_never_closed_is_refused_by_the_line_of_its_row(tmp_path: Path) -> None:
    text = make.csv_lines(ONE, TWO.replace("123", '"123'), ONE, ONE)

    message = refusal(file(tmp_path, text))

    assert message == BAD_LINE.format(3, "unexpected end of data")


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    message = refusal(file(tmp_path, ""))

    assert message == "a.csv: the first line is empty; it must name the columns"


@pytest.mark.parametrize("tail", ["", "\n", "\n\n", "\r\n\r\n\r\n"])
def test_a_file_with_only_a_header_has_no_rows(tmp_path: Path, tail: str) -> None:
    path = file(tmp_path, make.HEADER + tail)
    report = FileReport(path)

    frame = read(path, report)

    assert (frame.height, report.rows) == (0, 0)


def test_a_block_of_blank_lines_holds_no_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv, "BLOCK_BYTES", 1)

    found = energies(file(tmp_path, make.csv_lines(ONE, "", "", "", TWO, "", "")))

    assert found == [0.5, 0.6]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            "timestamp,power_kw,power_kw",
            "a.csv: the header names 'power_kw' twice; say --map power_kw=power_kw#1",
        ),
        (
            "time,smart_meter_id,energy_kwh",
            "a.csv: no column timestamp; say --map timestamp=COLUMN; "
            "the file has: time, smart_meter_id, energy_kwh",
        ),
        (
            "timestamp,meter,energy_kwh",
            "a.csv: no column smart_meter_id; say --meter ID or --map smart_meter_id=COLUMN; "
            "the file has: timestamp, meter, energy_kwh",
        ),
        (
            "timestamp,smart_meter_id,kwh",
            "a.csv: none of energy_kwh, power_kw, voltage_v, current_a, energy_export_kwh; "
            "say --map energy_kwh=COLUMN; the file has: timestamp, smart_meter_id, kwh",
        ),
    ],
)
def test_a_header_that_cannot_be_used_is_refused_with_the_remedy(
    tmp_path: Path, header: str, message: str
) -> None:
    path = file(tmp_path, header + "\n2024-01-01T00:00:00Z,123,0.5\n")

    assert refusal(path) == message


def test_lines_that_end_in_a_bare_carriage_return_are_refused(tmp_path: Path) -> None:
    path = file(tmp_path, make.csv_lines(ONE, TWO).replace("\n", "\r"))

    assert "a.csv: " in refusal(path)


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 999), st.booleans(), st.integers(0, 3)), min_size=1),
    newline=st.sampled_from(["\n", "\r\n"]),
    block_bytes=st.just(1) | st.integers(1, 200),
    batch_rows=st.integers(1, 5),
)
def test_small_blocks_give_the_same_rows_as_one_block(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[int, bool, int]],
    newline: str,
    block_bytes: int,
    batch_rows: int,
) -> None:
    lines = ["timestamp,smart_meter_id,energy_kwh,note"]
    for energy, quoted, blank_lines in rows:
        note = f'"a{newline}b"' if quoted else "a"
        lines += [f"2024-01-01T00:00:00Z,123,{energy},{note}", *[""] * blank_lines]
    path = file(tmp_path_factory.mktemp("blocks"), newline.join(lines))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv, "BLOCK_BYTES", block_bytes)
        patch.setattr(csv, "BATCH_ROWS", batch_rows)
        in_small_blocks = energies(path)

    assert in_small_blocks == [energy for energy, _, _ in rows]
