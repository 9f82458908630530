"""Turns a batch of a file's own columns into READING_SCHEMA, or names its bad rows.

Text and typed columns are taken alike: CSV brings strings, Parquet brings types.
"""

from collections.abc import Iterator, Mapping

import polars as pl

from meterport.domain.errors import shown
from meterport.domain.readings import READING_SCHEMA, SMART_METER_ID, VALUE_COLUMNS
from meterport.importers.base import UNITS, BadRow, ColumnSource, ImportOptions
from meterport.importers.timestamps import utc_timestamps

_LONGEST_INTERVAL_S = 31 * 86_400
_WANTED: Mapping[str, str] = {
    "timestamp": "a date-time in whole seconds, such as 2024-01-01T00:00:00Z",
    "interval_s": "a whole number of seconds up to 31 days",
    "smart_meter_id": "a meter id (1 to 64 letters, digits or . _ : -)",
    "quality": "a word such as estimated",
    **dict.fromkeys(VALUE_COLUMNS, "a finite number"),
}


def readings(
    raw: pl.DataFrame, columns: Mapping[str, ColumnSource], options: ImportOptions, lines: pl.Series
) -> tuple[pl.DataFrame, list[BadRow]]:
    """The batch in our columns, and the rows that are not readings. `lines` numbers the rows.

    A register column still holds its counts, in the file's unit; see registers.py.
    """
    text = raw.with_columns(pl.col(pl.String).str.strip_chars(" \t").replace("", None))
    fixed = {"smart_meter_id": options.smart_meter_id, "interval_s": options.interval_s}
    ours = text.select(
        _column(name, columns[name])
        if name in columns
        else pl.lit(fixed.get(name), dtype=kind).alias(name)
        for name, kind in READING_SCHEMA.items()
        if name != "timestamp"
    )
    source = columns["timestamp"]
    times = utc_timestamps(text[source.name], source.unit, options.timezone)
    ours = ours.with_columns(times.alias("timestamp")).select(READING_SCHEMA.names())
    return ours, list(_bad_rows(text, ours, columns, lines))


def _column(name: str, source: ColumnSource) -> pl.Expr:
    """The column's good values; whatever else stands there becomes null."""
    value = pl.col(source.name)
    if name == "smart_meter_id":
        value = value.cast(pl.String)
        good = value.str.contains(f"^{SMART_METER_ID.pattern}$")
    elif name == "quality":
        value = value.cast(pl.String)
        good = value.str.contains("^[a-z][a-z0-9_-]{0,31}$")
    elif name == "interval_s":
        value = value.cast(pl.Int32, strict=False)
        good = value.is_between(1, _LONGEST_INTERVAL_S)
    else:
        divisor = 1.0 if source.is_register else UNITS[name][source.unit]
        value = value.cast(pl.Float64, strict=False) / divisor
        good = value.is_finite()
    return pl.when(good).then(value).alias(name)


def _bad_rows(
    text: pl.DataFrame, ours: pl.DataFrame, columns: Mapping[str, ColumnSource], lines: pl.Series
) -> Iterator[BadRow]:
    """In the order of the rows; a row is named once, for its first bad column."""
    bad = {
        name: ours[name].is_null() & _must_hold(name, text[source.name])
        for name, source in columns.items()
    }
    rows = pl.DataFrame(bad).with_row_index("row").filter(pl.any_horizontal(list(bad)))
    for row in rows.iter_rows(named=True):
        name = next(name for name in bad if row[name])
        value = text[columns[name].name][row["row"]]
        yield BadRow(lines[row["row"]], f"{name}: {shown(value)} is not {_WANTED[name]}")


def _must_hold(name: str, values: pl.Series) -> pl.Series:
    if name in ("timestamp", "smart_meter_id"):
        return pl.repeat(value=True, n=len(values), eager=True)
    return values.is_not_null()
