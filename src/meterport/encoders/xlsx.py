"""An Excel workbook: sheet `readings`, and sheet `export` that says what it is of.

Shape:   a row of column names, then one row per reading, at most MOST_READINGS; text stays text
         (never a formula). Written front to back: no temporary file, no shared strings.
Units:   in sheet `export`.
Time:    text, because Excel's times know no zone: the interval's start, ISO 8601 to the second,
         Z for UTC, else the offset.
Numbers: the shortest text that reads back to the same float64; missing is an absent cell.
Exact:   numbers of at most 15 significant digits from 2.2250738585072014e-308 to
         9.99999999999999e307, of either sign, and zero; -0.0, equal to it, becomes 0.0. Text of at
         most 32,767 characters that XML can hold. Anything else is refused, never rounded.
Bytes:   the same rows make the same bytes; the archive's own times are fixed.
"""

import string
import zipfile
from collections.abc import Iterable, Iterator
from datetime import UTC
from typing import IO, cast

import polars as pl

from meterport.domain.errors import FormatCannotHold, shown
from meterport.domain.sheets import Sheet
from meterport.encoders import xlsx_parts as parts
from meterport.encoders.about import about
from meterport.encoders.base import ExportFormat, Sink
from meterport.encoders.pieces import pieces, times_as_text
from meterport.encoders.sinks import SinkFile

MOST_READINGS = 1_048_575
MOST_DIGITS = 15
LARGEST, SMALLEST = 9.99999999999999e307, 2.2250738585072014e-308
LONGEST_TEXT = 32_767
LETTERS = string.ascii_uppercase
REMEDY = "Ask for csv or parquet, which hold it exactly"
_NOT_IN_XML = r"[\x00-\x08\x0B-\x1F\x{FFFE}\x{FFFF}]"
_LOOKS_ESCAPED = r"_x[0-9A-Fa-f]{4}_"


def body(frames: Iterable[pl.DataFrame], sink: Sink, sheet: Sheet) -> None:
    with zipfile.ZipFile(cast(IO[bytes], SinkFile(sink)), "w") as archive:
        made_at = sheet.made_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for name, text in parts.FIXED.items():
            archive.writestr(_entry(name), text)
        archive.writestr(_entry("docProps/core.xml"), parts.CORE.format(made_at=made_at))
        archive.writestr(_entry("xl/worksheets/sheet2.xml"), _export_sheet(sheet))
        with archive.open(_entry("xl/worksheets/sheet1.xml"), "w") as part:
            for xml in _readings_sheet(frames, sheet):
                part.write(xml.encode())


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system = 3  # else it names the machine's own
    return entry


def _export_sheet(sheet: Sheet) -> str:
    said = about(sheet)
    lines = [
        ("start", said["period"]["start"]),
        ("end", said["period"]["end"]),
        ("timezone", said["timezone"]),
        ("timestamp is the interval's", said["interval_label"]),
        ("readings as of", said["source"]["made_at"]),
        *((f"unit of {c['name']}", c["unit"]) for c in said["columns"] if c["unit"]),
        *(("meter", meter) for meter in said["meters"]),
    ]
    rows = _rows(pl.DataFrame(lines, schema=["what", "is"], orient="row"), 1)
    return parts.SHEET_HEAD + parts.SHEET_DATA + rows + parts.SHEET_TAIL


def _readings_sheet(frames: Iterable[pl.DataFrame], sheet: Sheet) -> Iterator[str]:
    names = pl.DataFrame({name: [name] for name in sheet.columns})
    yield parts.SHEET_HEAD + parts.FROZEN_TOP_ROW + parts.SHEET_DATA + _rows(names, 1)
    number = 2
    for piece in pieces(frames, sheet):
        if number - 2 + piece.height > MOST_READINGS:
            raise FormatCannotHold(
                f"Row {MOST_READINGS + 2} does not fit: a sheet of xlsx has {MOST_READINGS + 1}",
                "Ask for csv or parquet, or for a shorter period",
            )
        for column in piece:
            _refuse_what_no_cell_holds(column, number)
        yield _rows(times_as_text(piece, sheet.zone), number)
        number += piece.height
    yield parts.SHEET_TAIL


def _refuse_what_no_cell_holds(column: pl.Series, number: int) -> None:
    if column.dtype.is_float():
        _refuse_where(_extreme(column), column, number, "a number out of the range of xlsx")
        _refuse_where(_long(column), column, number, f"more than {MOST_DIGITS} significant digits")
    elif column.dtype == pl.String:
        unwritable = column.str.contains(_NOT_IN_XML) | (column.str.len_chars() > LONGEST_TEXT)
        _refuse_where(unwritable, column, number, "a text that no cell of xlsx can hold")


def _refuse_where(refused: pl.Series, column: pl.Series, number: int, why: str) -> None:
    row = refused.arg_true()
    if not row.is_empty():
        value = column[row[0]]
        shown_value = value if isinstance(value, float) else shown(value)
        raise FormatCannotHold(
            f"Row {number + row[0]}: {column.name} has {why}: {shown_value}", REMEDY
        )


def _extreme(numbers: pl.Series) -> pl.Series:
    size = numbers.abs()
    return (size > LARGEST) | ((size < SMALLEST) & (size > 0))


def _long(numbers: pl.Series) -> pl.Series:
    text = numbers.cast(pl.String)
    if not (text.str.len_bytes() > MOST_DIGITS).any():  # the usual case, and a quick one
        return pl.Series([False]).new_from_index(0, len(numbers))
    digits = text.str.replace("e.*", "").str.replace_all(r"\D", "").str.strip_chars_start("0")
    return digits.str.strip_chars_end("0").str.len_bytes() > MOST_DIGITS


def _rows(piece: pl.DataFrame, number: int) -> str:
    """The XML of a row per row of `piece`, the first at `number`."""
    row = pl.int_range(number, number + piece.height, eager=True).cast(pl.String).alias("row")
    cells = [_cell(letter, row, column) for letter, column in zip(LETTERS, piece, strict=False)]
    lines = pl.select(
        pl.concat_str(pl.lit('<row r="'), row, pl.lit('">'), *cells, pl.lit("</row>"))
    ).to_series()
    return str(lines.str.join("").item())


def _cell(letter: str, row: pl.Series, values: pl.Series) -> pl.Series:
    if values.dtype.is_numeric():
        number = values.cast(pl.String).str.replace(r"^-0\.0$", "0.0")
        cell = f'<c r="{letter}' + row + '"><v>' + number + "</v></c>"
    else:
        text = _escaped(values)
        cell = f'<c r="{letter}' + row + parts.TEXT_CELL + text + "</t></is></c>"
    return cell.fill_null("")


def _escaped(text: pl.Series) -> pl.Series:
    """For XML; and _x0041_, which Excel would take for an escape of its own."""
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.str.replace_all(character, entity, literal=True)
    escapes = text.str.contains(_LOOKS_ESCAPED)
    return text.str.replace_all("_x", "_x005F_x", literal=True).zip_with(escapes, text)


FORMAT = ExportFormat(
    "xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx", body
)
