"""How the numbers and dates of a file are written, told or found out from its first rows."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from meterport.domain.errors import ImportRefused
from meterport.domain.readings import VALUE_COLUMNS
from meterport.importers.base import FileReport
from meterport.importers.chosen import Table
from meterport.importers.dates import order_of
from meterport.importers.found import Found
from meterport.importers.options import DateOrder, ImportOptions

_WITH_COMMA = r"^[+-]?[0-9]*,[0-9]+([eE][+-]?[0-9]+)?$"
_WITH_POINT = r"^[+-]?[0-9]*\.[0-9]+([eE][+-]?[0-9]+)?$"
_MAY_BE_THOUSANDS = r"^[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+$"


@dataclass(frozen=True)
class Manner:
    decimal: str
    date_order: DateOrder


def manner_of(
    first: Table | None, found: Mapping[str, Found], options: ImportOptions, report: FileReport
) -> Manner:
    """`first`: the file's first rows. Raises ImportRefused where they can be read in two ways."""
    order = options.date_order
    if order is None:
        order = _date_order(first, found["timestamp"])
        if order is not DateOrder.ISO:
            report.read_as["dates"] = order
    decimal = options.decimal
    if decimal is None:
        decimal = _decimal(first, found, options)
        if decimal != ".":
            report.read_as["decimal"] = decimal
    return Manner(decimal, order)


def date_texts(values: pl.DataFrame, timestamp: Found) -> pl.Series:
    """A date and a time in columns of their own, with a blank between."""
    if len(timestamp.columns) == 1:
        return values[timestamp.columns[0]]
    parts = [pl.col(name).cast(pl.String) for name in timestamp.columns]
    return values.select(pl.concat_str(parts, separator=" ").alias("timestamp")).to_series()


def _date_order(first: Table | None, timestamp: Found) -> DateOrder:
    if first is None or timestamp.unit != "iso":
        return DateOrder.ISO
    dates = date_texts(first.values, timestamp)
    return order_of(dates.drop_nulls()) if dates.dtype == pl.String else DateOrder.ISO


def _decimal(first: Table | None, found: Mapping[str, Found], options: ImportOptions) -> str:
    sources = [found[name].columns for name in VALUE_COLUMNS if name in found]
    names = {name for columns in sources for name in columns} | {options.factor} - {None}
    cells = [] if first is None else [first.values[str(name)] for name in names]
    texts = [each.drop_nulls() for each in cells if each.dtype == pl.String]
    numbers = pl.concat([pl.Series(dtype=pl.String), *(each.rename("") for each in texts)])
    commas = numbers.filter(numbers.str.contains(_WITH_COMMA))
    if commas.is_empty():
        return "."
    points = numbers.filter(numbers.str.contains(_WITH_POINT))
    if len(points) or commas.str.contains(_MAY_BE_THOUSANDS).all():
        beside = f" beside {points[0]}" if len(points) else ""
        raise ImportRefused(
            f"numbers such as {commas[0]}{beside}: the comma may part thousands or decimals; "
            "say --decimal , if it is the decimal sign"
        )
    return ","
