"""The workbook's cells as written, and read back by openpyxl."""

import io
import zipfile
from collections.abc import Iterable
from datetime import UTC, datetime

import openpyxl
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterport.domain.errors import FormatCannotHold, SourceDataInvalid, StorageFull
from meterport.domain.readings import DEFAULT_COLUMNS
from meterport.encoders import xlsx
from tests import make
from tests.unit import sheets
from tests.unit.sheets import COLUMNS, Row, encoded, frame, sheet

SHORT_NUMBERS = (
    st.none()
    | st.sampled_from([-1.5, 9.95, 1e300, 1e-300, 123456789.012345])
    | (
        st.tuples(st.integers(-(10**15) + 1, 10**15 - 1), st.integers(-280, 280))
        .map(lambda parts: float(f"{parts[0]}e{parts[1]}"))
        .map(lambda value: value + 0.0)
    )
)
CELL_TEXTS = st.none() | st.text(
    st.characters(
        min_codepoint=32, exclude_characters="\x7f\ufffe\uffff_", exclude_categories=["Cs"]
    ),
    min_size=1,
    max_size=8,
)


def cells(data: bytes, name: str = "readings") -> list[tuple[object, ...]]:
    book = openpyxl.load_workbook(io.BytesIO(data))
    return list(book[name].iter_rows(values_only=True))


def part(data: bytes, name: str = "xl/worksheets/sheet1.xml") -> str:
    return zipfile.ZipFile(io.BytesIO(data)).read(name).decode()


def test_a_row_of_cells_is_written_as_printed() -> None:
    of = sheet(("timestamp", "smart_meter_id", "energy_kwh", "power_kw"))

    written = part(encoded(xlsx.FORMAT, make.readings(0.5, None), of=of))

    assert written.split("</row>")[1:] == [
        '<row r="2"><c r="A2" t="inlineStr"><is><t xml:space="preserve">2024-01-01T00:00:00Z</t>'
        '</is></c><c r="B2" t="inlineStr"><is><t xml:space="preserve">123</t></is></c>'
        '<c r="C2"><v>0.5</v></c><c r="D2"><v>2.1</v></c>',
        '<row r="3"><c r="A3" t="inlineStr"><is><t xml:space="preserve">2024-01-01T00:01:00Z</t>'
        '</is></c><c r="B3" t="inlineStr"><is><t xml:space="preserve">123</t></is></c>'
        '<c r="D3"><v>2.1</v></c>',
        "</sheetData></worksheet>",
    ]


def test_the_second_sheet_says_what_the_export_is_of() -> None:
    of = sheet(("timestamp", "energy_kwh"), "Europe/Berlin", meters=("123", "a"))

    written = encoded(xlsx.FORMAT, of=of)

    assert cells(written, "export") == [
        ("start", "2024-01-01T01:00:00+01:00"),
        ("end", "2024-01-02T01:00:00+01:00"),
        ("timezone", "Europe/Berlin"),
        ("timestamp is the interval's", "start"),
        ("readings as of", "2024-02-03T04:05:06Z"),
        ("unit of energy_kwh", "kWh"),
        ("meter", "123"),
        ("meter", "a"),
    ]
    assert cells(written) == [("timestamp", "energy_kwh")]
    book = openpyxl.load_workbook(io.BytesIO(written))
    assert book.properties.created.isoformat() in (
        "2024-02-03T04:05:06",
        "2024-02-03T04:05:06+00:00",
    )


def test_the_archives_own_times_are_fixed() -> None:
    archive = zipfile.ZipFile(io.BytesIO(encoded(xlsx.FORMAT)))

    assert {(entry.date_time, entry.create_system) for entry in archive.infolist()} == {
        ((1980, 1, 1, 0, 0, 0), 3)
    }
    assert archive.namelist()[0] == "[Content_Types].xml"
    assert archive.testzip() is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(9.95, "9.95"), (-0.0, "0.0"), (230.0, "230.0"), (1e16, "1e+16"), (-1e-7, "-1e-7")],
)
def test_numbers_are_the_shortest_text_that_reads_back(value: float, text: str) -> None:
    written = part(encoded(xlsx.FORMAT, make.readings(value), of=sheet(("energy_kwh",))))

    assert f'<c r="A2"><v>{text}</v></c>' in written


def test_text_is_never_a_formula_nor_markup_nor_an_escape() -> None:
    texts = ["=1+1", "<r>&", " spaced ", "_x0041_x0042_", "a_x"]
    frame = pl.DataFrame({"quality": texts})

    written = part(encoded(xlsx.FORMAT, frame, of=sheet(("quality",))))

    assert [
        f'<t xml:space="preserve">{text}</t>' in written
        for text in ("=1+1", "&lt;r&gt;&amp;", " spaced ", "_x005F_x0041_x005F_x0042_", "a_x")
    ] == [True] * 5
    assert "<f>" not in written


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (0.1 + 0.2, "0.30000000000000004"),
        (123456789.0123456, "more than 15 significant digits"),
        (1e308, "out of the range"),
        (5e-324, "out of the range"),
    ],
)
def test_a_number_that_excel_would_change_is_refused_by_its_row(value: float, why: str) -> None:
    with pytest.raises(FormatCannotHold, match=why) as refused:
        encoded(
            xlsx.FORMAT,
            make.readings(1.0),
            make.readings(1.0, value),
            of=sheet(DEFAULT_COLUMNS),
        )

    assert refused.value.message.startswith("Row 4: energy_kwh has ")
    assert refused.value.details == "Ask for csv or parquet, which hold it exactly"
    assert not refused.value.retryable


@pytest.mark.parametrize("text", ["\x00", "a\x1f", "\r", "\uffff", "x" * 32_768])
def test_a_text_that_no_cell_holds_is_refused_by_its_row(text: str) -> None:
    with pytest.raises(FormatCannotHold, match="Row 2: quality"):
        encoded(xlsx.FORMAT, pl.DataFrame({"quality": [text]}), of=sheet(("quality",)))


def test_more_readings_than_a_sheet_has_rows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx, "MOST_READINGS", 3)
    of = sheet(DEFAULT_COLUMNS)

    assert len(cells(encoded(xlsx.FORMAT, make.readings(1, 2, 3), of=of))) == 4
    with pytest.raises(FormatCannotHold, match="Row 5 does not fit") as refused:
        encoded(xlsx.FORMAT, make.readings(1, 2), make.readings(3, 4), of=of)

    assert "csv or parquet" in refused.value.details


def test_a_sheet_has_as_many_rows_as_excel() -> None:
    assert xlsx.MOST_READINGS == 2**20 - 1


def test_what_is_no_finite_number_is_refused() -> None:
    with pytest.raises(SourceDataInvalid, match="energy_kwh"):
        encoded(xlsx.FORMAT, make.readings(float("nan")), of=sheet(DEFAULT_COLUMNS))


def test_what_the_sink_or_the_source_says_is_not_lost_in_the_archive() -> None:
    class Full:
        def write(self, data: bytes, /) -> None:
            raise StorageFull(f"no space for {len(data)} bytes")

    def broken() -> Iterable[pl.DataFrame]:
        yield make.readings(1.0)
        raise make.error()

    with pytest.raises(StorageFull):
        xlsx.FORMAT.encode([make.readings(1.0)], Full(), sheet(DEFAULT_COLUMNS))
    with pytest.raises(type(make.error())):
        xlsx.FORMAT.encode(broken(), sheets.WriteOnly(), sheet(DEFAULT_COLUMNS))


@settings(max_examples=30)
@given(rows=sheets.rows(SHORT_NUMBERS, CELL_TEXTS), cut=st.integers(0, 20))
def test_what_is_written_reads_back_value_for_value(rows: list[Row], cut: int) -> None:
    whole, of = frame(rows), sheet(zone="Europe/Berlin")

    written = encoded(xlsx.FORMAT, whole, of=of)

    header, *lines = cells(written)
    assert header == COLUMNS
    assert [(datetime.fromisoformat(str(time)).astimezone(UTC), *v) for time, *v in lines] == rows
    assert encoded(xlsx.FORMAT, whole[:cut], whole[cut:], of=of) == written
