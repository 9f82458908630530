"""What our writer of Green Button writes comes back value for value; so do other people's feeds."""

import io
import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterport.domain.errors import ImportRefused
from meterport.domain.espi_quality import QUALITY_CODES
from meterport.domain.period import Period
from meterport.domain.readings import KEY, READING_SCHEMA, VALUE_COLUMNS
from meterport.domain.sheets import Sheet
from meterport.encoders import espi
from meterport.importers import green_button
from meterport.importers.base import FileReport
from meterport.importers.options import ImportOptions
from tests import green_button as another_reader
from tests import make
from tests.unit import feeds

METERS = ("123", "a.b:c_d-e", "9B6C")
WORDS = st.none() | st.sampled_from(sorted(QUALITY_CODES))


def written(frames: Sequence[pl.DataFrame], zone: str = "UTC") -> bytes:
    period = Period(make.JANUARY, make.JANUARY + timedelta(days=366))
    made_at = datetime(2024, 2, 1, tzinfo=UTC)
    sink = io.BytesIO()
    espi.FORMAT.encode(frames, sink, Sheet(METERS, period, made_at, tuple(READING_SCHEMA), zone))
    return sink.getvalue()


def read_back(feed: bytes) -> pl.DataFrame:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.xml"
        path.write_bytes(feed)
        return feeds.read(path)


def held(shift: int) -> st.SearchStrategy[float]:
    """What 15 digits and a multiplier from -12 to 12 hold; a channel may need several."""
    units = st.integers(-(2**47) + 1, 2**47 - 1) | st.integers(-5000, 5000)
    return st.builds(lambda n, m: float(Decimal(n).scaleb(m - shift)), units, st.integers(-12, 12))


def values() -> st.SearchStrategy[tuple[float | None, ...]]:
    """Per column of VALUE_COLUMNS; at least one of them is known."""
    shifts = {"voltage_v": 0, "current_a": 0}
    columns = [st.none() | held(shifts.get(name, 3)) for name in VALUE_COLUMNS]
    return st.tuples(*columns).filter(any_known)


def any_known(row: tuple[float | None, ...]) -> bool:
    return any(value is not None for value in row)


@settings(max_examples=50, deadline=None)
@given(
    rows=st.dictionaries(
        st.tuples(st.sampled_from(METERS), st.integers(0, 400)),
        st.tuples(st.sampled_from([60, 900, 3600]), values(), WORDS),
        min_size=1,
        max_size=12,
    ),
    cut=st.integers(0, 12),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]),
)
def test_every_value_word_and_length_comes_back(
    rows: dict[tuple[str, int], tuple[int, tuple[float | None, ...], str | None]],
    cut: int,
    zone: str,
) -> None:
    frame = pl.DataFrame(
        [
            (make.JANUARY + timedelta(hours=hour), interval_s, meter, *numbers, word)
            for (meter, hour), (interval_s, numbers, word) in sorted(rows.items())
        ],
        schema={"timestamp": None, "interval_s": None, "smart_meter_id": None}
        | {name: READING_SCHEMA[name] for name in (*VALUE_COLUMNS, "quality")},
        orient="row",
    )
    frame = frame.select(READING_SCHEMA.names()).cast(READING_SCHEMA)

    back = read_back(written([frame[:cut], frame[cut:]], zone))

    assert back.sort(KEY).rows() == frame.rows()
    assert back.schema == READING_SCHEMA


@pytest.mark.parametrize(
    ("start", "hours"),
    [(datetime(2024, 3, 30, 23, tzinfo=UTC), 23), (datetime(2024, 10, 26, 22, tzinfo=UTC), 25)],
)
def test_the_days_of_clock_changes_come_back(start: datetime, hours: int) -> None:
    day = make.readings(*[n / 4 for n in range(4 * hours)], start=start, interval_s=900)

    assert read_back(written([day], "Europe/Berlin")).equals(day)


def test_many_more_rows_than_a_batch_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(green_button, "BATCH_ROWS", 100)
    frames = [make.readings(*[n / 8 for n in range(250)], meter=meter) for meter in METERS]

    assert read_back(written(frames)).equals(pl.concat(frames))


def test_a_feed_without_rows_says_so() -> None:
    with pytest.raises(ImportRefused, match=r"^a\.xml: no readings of electricity "):
        read_back(written([]))


def test_words_that_espi_does_not_know_come_back_as_other() -> None:
    frame = make.readings(0.5).with_columns(quality=pl.lit("smelled"))

    assert read_back(written([frame]))["quality"].to_list() == ["other"]


SAMPLES = {
    "Coastal_Multi_Family_Jan_1_2011_to_Jan_1_2012_RetailCustomer_5.xml": (8760, "5:1", 3600),
    "TestGBDataHourlyNineDaysBinnedDaily.xml": (9 * 24, "2:2", 3600),
    "TestGBDataOneYearDailyBinnedMonthly.xml": (444, "1:1", 86_400),
    "cew821_sample_greenbutton_data.xml": (362, "9b6c7063:01", 3600),
    "electric_containerized.xml": (8, "3:1", 3600),
    "gba_test_usage_data_01.xml": (96, "9B6C7066:5446AF3F", 900),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_feed_has_as_many_rows_as_it_has_readings(samples: Path, name: str) -> None:
    path = samples / "greenbutton" / name
    count, meter, interval_s = SAMPLES[name]
    report = FileReport(path)

    frame = feeds.read(path, report=report)

    assert len(re.findall(r"<(?:\w+:)?IntervalReading>", path.read_text("utf-8"))) == count
    assert (frame.height, report.rows) == (count, count)
    assert frame["smart_meter_id"].unique().to_list() == [meter]
    assert Counter(frame["interval_s"]).most_common(1)[0][0] == interval_s
    assert not any("reading" in what for what in report.passed_over)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_feed_agrees_with_another_reader_value_for_value(samples: Path, name: str) -> None:
    path = samples / "greenbutton" / name
    words = {None: None} | {code: word for word, code in QUALITY_CODES.items()}
    theirs = another_reader.values_of_blocks(path.read_bytes())

    frame = feeds.read(path)

    assert [
        (int(row["timestamp"].timestamp()), row["interval_s"], row["energy_kwh"], row["quality"])
        for row in frame.iter_rows(named=True)
    ] == [
        (start, duration, float(Decimal(watt_hours) / 1000), words[quality])
        for start, duration, watt_hours, quality in theirs
    ]


def test_a_sample_feeds_qualities_are_words(samples: Path) -> None:
    frame = feeds.read(samples / "greenbutton" / "gba_test_usage_data_01.xml")

    assert Counter(frame["quality"]) == {None: 94, "estimated": 1, "edited": 1}


def test_a_meter_id_may_be_given_to_a_sample_feed(samples: Path) -> None:
    path = samples / "greenbutton" / "electric_containerized.xml"

    frame = feeds.read(path, ImportOptions(smart_meter_id="flat-3"))

    assert frame["smart_meter_id"].unique().to_list() == ["flat-3"]
