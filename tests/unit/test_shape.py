"""Resolutions, zones, gaps, labels and columns, against answers written out and a slow calendar."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterport.domain.errors import (
    FormatCannotHold,
    InvalidColumns,
    InvalidRequest,
    InvalidResolution,
    InvalidTimezone,
    ResolutionTooFine,
)
from meterport.domain.period import Period
from meterport.domain.readings import FRAME_ROWS, READING_SCHEMA, MeterSummary
from meterport.domain.shapes import Shape
from meterport.domain.zones import local_text
from meterport.encoders import nem12
from meterport.services.shape import shaped
from tests import make
from tests.unit import clocks

KWH = ("timestamp", "energy_kwh")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def rows(
    frames: Iterable[pl.DataFrame] | pl.DataFrame,
    period: Period,
    meters: Sequence[MeterSummary] = (),
    **asked: object,
) -> list[tuple[object, ...]]:
    """Timestamps as text in the shape's zone."""
    shape = Shape.requested(**asked)
    given = [frames] if isinstance(frames, pl.DataFrame) else frames
    found: list[tuple[object, ...]] = []
    for frame in shaped(given, shape, period, meters):
        assert frame.columns == list(shape.written)
        times = [c for c in frame.columns if frame[c].dtype == pl.Datetime("us", "UTC")]
        found += frame.with_columns(local_text(frame[c], shape.zone) for c in times).rows()
    return found


def test_energy_is_summed_and_means_weigh_by_duration() -> None:
    long = make.readings(0.2, start=make.JANUARY, interval_s=2700, power_kw=1.0)
    short = make.readings(
        0.1, start=make.JANUARY + timedelta(minutes=45), interval_s=900, power_kw=2.0
    )

    found = rows(
        pl.concat([long, short]),
        make.period(),
        resolution="1h",
        columns=["timestamp", "energy_kwh", "power_kw", "voltage_v", "energy_export_kwh"],
        with_count=True,
    )

    assert found == [("2024-01-01T00:00:00Z", 0.3, 1.25, 230.1, None, 2)]


def test_an_incomplete_interval_is_null_with_its_count_and_never_zero() -> None:
    frame = make.readings(0.1, 0.1, None, 0.1, 0.1, 0.1, 0.1, 0.1, interval_s=900)

    found = rows(
        frame.filter(pl.int_range(8) != 6),
        make.period(minutes=180),
        resolution="1h",
        columns=["timestamp", "energy_kwh", "power_kw"],
        with_count=True,
        gaps="flag",
    )

    assert found == [
        ("2024-01-01T00:00:00Z", None, 2.1, 4, None),
        ("2024-01-01T01:00:00Z", None, None, 3, "incomplete"),
    ]


def test_a_bucket_that_the_period_cuts_is_incomplete() -> None:
    period = Period(at("2024-01-01T12:00Z"), at("2024-01-03T00:00Z"))

    found = rows(clocks.quarters(period), period, resolution="1d", columns=KWH)

    assert found == [("2024-01-01T00:00:00Z", None), ("2024-01-02T00:00:00Z", 9.264)]


def test_a_reading_over_the_border_of_two_buckets_makes_both_incomplete() -> None:
    frame = make.readings(*[0.1] * 12, interval_s=900, start=make.JANUARY + timedelta(minutes=7))

    found = rows(frame, make.period(minutes=240), resolution="1h", columns=KWH, with_count=True)

    assert [row[1:] for row in found] == [(None, 4), (None, 4), (None, 4)]


def test_readings_that_overlap_make_no_sum() -> None:
    frame = pl.concat(
        [
            make.readings(0.5, interval_s=1800),
            make.readings(0.5, interval_s=1800, start=make.JANUARY + timedelta(minutes=15)),
        ]
    )

    assert rows(frame, make.period(), resolution="1h", columns=KWH) == [
        ("2024-01-01T00:00:00Z", None)
    ]


def test_coarse_readings_are_refused_by_name() -> None:
    frame = make.readings(1.0, interval_s=3600, meter="house-7")

    with pytest.raises(ResolutionTooFine, match=r"'house-7' has readings of 3600 seconds.*15m"):
        rows(frame, make.period(), resolution="15m")


@pytest.mark.parametrize("value", [2.0**53, -1e300])
def test_a_value_too_large_for_exact_sums_is_refused_by_its_meter_and_time(value: float) -> None:
    frame = make.readings(1.0, value, interval_s=900)

    with pytest.raises(FormatCannotHold, match=r"energy_kwh of 123 at 2024-01-01T00:15:00Z"):
        rows(frame, make.period(), resolution="1h")


def test_a_month_is_a_local_one() -> None:
    period = Period(at("2024-02-29T23:00Z"), at("2024-03-31T22:00Z"))

    found = rows(
        clocks.quarters(period), period, resolution="1mo", zone="Europe/Berlin", columns=KWH
    )

    assert found == [("2024-03-01T00:00:00+01:00", 4417.878)]


def test_the_hour_of_a_half_hour_change_is_a_short_one() -> None:
    period = Period(at("2025-04-05T14:00Z"), at("2025-04-05T16:30Z"))

    found = rows(
        clocks.quarters(period),
        period,
        resolution="1h",
        zone="Australia/Lord_Howe",
        columns=("timestamp", "interval_s", "energy_kwh"),
    )

    assert found == [
        ("2025-04-06T01:00:00+11:00", 3600, 0.01),
        ("2025-04-06T01:30:00+10:30", 1800, 0.011),
        ("2025-04-06T02:00:00+10:30", 3600, 0.034),
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["estimated"] * 4, "estimated"),
        ([None] * 4, None),
        ([None, "estimated", None, None], "mixed"),
    ],
)
def test_quality_is_told_where_the_readings_agree(
    words: list[str | None], expected: str | None
) -> None:
    frame = make.readings(*[0.1] * 4, interval_s=900).with_columns(
        pl.Series("quality", words, dtype=pl.String)
    )

    found = rows(frame, make.period(), resolution="1h", columns=["timestamp", "quality"])

    assert found == [("2024-01-01T00:00:00Z", expected)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([None, None, None, None], None),
        ([None, "final_substituted", None, None], "final_substituted"),
        (["final_substituted", "substituted", None, None], "substituted"),
        (["substituted", "estimated", "final_substituted", None], "estimated"),
        (["estimated", "edited", "raw", None], "edited"),  # which NEM12 refuses by its name
    ],
)
def test_quality_is_the_least_sure_in_a_format_that_has_no_word_for_mixed(
    words: list[str | None], expected: str | None
) -> None:
    frame = make.readings(*[0.1] * 4, interval_s=900).with_columns(
        pl.Series("quality", words, dtype=pl.String)
    )
    shape = Shape.requested(resolution="1h", columns=["timestamp", "quality"])

    (merged,) = shaped([frame], shape, make.period(), (), qualities=nem12.FORMAT.qualities)

    assert merged["quality"].to_list() == [expected]


def test_missing_intervals_become_null_rows_from_the_first_reading_to_the_last() -> None:
    frame = make.readings(1.0, 2.0, 3.0, 4.0, 5.0, interval_s=900)
    whole = clocks.summary(frame)
    kept = frame.filter(pl.col("energy_kwh").is_in([2.0, 4.0]))

    found = rows(kept, make.period(minutes=600), [whole], columns=KWH, gaps="flag", with_count=True)

    assert found == [
        ("2024-01-01T00:00:00Z", None, 0, "missing"),
        ("2024-01-01T00:15:00Z", 2.0, 1, None),
        ("2024-01-01T00:30:00Z", None, 0, "missing"),
        ("2024-01-01T00:45:00Z", 4.0, 1, None),
        ("2024-01-01T01:00:00Z", None, 0, "missing"),
    ]


def test_meters_without_any_reading_in_the_period_have_null_rows_too() -> None:
    frame = make.readings(1.0, 1.0, interval_s=1800, meter="b")
    meters = [
        MeterSummary(meter, make.JANUARY, make.JANUARY + timedelta(minutes=30), 1800, 2)
        for meter in "abc"
    ]

    found = rows(frame, make.period(), meters, columns=("smart_meter_id", *KWH), gaps="null")

    assert [(meter, kwh) for meter, _, kwh in found] == [
        ("a", None), ("a", None), ("b", 1.0), ("b", 1.0), ("c", None), ("c", None),
    ]  # fmt: skip


@pytest.mark.parametrize("resolution", ["raw", "1m"])
def test_long_gaps_and_many_come_in_frames_of_bounded_size(resolution: str) -> None:
    year = Period(at("2023-01-01T00:00Z"), at("2024-01-01T00:00Z"))
    meters = [
        MeterSummary(meter, year.start, year.end - timedelta(minutes=1), 60, 9) for meter in "abc"
    ]
    frame = pl.concat(make.readings(1.0, start=at("2023-06-01T00:00Z"), meter=m) for m in "ab")
    shape = Shape.requested(resolution=resolution, gaps="flag")

    found = list(shaped([frame], shape, year, meters))

    assert max(part.height for part in found) <= FRAME_ROWS + frame.height
    whole = pl.concat(found)
    minutes = make.many_readings(525_600, start=year.start)["timestamp"]
    assert whole["timestamp"].equals(pl.concat([minutes] * 3))
    assert whole["smart_meter_id"].is_sorted()
    assert whole.filter(pl.col("gap").is_null()).height == 2


def test_missing_buckets_become_null_rows() -> None:
    period = Period(at("2025-03-29T23:00Z"), at("2025-04-01T22:00Z"))
    frame = clocks.quarters(period)
    kept = frame.filter(pl.col("timestamp").dt.day() == 30)

    found = rows(
        kept,
        period,
        [clocks.summary(frame)],
        resolution="1d",
        zone="Europe/Berlin",
        gaps="flag",
        columns=("timestamp", "interval_s", "energy_kwh"),
        label="both",
    )

    midnights = [
        "2025-03-30T00:00:00+01:00",
        "2025-03-31T00:00:00+02:00",
        "2025-04-01T00:00:00+02:00",
        "2025-04-02T00:00:00+02:00",
    ]
    assert [row[:3] for row in found] == [
        (start, end, length)
        for (start, end), length in zip(pairwise(midnights), [82800, 86400, 86400], strict=True)
    ]
    assert [row[3:] for row in found] == [
        (None, "incomplete"),
        (None, "incomplete"),
        (None, "missing"),
    ]


def test_the_end_of_the_interval_can_be_its_label() -> None:
    frame = make.readings(1.0, interval_s=900)

    assert rows(frame, make.period(), columns=KWH, label="end") == [("2024-01-01T00:15:00Z", 1.0)]
    assert rows(frame, make.period(), columns=KWH, label="both") == [
        ("2024-01-01T00:00:00Z", "2024-01-01T00:15:00Z", 1.0)
    ]


def wall_clock(instant: datetime, zone: str) -> str:
    text = instant.astimezone(ZoneInfo(zone)).isoformat()
    return text.replace("+00:00", "Z") if zone == "UTC" else text


def slowly(
    frame: pl.DataFrame, period: Period, resolution: str, zone: str
) -> list[tuple[object, ...]]:
    """The same sums, by the clock on the wall, one reading at a time."""
    around = Period(period.start - timedelta(days=2), period.end + timedelta(days=2))
    start: dict[object, datetime] = {}
    length: dict[object, int] = {}
    for instant in clocks.steps(around):
        key = clocks.bucket(instant, resolution, zone)
        start.setdefault(key, instant)
        length[key] = length.get(key, 0) + 1
    sums: dict[object, list[float]] = {}
    for instant, kwh in frame.select("timestamp", "energy_kwh").iter_rows():
        sums.setdefault(clocks.bucket(instant, resolution, zone), []).append(kwh)
    return [
        (
            wall_clock(start[key], zone),
            round(sum(kwh), 9) if len(kwh) == length[key] else None,
            len(kwh),
        )
        for key, kwh in sums.items()
    ]


@pytest.mark.parametrize("zone", clocks.ZONES)
def test_buckets_are_those_of_the_clock_on_the_wall(zone: str) -> None:
    for change in clocks.changes(zone):
        period = clocks.around(change)
        frame = clocks.quarters(period).filter(pl.int_range(pl.len()) % 101 != 50)
        for resolution in ("15m", "30m", "1h", "1d"):
            found = rows(
                frame, period, resolution=resolution, zone=zone, columns=KWH, with_count=True
            )

            assert found == slowly(frame, period, resolution, zone), (resolution, change)


@pytest.mark.parametrize("zone", clocks.ZONES)
def test_missing_buckets_are_those_of_the_clock_on_the_wall(zone: str) -> None:
    for change in clocks.changes(zone):
        period = clocks.around(change)
        whole = clocks.quarters(period)
        ends = pl.concat([whole.head(1), whole.tail(1)])
        for resolution in ("15m", "1h", "1d"):
            found = rows(
                *(ends, period, [clocks.summary(whole)]),
                resolution=resolution,
                zone=zone,
                columns=["timestamp"],
                gaps="null",
            )

            assert found == [row[:1] for row in slowly(whole, period, resolution, zone)]


def test_a_long_reading_covers_what_comes_in_the_next_frame() -> None:
    long = make.readings(1.0, interval_s=3600)
    inside = make.readings(1.0, start=make.JANUARY + timedelta(minutes=10), interval_s=60)
    after = make.readings(1.0, start=make.JANUARY + timedelta(minutes=60), interval_s=60)

    found = rows([long, inside, after], make.period(), [clocks.summary(after)], gaps="null")

    assert [row[0] for row in found] == [
        "2024-01-01T00:00:00Z",
        "2024-01-01T00:10:00Z",
        "2024-01-01T01:00:00Z",
    ]


@pytest.mark.parametrize("zone", clocks.ZONES)
def test_the_text_of_an_instant_is_that_of_the_clock_on_the_wall(zone: str) -> None:
    for change in clocks.changes(zone):
        instants = list(clocks.steps(clocks.around(change, days=1)))
        series = pl.Series("t", [*instants, None], dtype=READING_SCHEMA["timestamp"])

        found = local_text(series, zone).to_list()

        assert found == [*(wall_clock(instant, zone) for instant in instants), None]
        assert len(set(found)) == len(found)


def test_a_day_goes_on_where_the_clock_is_put_back_over_midnight() -> None:
    period = Period(at("2010-11-06T02:30Z"), at("2010-11-08T03:30Z"))

    found = rows(
        clocks.quarters(period),
        period,
        resolution="1d",
        zone="America/St_Johns",
        columns=("timestamp", "interval_s"),
        with_count=True,
    )

    assert found == [
        ("2010-11-06T00:00:00-02:30", 90000, 100),
        ("2010-11-07T00:00:00-03:30", 86400, 96),
    ]


@given(
    cuts=st.lists(st.integers(0, 800), max_size=6),
    dropped=st.sets(st.integers(0, 799), max_size=40),
    resolution=st.sampled_from(["raw", "30m", "1h", "1d", "1mo"]),
    gaps=st.sampled_from(["omit", "null", "flag"]),
)
def test_how_frames_are_cut_makes_no_difference(
    cuts: list[int], dropped: set[int], resolution: str, gaps: str
) -> None:
    period = Period(at("2025-03-28T23:00Z"), at("2025-04-02T03:00Z"))
    meters = [clocks.quarters(period, meter) for meter in ("a", "b")]
    whole = pl.concat(meters)
    kept = whole.filter(~pl.int_range(pl.len()).is_in(list(dropped)))
    bounds = [0, *sorted(cuts), whole.height]
    frames = [kept[a:b] for a, b in pairwise(bounds)]
    asked = {"resolution": resolution, "gaps": gaps, "zone": "Europe/Berlin", "with_count": True}
    summaries = [clocks.summary(meter) for meter in meters]

    found = rows(frames, period, summaries, **asked)

    assert found == rows(kept, period, summaries, **asked)
    assert all(row[2] is None or row[2] != 0 for row in found)


@pytest.mark.parametrize(
    ("asked", "refusal", "message"),
    [
        ({"resolution": "15min"}, InvalidResolution, "'15min' is not known; did you mean 15m?"),
        ({"resolution": 15}, InvalidResolution, "must be one of raw, 1m, 5m"),
        ({"zone": "europe/berlin"}, InvalidTimezone, "did you mean Europe/Berlin?"),
        ({"zone": "+01:00"}, InvalidTimezone, "use an IANA name: Europe/Berlin"),
        ({"zone": None}, InvalidTimezone, "null is not known"),
        ({"gaps": "nul"}, InvalidRequest, "gaps 'nul' is not known; did you mean null?"),
        ({"label": []}, InvalidRequest, "must be one of start, end, both, not a list of 0 items"),
        ({"columns": ["timestamp", "energy"]}, InvalidColumns, "did you mean energy_kwh?"),
        ({"columns": ["timestamp", "timestamp"]}, InvalidColumns, "named twice"),
        ({"columns": ["energy_kwh"]}, InvalidColumns, "lacks timestamp"),
        ({"columns": [["x"]]}, InvalidColumns, "a list of 1 items is not known"),
        ({"columns": "timestamp"}, InvalidColumns, "must be a list"),
    ],
)
def test_an_unknown_word_is_refused_with_the_nearest_known_one(
    asked: dict[str, object], refusal: type[InvalidRequest], message: str
) -> None:
    with pytest.raises(refusal) as refused:
        Shape.requested(**asked)

    assert type(refused.value) is refusal
    assert message in refused.value.message
