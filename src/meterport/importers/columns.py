"""Turns a batch of a file's own columns into READING_SCHEMA, or names its bad rows.

Text and typed columns are taken alike: CSV brings strings, Parquet brings types.
"""

from collections.abc import Iterator, Mapping

import polars as pl

from meterport.domain.errors import ImportRefused, shown
from meterport.domain.readings import READING_SCHEMA, SMART_METER_ID, VALUE_COLUMNS
from meterport.importers.base import UNITS, BadRow, ColumnSource, ImportOptions
from meterport.importers.timestamps import utc_timestamps
from meterport.importers.units import converted

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
    _check_types(raw, columns)
    text = raw.with_columns(pl.col(pl.String).str.strip_chars(" \t").replace("", None))
    ours = text.select(
        _column(name, columns[name])
        if name in columns
        else pl.lit(options.fixed.get(name), dtype=kind).alias(name)
        for name, kind in READING_SCHEMA.items()
        if name != "timestamp"
    )
    ours = ours.with_columns(
        converted(ours[name], UNITS[name][columns[name].unit])
        for name in VALUE_COLUMNS
        if name in columns and not columns[name].is_register
    )
    source = columns["timestamp"]
    times = utc_timestamps(text[source.name], source.unit, options.timezone)
    ours = ours.with_columns(times.alias("timestamp")).select(READING_SCHEMA.names())
    return ours, list(_bad_rows(text, ours, columns, lines))


def _check_types(raw: pl.DataFrame, columns: Mapping[str, ColumnSource]) -> None:
    """Raises ImportRefused for a column of a type that cannot mean ours."""
    for name, source in columns.items():
        kind = raw.schema[source.name]
        if name != "timestamp" and not _may_be(name, kind):
            raise ImportRefused(
                f"column {shown(source.name)} holds {kind}, but {name} is {_WANTED[name]}"
            )


def _may_be(name: str, kind: pl.DataType) -> bool:
    if kind in (pl.String, pl.Null):
        return True
    if name in ("smart_meter_id", "interval_s"):
        return kind.is_integer() or (name == "smart_meter_id" and kind == pl.Categorical)
    return kind == pl.Categorical if name == "quality" else kind.is_numeric()


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
        value = value.cast(pl.Float64, strict=False)
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
        value = _cell(text[columns[name].name], row["row"])
        yield BadRow(lines[row["row"]], f"{name}: {shown(value)} is not {_WANTED[name]}")


def _cell(values: pl.Series, row: int) -> object:
    # A time far outside of Python's own years can only be looked at as the number behind it.
    cell = values.slice(row, 1)
    return (cell.to_physical() if values.dtype.is_temporal() else cell).item()


def _must_hold(name: str, values: pl.Series) -> pl.Series:
    if name in ("timestamp", "smart_meter_id"):
        return pl.repeat(value=True, n=len(values), eager=True)
    return values.is_not_null()
