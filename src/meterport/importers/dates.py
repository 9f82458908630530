"""Dates of all orders as the text of ISO 8601, and which order a file's dates have.

Years of two digits are of this century, 24:00 is the end of the day, AM and PM are understood; a
date alone is its midnight.
"""

import polars as pl

from meterport.domain.errors import ImportRefused
from meterport.importers.options import DateOrder

_TIME = (
    r"(?:(?:[Tt]|,?[ \t]+)?(?<hour>[0-9]{1,2})[:.h]?(?<minute>[0-5][0-9])"
    r"(?:[:.]?(?<second>[0-5][0-9])(?:[.,]0+)?)?(?:[ ]?(?<half>[AaPp])\.?[Mm]\.?)?"
    r"[ ]?(?<offset>[Zz]|[+-][0-9]{2}:?[0-9]{2})?)?"
)
_DAY, _MONTH, _YEAR = "(?<day>[0-9]{1,2})", "(?<month>[0-9]{1,2})", "(?<year>[0-9]{4}|[0-9]{2})"
_SIGN = "[./-]"
_PATTERNS = {
    DateOrder.DMY: f"^{_DAY}{_SIGN}{_MONTH}{_SIGN}{_YEAR}{_TIME}$",
    DateOrder.MDY: f"^{_MONTH}{_SIGN}{_DAY}{_SIGN}{_YEAR}{_TIME}$",
    DateOrder.YMD: (
        f"^(?<year>[0-9]{{4}}){_SIGN}?(?<month>[0-9]{{2}}){_SIGN}?(?<day>[0-9]{{2}}){_TIME}$"
    ),
}
_ISO = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:|$|[Zz]|[+-])"


def order_of(dates: pl.Series) -> DateOrder:
    """Raises ImportRefused where the day and the month cannot be told from each other."""
    if dates.str.contains(_ISO).any():
        return DateOrder.ISO
    if dates.str.contains(_PATTERNS[DateOrder.YMD]).any():
        return DateOrder.YMD
    parts = dates.str.extract_groups(_PATTERNS[DateOrder.DMY]).struct.unnest().drop_nulls("day")
    if parts.is_empty():
        return DateOrder.ISO
    if dates.str.contains(r"^[0-9]{1,2}\.[0-9]{1,2}\.").any():
        return DateOrder.DMY  # with points nobody writes the month first
    first, second = (parts[name].cast(pl.Int64) > 12 for name in ("day", "month"))
    if first.any() == second.any():
        date = dates.drop_nulls()[0]
        raise ImportRefused(
            f"dates such as {date} may begin with the day or the month; "
            "say --date-format dmy or --date-format mdy"
        )
    return DateOrder.DMY if first.any() else DateOrder.MDY


def iso_text(dates: pl.Series, order: DateOrder) -> pl.Series:
    """As YYYY-MM-DDTHH:MM:SS, with the offset if there is one; null for what is no date."""
    parts = dates.str.extract_groups(_PATTERNS[order]).struct.unnest()
    year = pl.col("year").str.pad_start(4, "0").str.replace("^00", "20")
    date = pl.concat_str(year, _two("month"), _two("day"), separator="-")
    hour = pl.col("hour").cast(pl.Int64).fill_null(0)
    half = pl.col("half").str.to_lowercase()
    of_12 = pl.when(hour.is_between(1, 12)).then(
        hour % 12 + pl.when(half == "p").then(12).otherwise(0)
    )
    hour = pl.when(half.is_null()).then(hour).otherwise(of_12)
    ends = (hour == 24) & (_two("minute") == "00") & (_two("second") == "00")
    day = date.str.to_date("%Y-%m-%d", strict=False) + pl.duration(days=ends.cast(pl.Int64))
    hour = pl.when(ends).then(0).when(hour < 24).then(hour)
    text = pl.concat_str(
        day.dt.strftime("%Y-%m-%dT"),
        hour.cast(pl.String).str.pad_start(2, "0"),
        pl.lit(":"),
        _two("minute"),
        pl.lit(":"),
        _two("second"),
        pl.col("offset").fill_null(""),
    )
    return parts.select(text.alias(dates.name)).to_series()


def _two(name: str) -> pl.Expr:
    return pl.col(name).fill_null("00").str.pad_start(2, "0")
