"""The laws of a ReadingStore and of the ReadingSource that reads it."""

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from meterport.domain.errors import ImportBusy, ImportRefused, SourceUnavailable
from meterport.domain.period import Period
from meterport.domain.readings import READING_SCHEMA, MeterSummary
from tests import make
from tests.contracts.conftest import ALL, OpenReadings, Readings

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
JAN_1 = make.JANUARY
FEB_1 = datetime(2024, 2, 1, tzinfo=UTC)


def of(
    meter: str, *energy_kwh: float | None, start: datetime = JAN_1, interval_s: int = 60
) -> pl.DataFrame:
    return make.readings(*energy_kwh, meter=meter, start=start, interval_s=interval_s)


def without_interval(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.lit(None, pl.Int32).alias("interval_s"))


def intervals(readings: Readings, *meters: str) -> list[tuple[str, str, int]]:
    columns = ("smart_meter_id", "timestamp", "interval_s")
    found = readings.source.scan(meters, ALL, columns=columns)
    return [(m, f"{t:%m-%dT%H:%M}", s) for frame in found for m, t, s in frame.iter_rows()]


def state(readings: Readings) -> object:
    return readings.source.version(), readings.rows(), list(readings.source.summaries())


def test_an_empty_store_has_no_rows(readings: Readings) -> None:
    assert readings.rows("A", "B") == []
    assert list(readings.source.summaries()) == []


def test_rows_come_back_by_meter_and_time(readings: Readings) -> None:
    readings.merge(
        of("B", 5, start=FEB_1),
        of("A", 2, start=JAN_1 + MINUTE),
        of("B", 4),
        pl.concat([of("A", 3, start=FEB_1), of("A", 1)]),
    )

    assert readings.rows("B", "A") == [
        ("A", "01-01T00:00", 1),
        ("A", "01-01T00:01", 2),
        ("A", "02-01T00:00", 3),
        ("B", "01-01T00:00", 4),
        ("B", "02-01T00:00", 5),
    ]


def test_a_scan_has_the_meters_that_were_asked_for(readings: Readings) -> None:
    readings.merge(of("A", 1), of("B", 2), of("C", 3), of("c", 4), of("AA", 5))

    assert readings.rows("c", "A", "unknown") == [("A", "01-01T00:00", 1), ("c", "01-01T00:00", 4)]
    assert readings.rows("unknown") == []


def test_a_period_has_its_start_and_not_its_end(readings: Readings) -> None:
    readings.merge(of("A", 0, 1, 2, 3))
    a_microsecond = timedelta(microseconds=1)

    whole = Period(JAN_1 + MINUTE, JAN_1 + 3 * MINUTE)
    later = Period(whole.start + a_microsecond, whole.end + a_microsecond)
    last = Period(JAN_1 + 3 * MINUTE, JAN_1 + DAY)
    outside = Period(JAN_1 - DAY, JAN_1)

    assert [row[2] for row in readings.rows("A", period=whole)] == [1, 2]
    assert [row[2] for row in readings.rows("A", period=later)] == [2, 3]
    assert [row[2] for row in readings.rows("A", period=last)] == [3]
    assert readings.rows("A", period=outside) == []


def test_a_scan_has_the_columns_that_were_asked_for(readings: Readings) -> None:
    readings.merge(of("A", 1.5))

    (frame,) = readings.source.scan(["A"], ALL, columns=["energy_kwh", "timestamp"])

    assert frame.schema == {"energy_kwh": pl.Float64(), "timestamp": pl.Datetime("us", "UTC")}
    assert frame.rows() == [(1.5, JAN_1)]


def test_every_value_is_kept_exactly(readings: Readings) -> None:
    written = pl.DataFrame(
        {
            "timestamp": [JAN_1 + i * MINUTE for i in range(4)],
            "interval_s": [60, 1, 900, 2**31 - 1],
            "smart_meter_id": ["a.B_c:d-9"] * 4,
            "energy_kwh": [0.1 + 0.2, None, -0.0, 5e-324],
            "power_kw": [-1.5, 1e308, None, 0.0],
            "voltage_v": [None, None, None, None],
            "current_a": [9.1, 9.2, 9.3, 9.4],
            "energy_export_kwh": [None, 1.0, None, 2.0],
            "quality": [None, "estimated", "", "ëß"],
        },
        schema=READING_SCHEMA,
    )

    readings.merge(written)

    (found,) = readings.source.scan(["a.B_c:d-9"], ALL, columns=list(READING_SCHEMA))
    assert_frame_equal(found, written, check_exact=True)
    assert str(found["energy_kwh"][2]) == "-0.0"


def test_a_frame_has_whole_meters(open_readings: OpenReadings) -> None:
    readings = open_readings(frame_rows=5)
    readings.merge(of("A", 1, 2, 3), of("B", 4, 5, 6), of("C", 7, 8))

    frames = readings.frames("A", "B", "C")

    assert [[(meter, kwh) for meter, _, kwh in frame] for frame in frames] == [
        [("A", 1), ("A", 2), ("A", 3)],
        [("B", 4), ("B", 5), ("B", 6), ("C", 7), ("C", 8)],
    ]


def test_a_long_meter_is_split_between_utc_days(open_readings: OpenReadings) -> None:
    readings = open_readings(frame_rows=3)
    readings.merge(
        of("A", 1),
        of("B", 2, 3, start=JAN_1 + DAY - 2 * MINUTE),
        of("B", 4, 5, 6, 7, start=JAN_1 + DAY),
        of("B", 8, start=JAN_1 + 2 * DAY),
        of("B", 9, start=FEB_1),
        of("C", 10),
    )

    assert readings.frames("A", "B", "C") == [
        [("A", "01-01T00:00", 1)],
        [("B", "01-01T23:58", 2), ("B", "01-01T23:59", 3)],
        [  # a day that is longer than a frame stays whole
            ("B", "01-02T00:00", 4),
            ("B", "01-02T00:01", 5),
            ("B", "01-02T00:02", 6),
            ("B", "01-02T00:03", 7),
        ],
        [("B", "01-03T00:00", 8), ("B", "02-01T00:00", 9)],
        [("C", "01-01T00:00", 10)],
    ]


@pytest.mark.parametrize("file_rows", [1, 7, 1000])
@pytest.mark.parametrize("frame_rows", [1, 7, 48, 100, 1000])
def test_no_row_is_lost_or_doubled_where_frames_meet(
    file_rows: int, frame_rows: int, open_readings: OpenReadings
) -> None:
    readings = open_readings(file_rows=file_rows, frame_rows=frame_rows)
    numbers = [float(n) for n in range(100)]
    start = FEB_1 - 2 * DAY
    hourly = [of(m, *numbers, start=start, interval_s=3600) for m in ("A", "B")]

    readings.merge(*hourly)

    frames = readings.frames("A", "B")
    assert [(m, kwh) for frame in frames for m, _, kwh in frame] == [
        (m, kwh) for m in ("A", "B") for kwh in numbers
    ]
    assert max(len(frame) for frame in frames) <= max(frame_rows, 24)


def test_an_import_says_what_it_changed(readings: Readings) -> None:
    first = readings.merge(of("A", 1, 2), of("B", 3))

    second = readings.merge(of("A", 20, 30, start=JAN_1 + MINUTE), of("C", 1, interval_s=900))

    assert (first.rows_new, first.rows_replaced, first.rows_duplicate) == (3, 0, 0)
    assert (second.rows_new, second.rows_replaced, second.rows_duplicate) == (2, 1, 0)
    assert sorted(second.added, key=lambda meter: meter.smart_meter_id) == [
        MeterSummary("A", JAN_1 + MINUTE, JAN_1 + 2 * MINUTE, 60, rows=1),
        MeterSummary("C", JAN_1, JAN_1, 900, rows=1),
    ]


def test_a_later_import_of_a_key_wins_and_the_older_version_stays(readings: Readings) -> None:
    first = readings.merge(of("A", 1, 2, 3))

    second = readings.merge(of("A", 20, start=JAN_1 + MINUTE))

    assert second.version > first.version
    assert readings.source.version() == second.version
    assert [row[2] for row in readings.rows("A")] == [1, 20, 3]
    assert [row[2] for row in readings.rows("A", version=second.version)] == [1, 20, 3]
    assert [row[2] for row in readings.rows("A", version=first.version)] == [1, 2, 3]


def test_the_whole_later_row_wins_and_not_its_values_one_by_one(readings: Readings) -> None:
    readings.merge(of("A", 1))

    readings.merge(of("A", None).with_columns(pl.lit("estimated").alias("quality")))

    columns = ["energy_kwh", "power_kw", "quality"]
    (frame,) = readings.source.scan(["A"], ALL, columns=columns)
    assert frame.rows() == [(None, 2.1, "estimated")]


def test_of_two_rows_of_one_import_the_last_wins_and_is_counted(readings: Readings) -> None:
    twice = pl.concat([of("A", 1, 2), of("A", 10)])

    merged = readings.merge(twice, of("B", 3), of("A", 100), of("B", 30))

    assert readings.rows("A", "B") == [
        ("A", "01-01T00:00", 100),
        ("A", "01-01T00:01", 2),
        ("B", "01-01T00:00", 30),
    ]
    assert (merged.rows_new, merged.rows_replaced, merged.rows_duplicate) == (3, 0, 3)


def test_a_row_that_shorter_ones_overlap_is_left_out_and_counted(readings: Readings) -> None:
    quarters = of("A", 1, 2, 3, start=JAN_1 + 15 * MINUTE, interval_s=900)
    hours = of("A", 10, 20, 30, interval_s=3600)
    day = of("B", 99, interval_s=86_400)
    hours_of_b = of("B", 7, interval_s=3600)

    merged = readings.merge(quarters, hours_of_b, hours, day)

    assert readings.rows("A", "B") == [
        ("A", "01-01T00:15", 1),
        ("A", "01-01T00:30", 2),
        ("A", "01-01T00:45", 3),
        ("A", "01-01T01:00", 20),
        ("A", "01-01T02:00", 30),
        ("B", "01-01T00:00", 7),
    ]
    assert (merged.rows_new, merged.rows_duplicate, merged.rows_overlapped) == (6, 0, 2)


def test_rows_that_do_not_say_their_length_overlap_nothing(readings: Readings) -> None:
    at_night = of("A", 1, 2, interval_s=3600).with_columns(
        pl.lit(None, pl.Int32).alias("interval_s")
    )
    by_day = of("A", 3, 4, 5, start=JAN_1 + 90 * MINUTE, interval_s=900)

    merged = readings.merge(at_night, by_day)

    assert len(readings.rows("A")) == 5
    assert merged.rows_overlapped == 0


def test_an_identical_import_makes_no_new_version(readings: Readings) -> None:
    first = readings.merge(of("A", 1, 2), of("B", 3, start=FEB_1))

    second = readings.merge(of("A", 1, 2), of("B", 3, start=FEB_1))

    assert second.version == first.version == readings.source.version()
    assert (second.rows_new, second.rows_replaced, second.rows_duplicate) == (0, 3, 0)


@pytest.mark.parametrize("file_rows", range(1, 10))
def test_an_identical_import_makes_no_new_version_however_full_the_files(
    file_rows: int, open_readings: OpenReadings
) -> None:
    readings = open_readings(file_rows=file_rows)
    frames = [of("A", 1, 2), of("B", 3, 4), of("C", 5, 6, 7)]
    first = readings.merge(*frames)

    second = readings.merge(*frames)

    assert second.version == first.version


def test_an_import_of_nothing_makes_no_new_version(readings: Readings) -> None:
    before = readings.source.version()

    merged = readings.merge()

    assert merged.version == before == readings.source.version()
    assert (merged.rows_new, merged.rows_replaced, merged.rows_duplicate) == (0, 0, 0)
    assert list(merged.added) == []


def test_a_fence_that_raises_leaves_the_store_as_it_was(readings: Readings) -> None:
    readings.merge(of("A", 1, 2))
    before = state(readings)

    def lost() -> None:
        raise ImportBusy("the lease is gone")

    with pytest.raises(ImportBusy, match="the lease is gone"):
        readings.merge(of("A", 9), of("B", 3), fence=lost)

    assert state(readings) == before
    readings.merge(of("A", 9))
    assert [row[2] for row in readings.rows("A")] == [9, 2]


def test_the_fence_is_the_last_thing_before_the_rows_are_seen(readings: Readings) -> None:
    seen: list[object] = []
    before = state(readings)

    readings.merge(of("A", 1), fence=lambda: seen.append(state(readings)))

    assert seen == [before]


@pytest.mark.parametrize("meter", ["A", "B"], ids=["same_keys", "other_keys"])
def test_an_import_that_another_overtook_is_refused_whole(
    meter: str, open_readings: OpenReadings
) -> None:
    readings, other = open_readings(), open_readings()
    readings.merge(of("A", 1))

    with pytest.raises(ImportBusy) as refusal:
        readings.merge(of("A", 5, 6), fence=lambda: discard(other.merge(of(meter, 7))))

    assert refusal.value.retryable
    kept = {"A": [("A", "01-01T00:00", 7)], "B": [("A", "01-01T00:00", 1), ("B", "01-01T00:00", 7)]}
    assert readings.rows("A", "B") == kept[meter]
    readings.merge(of("A", 5, 6))
    assert [row[2] for row in readings.rows("A")] == [5, 6]


def discard(_: object) -> None:
    pass


@pytest.mark.parametrize("error", [ImportRefused("line 3"), ValueError(), KeyboardInterrupt()])
def test_batches_that_end_by_an_error_leave_the_store_as_it_was(
    error: BaseException, readings: Readings
) -> None:
    readings.merge(of("A", 1, 2))
    before = state(readings)

    def batches() -> Iterator[pl.DataFrame]:
        yield of("A", 9)
        yield of("B", 9)
        raise error

    with pytest.raises(type(error)):
        readings.store.merge(batches(), known_intervals=lambda _: {}, fence=lambda: None)

    assert state(readings) == before


def test_a_scan_that_has_begun_reads_on_in_its_version(open_readings: OpenReadings) -> None:
    readings = open_readings(frame_rows=1)
    readings.merge(of("A", 1), of("B", 2), of("C", 3))
    frames = readings.source.scan("ABC", ALL, columns=["energy_kwh"])
    first = next(frames)

    readings.merge(of("A", 10), of("B", 20), of("C", 30, 40))

    assert [first.item(), *(frame.item() for frame in frames)] == [1, 2, 3]


def test_small_files_hold_the_same_rows(open_readings: OpenReadings) -> None:
    readings = open_readings(file_rows=2)
    readings.merge(of("A", 1, 2, 3), of("B", 4), of("C", 5, start=FEB_1))

    readings.merge(of("B", 40, 50), of("C", 6, start=JAN_1))

    assert readings.rows("A", "B", "C") == [
        ("A", "01-01T00:00", 1),
        ("A", "01-01T00:01", 2),
        ("A", "01-01T00:02", 3),
        ("B", "01-01T00:00", 40),
        ("B", "01-01T00:01", 50),
        ("C", "01-01T00:00", 6),
        ("C", "02-01T00:00", 5),
    ]


def test_an_interval_that_is_given_is_kept(readings: Readings) -> None:
    a_minute_each = of("A", 1, interval_s=60), of("A", 2, start=JAN_1 + 15 * MINUTE, interval_s=60)

    merged = readings.merge(*a_minute_each)

    assert intervals(readings, "A") == [("A", "01-01T00:00", 60), ("A", "01-01T00:15", 60)]
    assert dict(merged.derived_intervals) == {}


def test_a_missing_interval_is_the_commonest_step_of_the_meter_and_day(readings: Readings) -> None:
    merged = readings.merge(
        without_interval(of("A", 1, 2, 3, interval_s=900)),
        without_interval(of("A", 4, 5, 6, start=JAN_1 + DAY, interval_s=1800)),
        without_interval(of("B", 7, 8, interval_s=3600)),
        of("C", 9, interval_s=60),
    )

    assert intervals(readings, "A", "B", "C") == [
        ("A", "01-01T00:00", 900),
        ("A", "01-01T00:15", 900),
        ("A", "01-01T00:30", 900),
        ("A", "01-02T00:00", 1800),
        ("A", "01-02T00:30", 1800),
        ("A", "01-02T01:00", 1800),
        ("B", "01-01T00:00", 3600),
        ("B", "01-01T01:00", 3600),
        ("C", "01-01T00:00", 60),
    ]
    assert dict(merged.derived_intervals) == {1800: 1, 3600: 1}


def test_gaps_and_repeated_rows_do_not_change_the_commonest_step(readings: Readings) -> None:
    quarters = of("A", *range(20), interval_s=900)
    gappy = quarters.filter(~pl.col("energy_kwh").is_in([3.0, 4.0, 9.0, 13.0]))

    readings.merge(without_interval(gappy), without_interval(gappy))

    assert {seconds for _, _, seconds in intervals(readings, "A")} == {900}


def test_a_single_reading_takes_the_interval_that_its_meter_is_known_for(
    readings: Readings,
) -> None:
    asked: list[list[str]] = []

    def known(meters: Collection[str]) -> Mapping[str, int]:
        asked.append(sorted(meters))
        return {"A": 900}

    merged = readings.store.merge(
        [without_interval(of("A", 1)), without_interval(of("B", 1, 2, interval_s=60))],
        known_intervals=known,
        fence=lambda: None,
    )

    assert asked == [["A"]]
    assert intervals(readings, "A") == [("A", "01-01T00:00", 900)]
    assert dict(merged.derived_intervals) == {60: 1}


@pytest.mark.parametrize("meter", ["B", "unknown"])
def test_a_single_reading_of_an_unknown_meter_is_refused(meter: str, readings: Readings) -> None:
    readings.merge(of("A", 1, 2))
    before = state(readings)

    with pytest.raises(ImportRefused, match=f"meter '{meter}' has a single reading"):
        readings.merge(of("A", 5), without_interval(of(meter, 1)), known={"A": 900})

    assert state(readings) == before


def test_an_older_version_has_its_own_summaries(readings: Readings) -> None:
    first = readings.merge(of("A", 1, 2))

    readings.merge(of("A", 3, start=FEB_1, interval_s=900), of("B", 4))

    assert list(readings.source.summaries(first.version)) == [
        MeterSummary("A", JAN_1, JAN_1 + MINUTE, 60, rows=2)
    ]
    assert list(readings.source.summaries()) == [
        MeterSummary("A", JAN_1, FEB_1, 900, rows=3),
        MeterSummary("B", JAN_1, JAN_1, 60, rows=1),
    ]


@pytest.mark.parametrize(
    "ask",
    [
        lambda r: r.rows("A", version=99),
        lambda r: list(r.source.summaries(99)),
    ],
    ids=["scan", "summaries"],
)
def test_a_version_that_does_not_exist_cannot_be_read(
    ask: Callable[[Readings], object], readings: Readings
) -> None:
    readings.merge(of("A", 1))

    with pytest.raises(SourceUnavailable):
        ask(readings)
