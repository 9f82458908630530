"""The time stamps of a file as instants in UTC, in whole seconds; what is none becomes null."""

from zoneinfo import ZoneInfo

import polars as pl

from meterport.domain.errors import ImportRefused

_ISO = (
    r"^(?<date>\d{4}-\d\d-\d\d)[Tt ](?<time>\d\d:\d\d)(?<second>:\d\d)?(?:[.,]0+)?"
    r"(?:[Zz]|(?<sign>[+-])(?<hours>\d\d):?(?<minutes>\d\d))?$"
)
_HAS_OFFSET = r"([Zz]|[+-]\d\d:?\d\d)$"
_EARLIEST_S, _LATEST_S = -2_208_988_800, 7_258_118_400  # 1900 to 2200


def utc_timestamps(values: pl.Series, unit: str, zone: ZoneInfo | None) -> pl.Series:
    """`unit` is iso, epoch_s or epoch_ms. Times without an offset are in `zone`.

    Raises ImportRefused where such a time has no zone: to guess it is how hours get lost.
    """
    if unit in ("epoch_s", "epoch_ms"):
        times = _from_epoch(values, 1_000_000 if unit == "epoch_s" else 1_000)
    elif values.dtype == pl.String:
        times = _from_text(values, zone)
    elif isinstance(values.dtype, pl.Datetime):
        times = _from_datetimes(values, values.dtype, zone)
    else:
        raise ImportRefused(
            f"the timestamp column holds {values.dtype}, not date-times; "
            "seconds since 1970 are --map timestamp=COLUMN:epoch_s"
        )
    return (
        times.to_frame("t").select(pl.when(_is_usable(pl.col("t"))).then(pl.col("t"))).to_series()
    )


def _is_usable(time: pl.Expr) -> pl.Expr:
    in_range = time.dt.epoch("s").is_between(_EARLIEST_S, _LATEST_S)
    return (time.dt.microsecond() == 0) & in_range


def _from_epoch(values: pl.Series, unit_us: int) -> pl.Series:
    # Up to 2**53 µs, the year 2255, float64 holds every microsecond.
    us = pl.col("v").cast(pl.Float64, strict=False) * unit_us
    whole = pl.when(us.abs() < 2**53).then(us.round()).cast(pl.Int64)
    times = values.to_frame("v").select(whole.cast(pl.Datetime("us")))
    return times.to_series().dt.replace_time_zone("UTC")


def _from_text(values: pl.Series, zone: ZoneInfo | None) -> pl.Series:
    fast = values.str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC", strict=False)
    if fast.null_count() == 0:
        return fast
    if zone is None and _any_without_offset(values):
        raise ImportRefused(
            "timestamps without a UTC offset; say their zone: --timezone UTC, "
            "--timezone Europe/Berlin, …"
        )
    parts = values.str.extract_groups(_ISO).struct.unnest()
    local = parts.select(
        (pl.col("date") + "T" + pl.col("time") + pl.col("second").fill_null(":00"))
        .str.to_datetime("%Y-%m-%dT%H:%M:%S", strict=False)
        .alias("local")
    ).to_series()
    offset_min = pl.col("hours").cast(pl.Int64) * 60 + pl.col("minutes").cast(pl.Int64)
    east = pl.when(pl.col("sign") == "-").then(-offset_min).otherwise(offset_min).fill_null(0)
    offset = parts.select(pl.duration(minutes=east)).to_series()
    utc = (local - offset).dt.replace_time_zone("UTC")
    if zone is None:
        return utc
    in_zone = _localised(local, zone)
    has_offset = values.str.contains(_HAS_OFFSET)
    return utc.zip_with(has_offset.fill_null(value=False), in_zone)


def _any_without_offset(values: pl.Series) -> bool:
    is_time = values.str.contains(_ISO)
    return bool((is_time & ~values.str.contains(_HAS_OFFSET)).any())


def _from_datetimes(values: pl.Series, dtype: pl.Datetime, zone: ZoneInfo | None) -> pl.Series:
    whole = values.dt.nanosecond() == 0
    times = values.to_frame("t").select(pl.when(pl.lit(whole)).then(pl.col("t"))).to_series()
    times = times.dt.cast_time_unit("us")
    if dtype.time_zone is not None:
        return times.dt.convert_time_zone("UTC")
    if zone is None:
        raise ImportRefused(
            "timestamps without a time zone; say which: --timezone UTC, --timezone Europe/Berlin, …"
        )
    return _localised(times, zone)


def _localised(local: pl.Series, zone: ZoneInfo) -> pl.Series:
    """An hour that the zone skips or repeats names no instant and becomes null."""
    return local.dt.replace_time_zone(
        zone.key, ambiguous="null", non_existent="null"
    ).dt.convert_time_zone("UTC")
