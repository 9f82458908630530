"""The time stamps of a file as instants in UTC, in whole seconds; what is none becomes null."""

from zoneinfo import ZoneInfo

import polars as pl

from meterport.domain.errors import ImportRefused
from meterport.importers.dates import iso_text
from meterport.importers.options import DateOrder

# Written out, because Polars' own parser also takes unpadded numbers and leap seconds.
_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_HOUR, _MINUTE = "(?:[01][0-9]|2[0-3])", "[0-5][0-9]"
_PLAIN = f"^{_DATE}T{_HOUR}:{_MINUTE}:{_MINUTE}Z$"
_ISO = (
    f"^(?<date>{_DATE})[Tt ](?<time>{_HOUR}:{_MINUTE})(?<second>:{_MINUTE}(?:[.,]0+)?)?"
    f"(?:[Zz]|(?<sign>[+-])(?<hours>0[0-9]|1[0-4]):?(?<minutes>{_MINUTE}))?$"
)
_HAS_OFFSET = "([Zz]|[+-][0-9]{2}:?[0-9]{2})$"
NO_TIME = pl.Series([None], dtype=pl.Datetime("us"))
_EARLIEST_S, _LATEST_S = -2_208_988_800, 7_258_118_400  # 1900 to 2200
_PER_SECOND = {"ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def utc_timestamps(
    values: pl.Series,
    unit: str,
    zone: ZoneInfo | None,
    *,
    order: DateOrder = DateOrder.ISO,
    turns: pl.Series | None = None,
) -> pl.Series:
    """`unit` is iso, epoch_s or epoch_ms. Times without an offset are in `zone`.

    `turns`: whose turn each is, where the clock shows a time twice: "earliest" or "latest".
    Raises ImportRefused where such a time has no zone: to guess it is how hours get lost.
    """
    if unit in ("epoch_s", "epoch_ms"):
        return _from_epoch(values, 1 if unit == "epoch_s" else 1_000)
    if values.dtype == pl.String:
        return _from_text(_iso(values, order), zone, turns)
    if isinstance(values.dtype, pl.Datetime):
        return _from_datetimes(values, values.dtype, zone, turns)
    raise ImportRefused(
        f"the timestamp column holds {values.dtype}, not date-times; "
        "seconds since 1970 are --map timestamp=COLUMN:epoch_s"
    )


def wall_times(values: pl.Series, unit: str, order: DateOrder) -> pl.Series:
    """What the clock showed, where no offset is said; else null."""
    if unit == "iso" and values.dtype == pl.String:
        text = _iso(values, order)
        return _local(text).zip_with(~text.str.contains(_HAS_OFFSET), NO_TIME)
    if isinstance(values.dtype, pl.Datetime) and values.dtype.time_zone is None:
        return _instants(values, pl.col("t").to_physical(), _PER_SECOND[values.dtype.time_unit])
    return pl.repeat(None, len(values), dtype=NO_TIME.dtype, eager=True)


def is_repeated(walls: pl.Series, zone: ZoneInfo) -> pl.Series:
    """Whether the clock shows that time twice; null becomes False."""
    first, last = (
        walls.dt.replace_time_zone(zone.key, ambiguous=turn, non_existent="null")
        for turn in ("earliest", "latest")
    )
    return (first != last).fill_null(value=False)


def off_the_clock(wall: pl.Series, zone: ZoneInfo) -> str:
    """Why that one time is no instant; nothing where it is one, or no time at all."""
    if wall[0] is None:
        return ""
    if is_repeated(wall, zone)[0]:
        return (
            f"the clock of {zone.key} shows that time twice, and the order of the rows does not "
            "tell which it is; say --repeated-hour first or second"
        )
    there = wall.dt.replace_time_zone(zone.key, ambiguous="earliest", non_existent="null")
    return f"the clock of {zone.key} skips that time" if there[0] is None else ""


def _iso(values: pl.Series, order: DateOrder) -> pl.Series:
    return values if order is DateOrder.ISO else iso_text(values, order)


def _from_epoch(values: pl.Series, per_second: int) -> pl.Series:
    count = pl.col("t").cast(pl.Float64, strict=False)
    return _instants(values, count, per_second).dt.replace_time_zone("UTC")


def _instants(values: pl.Series, count: pl.Expr, per_second: int) -> pl.Series:
    """Whole seconds of our centuries as times without a zone; what is not becomes null.

    The range is looked at first: conversions far outside of it overflow.
    """
    in_range = count.is_between(_EARLIEST_S * per_second, _LATEST_S * per_second, closed="left")
    whole = pl.when(in_range & (count % per_second == 0)).then(count).cast(pl.Int64)
    seconds = whole.floordiv(per_second)
    times = values.to_frame("t").select((seconds * 1_000_000).cast(pl.Datetime("us")))
    return times.to_series()


def _from_text(values: pl.Series, zone: ZoneInfo | None, turns: pl.Series | None) -> pl.Series:
    if values.str.contains(_PLAIN).all():
        plain = values.str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC", strict=False)
        return _in_our_centuries(plain)
    if zone is None and _any_without_offset(values):
        raise ImportRefused(
            "timestamps without a UTC offset; say their zone: --timezone UTC, "
            "--timezone Europe/Berlin, …"
        )
    local = _local(values)
    parts = values.str.extract_groups(_ISO).struct.unnest()
    utc = (local - parts.select(_offset()).to_series()).dt.replace_time_zone("UTC")
    if zone is None:
        return utc
    has_offset = values.str.contains(_HAS_OFFSET).fill_null(value=False)
    return utc.zip_with(has_offset, _localised(local, zone, turns))


def _local(values: pl.Series) -> pl.Series:
    """What stands before the offset, if there is one."""
    parts = values.str.extract_groups(_ISO).struct.unnest()
    second = pl.col("second").str.head(3).fill_null(":00")
    text = pl.col("date") + "T" + pl.col("time") + second
    local = parts.select(text.str.to_datetime("%Y-%m-%dT%H:%M:%S", strict=False)).to_series()
    return _in_our_centuries(local)


def _offset() -> pl.Expr:
    minutes = pl.col("hours").cast(pl.Int64) * 60 + pl.col("minutes").cast(pl.Int64)
    east = pl.when(pl.col("sign") == "-").then(-minutes).otherwise(minutes)
    return pl.duration(minutes=east.fill_null(0))


def _in_our_centuries(times: pl.Series) -> pl.Series:
    inside = pl.col("t").dt.epoch("s").is_between(_EARLIEST_S, _LATEST_S, closed="left")
    return times.to_frame("t").select(pl.when(inside).then(pl.col("t"))).to_series()


def _any_without_offset(values: pl.Series) -> bool:
    is_time = values.str.contains(_ISO)
    return bool((is_time & ~values.str.contains(_HAS_OFFSET)).any())


def _from_datetimes(
    values: pl.Series, dtype: pl.Datetime, zone: ZoneInfo | None, turns: pl.Series | None
) -> pl.Series:
    if dtype.time_zone is None and zone is None:
        raise ImportRefused(
            "timestamps without a time zone; say which: --timezone UTC, --timezone Europe/Berlin, …"
        )
    times = _instants(values, pl.col("t").to_physical(), _PER_SECOND[dtype.time_unit])
    if dtype.time_zone is None and zone is not None:
        return _localised(times, zone, turns)
    return times.dt.replace_time_zone("UTC")


def _localised(local: pl.Series, zone: ZoneInfo, turns: pl.Series | None) -> pl.Series:
    """An hour that the zone skips, or repeats without a turn, names no instant: null."""
    if turns is None:
        turns = pl.repeat("null", len(local), eager=True)
    in_zone = pl.col("local").dt.replace_time_zone(
        zone.key, ambiguous=pl.col("turn"), non_existent="null"
    )
    both = pl.DataFrame({"local": local, "turn": turns})
    return both.select(in_zone.dt.convert_time_zone("UTC")).to_series()
