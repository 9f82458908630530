"""The time stamps of a file as instants in UTC, in whole seconds; what is none becomes null."""

from zoneinfo import ZoneInfo

import polars as pl

from meterport.domain.errors import ImportRefused

# Written out, because Polars' own parser also takes unpadded numbers and leap seconds.
_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_HOUR, _MINUTE = "(?:[01][0-9]|2[0-3])", "[0-5][0-9]"
_PLAIN = f"^{_DATE}T{_HOUR}:{_MINUTE}:{_MINUTE}Z$"
_ISO = (
    f"^(?<date>{_DATE})[Tt ](?<time>{_HOUR}:{_MINUTE})(?<second>:{_MINUTE}(?:[.,]0+)?)?"
    f"(?:[Zz]|(?<sign>[+-])(?<hours>0[0-9]|1[0-4]):?(?<minutes>{_MINUTE}))?$"
)
_HAS_OFFSET = "([Zz]|[+-][0-9]{2}:?[0-9]{2})$"
_EARLIEST_S, _LATEST_S = -2_208_988_800, 7_258_118_400  # 1900 to 2200
_PER_SECOND = {"ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def utc_timestamps(values: pl.Series, unit: str, zone: ZoneInfo | None) -> pl.Series:
    """`unit` is iso, epoch_s or epoch_ms. Times without an offset are in `zone`.

    Raises ImportRefused where such a time has no zone: to guess it is how hours get lost.
    """
    if unit in ("epoch_s", "epoch_ms"):
        return _from_epoch(values, 1 if unit == "epoch_s" else 1_000)
    if values.dtype == pl.String:
        return _from_text(values, zone)
    if isinstance(values.dtype, pl.Datetime):
        return _from_datetimes(values, values.dtype, zone)
    raise ImportRefused(
        f"the timestamp column holds {values.dtype}, not date-times; "
        "seconds since 1970 are --map timestamp=COLUMN:epoch_s"
    )


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


def _from_text(values: pl.Series, zone: ZoneInfo | None) -> pl.Series:
    if values.str.contains(_PLAIN).all():
        plain = values.str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC", strict=False)
        return _in_our_centuries(plain)
    if zone is None and _any_without_offset(values):
        raise ImportRefused(
            "timestamps without a UTC offset; say their zone: --timezone UTC, "
            "--timezone Europe/Berlin, …"
        )
    parts = values.str.extract_groups(_ISO).struct.unnest()
    second = pl.col("second").str.head(3).fill_null(":00")
    text = pl.col("date") + "T" + pl.col("time") + second
    local = parts.select(text.str.to_datetime("%Y-%m-%dT%H:%M:%S", strict=False)).to_series()
    local = _in_our_centuries(local)
    utc = (local - parts.select(_offset()).to_series()).dt.replace_time_zone("UTC")
    if zone is None:
        return utc
    has_offset = values.str.contains(_HAS_OFFSET).fill_null(value=False)
    return utc.zip_with(has_offset, _localised(local, zone))


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


def _from_datetimes(values: pl.Series, dtype: pl.Datetime, zone: ZoneInfo | None) -> pl.Series:
    if dtype.time_zone is None and zone is None:
        raise ImportRefused(
            "timestamps without a time zone; say which: --timezone UTC, --timezone Europe/Berlin, …"
        )
    times = _instants(values, pl.col("t").to_physical(), _PER_SECOND[dtype.time_unit])
    if dtype.time_zone is None and zone is not None:
        return _localised(times, zone)
    return times.dt.replace_time_zone("UTC")


def _localised(local: pl.Series, zone: ZoneInfo) -> pl.Series:
    """An hour that the zone skips or repeats names no instant and becomes null."""
    return local.dt.replace_time_zone(
        zone.key, ambiguous="null", non_existent="null"
    ).dt.convert_time_zone("UTC")
