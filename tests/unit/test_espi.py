"""Green Button feeds: byte for byte, against the schema, and read back by independent readers."""

import io
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
import xmlschema
from greenbutton_objects.parse import parse_feed
from hypothesis import given
from hypothesis import strategies as st

from meterport.domain.errors import FormatCannotHold, SourceDataInvalid
from meterport.domain.period import Period
from meterport.domain.readings import READING_SCHEMA
from meterport.domain.sheets import Sheet
from meterport.encoders import espi, whole_meters
from meterport.importers.options import UNITS as UNITS_OF
from meterport.importers.units import converted
from meterport.services.demo_readings import DEMO_METERS, DemoMeter, demo_readings
from tests import green_button, make

MADE_AT = datetime(2024, 2, 1, 12, tzinfo=UTC)
UNITS = {
    "energy_kwh": (72, 1, 3),
    "energy_export_kwh": (72, 19, 3),
    "power_kw": (38, 1, 3),
    "voltage_v": (29, 0, 0),
    "current_a": (5, 0, 0),
}
"""Per column uom, flowDirection, and how many tens make its unit of ours."""


def sheet(zone: str = "UTC", start: datetime = make.JANUARY) -> Sheet:
    period = Period(start, start + timedelta(days=366))
    return Sheet(("123",), period, MADE_AT, tuple(READING_SCHEMA), zone)


def encoded(*frames: pl.DataFrame, zone: str = "UTC") -> bytes:
    sink = io.BytesIO()
    espi.FORMAT.encode(frames, sink, sheet(zone))
    return sink.getvalue()


def energy(*energy_kwh: float | None, interval_s: int = 900, **given: object) -> pl.DataFrame:
    """Readings of energy alone."""
    nothing = pl.lit(None, dtype=pl.Float64)
    frame = make.readings(*energy_kwh, interval_s=interval_s, power_kw=None)
    return frame.with_columns(
        voltage_v=nothing,
        current_a=nothing,
        **{name: pl.lit(value, dtype=READING_SCHEMA[name]) for name, value in given.items()},
    )


def a_bit_of_everything() -> pl.DataFrame:
    words = [None, "estimated", "smelled", "Edited"]
    return pl.concat(
        [
            make.readings(0.25, None, 0.2534, 1.0, meter=meter, interval_s=900).with_columns(
                quality=pl.Series(words), energy_export_kwh=pl.Series([0.0, 0.125, None, 1e-9])
            )
            for meter in ("123", "a.b:c_d-e")
        ]
    )


@cache
def schema(samples: Path) -> xmlschema.XMLSchema:
    return xmlschema.XMLSchema(str(samples / "schemas" / "espi.xsd"))


def midnight(zone: str, day: date) -> datetime:
    return datetime.combine(day, time(), ZoneInfo(zone)).astimezone(UTC)


def quarter_hours(zone: str, day: date) -> pl.DataFrame:
    """A reading for each quarter of an hour of that local day and the next."""
    start, end = midnight(zone, day), midnight(zone, day + timedelta(days=2))
    return make.readings(
        *[0.25] * ((end - start) // timedelta(minutes=15)), start=start, interval_s=900
    )


TINY_FEED = """\
<?xml version="1.0" encoding="UTF-8"?>
<feed xmlns="http://www.w3.org/2005/Atom">
<id>urn:uuid:5ac6d6ba-94f0-53b2-b351-4be777954efd</id>
<title>Readings from 2024-01-01T00:00:00Z to 2025-01-01T00:00:00Z</title>
<updated>2024-02-01T12:00:00Z</updated>
<author><name>meterport</name></author>
<link rel="self" href="/espi/1_1/resource/Feed/5ac6d6ba-94f0-53b2-b351-4be777954efd" \
type="application/atom+xml"/>
<entry>
<id>urn:uuid:42fcb30a-847d-5696-951b-7adc28805dd6</id>
<link rel="self" href="/espi/1_1/resource/LocalTimeParameters/123.Europe%2FBerlin" \
type="espi-entry/LocalTimeParameters"/>
<link rel="up" href="/espi/1_1/resource/LocalTimeParameters" type="espi-feed/LocalTimeParameters"/>
<title>Europe/Berlin</title>
<content type="application/xml"><LocalTimeParameters xmlns="http://naesb.org/espi">\
<dstEndRule>AE0E3000</dstEndRule><dstOffset>3600</dstOffset><dstStartRule>3E0E2000</dstStartRule>\
<tzOffset>3600</tzOffset></LocalTimeParameters></content>
<published>2024-02-01T12:00:00Z</published>
<updated>2024-02-01T12:00:00Z</updated>
</entry>
<entry>
<id>urn:uuid:1e928568-3ec6-520e-97c8-09e7db3ed571</id>
<link rel="self" href="/espi/1_1/resource/UsagePoint/123" type="espi-entry/UsagePoint"/>
<link rel="up" href="/espi/1_1/resource/UsagePoint" type="espi-feed/UsagePoint"/>
<link rel="related" href="/espi/1_1/resource/UsagePoint/123/MeterReading" \
type="espi-feed/MeterReading"/>
<link rel="related" href="/espi/1_1/resource/LocalTimeParameters/123.Europe%2FBerlin" \
type="espi-entry/LocalTimeParameters"/>
<title>123</title>
<content type="application/xml"><UsagePoint xmlns="http://naesb.org/espi"><ServiceCategory>\
<kind>0</kind></ServiceCategory></UsagePoint></content>
<published>2024-02-01T12:00:00Z</published>
<updated>2024-02-01T12:00:00Z</updated>
</entry>
<entry>
<id>urn:uuid:f9197d42-8596-5920-bf36-41d16f07ff60</id>
<link rel="self" href="/espi/1_1/resource/UsagePoint/123/MeterReading/energy_kwh.900s.-3" \
type="espi-entry/MeterReading"/>
<link rel="up" href="/espi/1_1/resource/UsagePoint/123/MeterReading" \
type="espi-feed/MeterReading"/>
<link rel="related" \
href="/espi/1_1/resource/UsagePoint/123/MeterReading/energy_kwh.900s.-3/IntervalBlock" \
type="espi-feed/IntervalBlock"/>
<link rel="related" href="/espi/1_1/resource/ReadingType/123.energy_kwh.900s.-3" \
type="espi-entry/ReadingType"/>
<title>Energy delivered, Wh</title>
<content type="application/xml"><MeterReading xmlns="http://naesb.org/espi"/></content>
<published>2024-02-01T12:00:00Z</published>
<updated>2024-02-01T12:00:00Z</updated>
</entry>
<entry>
<id>urn:uuid:ce28ec65-1bc1-5b64-b722-86de51fe6d9d</id>
<link rel="self" href="/espi/1_1/resource/ReadingType/123.energy_kwh.900s.-3" \
type="espi-entry/ReadingType"/>
<link rel="up" href="/espi/1_1/resource/ReadingType" type="espi-feed/ReadingType"/>
<title>Energy delivered, Wh</title>
<content type="application/xml"><ReadingType xmlns="http://naesb.org/espi">\
<accumulationBehaviour>4</accumulationBehaviour><commodity>1</commodity>\
<dataQualifier>12</dataQualifier><flowDirection>1</flowDirection>\
<intervalLength>900</intervalLength><kind>12</kind><phase>0</phase>\
<powerOfTenMultiplier>-3</powerOfTenMultiplier><timeAttribute>0</timeAttribute><uom>72</uom>\
<measuringPeriod>2</measuringPeriod></ReadingType></content>
<published>2024-02-01T12:00:00Z</published>
<updated>2024-02-01T12:00:00Z</updated>
</entry>
<entry>
<id>urn:uuid:36444e12-eac9-539f-ba34-3ce0d418b0ea</id>
<link rel="self" \
href="/espi/1_1/resource/UsagePoint/123/MeterReading/energy_kwh.900s.-3/IntervalBlock/2024-01-01" \
type="espi-entry/IntervalBlock"/>
<link rel="up" \
href="/espi/1_1/resource/UsagePoint/123/MeterReading/energy_kwh.900s.-3/IntervalBlock" \
type="espi-feed/IntervalBlock"/>
<title>2024-01-01</title>
<content type="application/xml"><IntervalBlock xmlns="http://naesb.org/espi">
<interval><duration>2700</duration><start>1704067200</start></interval>
<IntervalReading><ReadingQuality><quality>8</quality></ReadingQuality><timePeriod>\
<duration>900</duration><start>1704067200</start></timePeriod><value>250000</value>\
</IntervalReading>
<IntervalReading><ReadingQuality><quality>8</quality></ReadingQuality><timePeriod>\
<duration>900</duration><start>1704069000</start></timePeriod><value>253400</value>\
</IntervalReading>
</IntervalBlock></content>
<published>2024-02-01T12:00:00Z</published>
<updated>2024-02-01T12:00:00Z</updated>
</entry>
</feed>
"""


def test_a_tiny_feed_is_written_as_printed() -> None:
    frame = energy(0.25, None, 0.2534, quality="estimated")

    assert encoded(frame, zone="Europe/Berlin").decode() == TINY_FEED


@pytest.mark.parametrize("frames", [[], [a_bit_of_everything()], [make.readings()]])
def test_feeds_are_valid_by_the_schemas_of_espi_and_atom(
    frames: list[pl.DataFrame], samples: Path
) -> None:
    feed = encoded(*frames, zone="America/New_York")

    errors = [error.reason for error in schema(samples).iter_errors(io.BytesIO(feed))]

    assert errors == []


def test_the_schemas_do_find_mistakes(samples: Path) -> None:
    feed = encoded(a_bit_of_everything()).replace(b"<value>250000</value>", b"<value>2.5</value>")

    assert not schema(samples).is_valid(io.BytesIO(feed))


def test_every_reading_is_tied_to_its_meter_unit_and_direction() -> None:
    frame = a_bit_of_everything()

    found = green_button.readings(encoded(frame))

    assert {(r.interval_s, r.duration) for r in found} == {(900, 900)}
    for column, (uom, flow, shift) in UNITS.items():
        assert green_button.channel(found, uom, flow) == {
            (row["smart_meter_id"], int(row["timestamp"].timestamp())): exact(row[column], shift)
            for row in frame.drop_nulls(column).iter_rows(named=True)
        }


def test_a_reader_of_other_peoples_making_finds_the_same(tmp_path: Path) -> None:
    path = tmp_path / "feed.xml"
    path.write_bytes(encoded(make.readings(0.25, None, 0.5, interval_s=900)))

    (point,) = parse_feed(path)

    assert point.title == "123"
    found = {
        (reading.readingType.uom.name, reading.readingType.flowDirection.name): [
            (r.timePeriod.start, r.timePeriod.duration, round(r.value, 6))
            for r in reading.intervalReadings
        ]
        for reading in point.meterReadings
    }
    times = [make.JANUARY + timedelta(minutes=m) for m in (0, 15, 30)]
    length = timedelta(minutes=15)
    assert found == {
        ("wattHours", "forward"): [(times[0], length, 250.0), (times[2], length, 500.0)],
        ("watts", "forward"): [(time, length, 2100.0) for time in times],
        ("volts", "notApplicable"): [(time, length, 230.1) for time in times],
        ("amps", "notApplicable"): [(time, length, 9.1) for time in times],
    }


def exact(value: float, shift: int) -> Decimal:
    return Decimal(repr(value)).scaleb(shift)


def held(shift: int) -> st.SearchStrategy[float]:
    """Whatever a 48-bit integer and a multiplier from -12 to 12 can hold."""
    units = st.integers(-(2**47) + 1, 2**47 - 1) | st.integers(-5000, 5000)
    power = st.integers(-12, 12) | st.just(-3)
    return st.builds(lambda n, m: float(Decimal(n).scaleb(m - shift)), units, power)


@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from([60, 900, 3600]),
            *(st.none() | held(shift) for _, _, shift in UNITS.values()),
        ),
        max_size=12,
    ),
    cut=st.integers(0, 12),
)
def test_values_read_back_digit_for_digit(rows: list[tuple[int, float | None]], cut: int) -> None:
    times = [make.JANUARY + timedelta(hours=5 * i) for i in range(len(rows))]
    frame = pl.DataFrame(
        [(time, *row, "m.1:x", None) for time, row in zip(times, rows, strict=True)],
        schema=["timestamp", "interval_s", *UNITS, "smart_meter_id", "quality"],
        orient="row",
        infer_schema_length=None,
    ).select(pl.col(name).cast(dtype) for name, dtype in READING_SCHEMA.items())

    feed = encoded(frame[:cut], frame[cut:])

    found = green_button.readings(feed)
    for column, (uom, flow, shift) in UNITS.items():
        values = {
            ("m.1:x", int(row["timestamp"].timestamp())): exact(row[column], shift)
            for row in frame.drop_nulls(column).iter_rows(named=True)
        }
        assert green_button.channel(found, uom, flow) == values
        told = {r.multiplier for r in found if (r.uom, r.flow) == (uom, flow)}
        if any(all(is_held(v, power) for v in values.values()) for power in range(-12, 13)):
            assert len(told) <= 1
    assert encoded(frame) == feed


def is_held(value: Decimal, power: int) -> bool:
    units = value.scaleb(-power)
    return units == units.to_integral_value() and abs(units) < 2**47


def test_a_sub_meters_minutes_read_back_digit_for_digit(samples: Path) -> None:
    table = pl.read_csv(samples / "ampds2" / "Electricity_B1E-11.csv", n_rows=3 * 1440)
    power_kw = converted(table["P"].cast(pl.Float64), UNITS_OF["power_kw"]["W"])
    frame = make.many_readings(table.height, start=datetime(2014, 2, 24, 8, tzinfo=UTC))
    columns = {"energy_kwh": None, "power_kw": power_kw, "voltage_v": table["V"]}
    frame = frame.with_columns(**columns, current_a=table["I"]).cast(READING_SCHEMA)

    found = green_button.readings(encoded(frame, zone="America/Vancouver"))

    assert {reading.multiplier for reading in found} == {-3}
    watts = green_button.channel(found, *UNITS["power_kw"][:2]).values()
    assert list(watts) == [Decimal(watt) for watt in table["P"]]
    assert len(found) == 3 * table.height


@pytest.mark.parametrize("meter", DEMO_METERS, ids=lambda meter: meter.smart_meter_id)
def test_a_day_of_every_demo_meter_fits(meter: DemoMeter) -> None:
    day = list(demo_readings(meter, make.JANUARY, make.JANUARY + timedelta(days=1)))

    found = green_button.readings(encoded(*day))

    assert len(found) == sum(frame[column].count() for frame in day for column in UNITS)


@pytest.mark.parametrize(
    ("energy_kwh", "multipliers"),
    [
        ([0.25, 1.0, 0.0], {-3}),
        ([0.25, 0.000001], {-3}),
        ([0.25, 0.0000001], {-6}),
        ([0.25, 1e-9], {-6}),
        ([0.25, 1e12], {1}),
        ([0.25, 0.12345678901234], {-11}),
        ([0.25, 0.23456789012345], {-11}),
        ([140737488.355327], {-3}),
        # Of 48 bits none reach from the one to the other.
        ([0.25, 0.12345678901234, 1e3], {-11, -3}),
        ([1e-9, 1.0, 1e9, 1e12, 2e12], {-6, 3}),
    ],
)
def test_a_channel_has_one_multiplier_in_the_whole_file_unless_none_holds_all_its_values(
    energy_kwh: list[float], multipliers: set[int]
) -> None:
    days = [
        energy(value).with_columns(pl.col("timestamp") + timedelta(days=n))
        for n, value in enumerate(energy_kwh)
    ]

    feed = encoded(*days, energy(0.000001, smart_meter_id="456"))

    found = green_button.readings(feed)
    assert {r.multiplier for r in found if r.meter == "123"} == multipliers
    assert len(green_button.entries(feed, "MeterReading")) == len(multipliers) + 1


@pytest.mark.parametrize(
    "value",
    [0.1 + 0.2, 1 / 3, 5e-324, 1e308, 2e23, 140737488.355328, float("nan"), float("inf")],
)
def test_a_value_that_would_lose_digits_is_refused(value: float) -> None:
    with pytest.raises(FormatCannotHold) as refusal:
        encoded(energy(0.25, value))

    assert refusal.value.message == (
        "energy_kwh of 123 at 2024-01-01T00:15:00Z does not fit into Green Button's 48-bit "
        "integers without losing digits"
    )
    assert refusal.value.details == "Ask for csv or parquet, which hold every value"
    assert not refusal.value.retryable


def test_readings_without_an_interval_are_refused_and_not_left_out() -> None:
    with pytest.raises(SourceDataInvalid, match="interval_s"):
        encoded(energy(0.25).with_columns(interval_s=pl.lit(None, dtype=pl.Int32)))


@pytest.mark.parametrize(
    ("zone", "day", "quarters"),
    [
        ("Europe/Berlin", date(2024, 3, 31), 92),
        ("Europe/Berlin", date(2024, 10, 27), 100),
        ("America/New_York", date(2024, 3, 10), 92),
        ("America/New_York", date(2024, 11, 3), 100),
    ],
)
def test_a_block_is_a_day_of_the_zone_also_when_clocks_change(
    zone: str, day: date, quarters: int
) -> None:
    feed = encoded(quarter_hours(zone, day), zone=zone)

    blocks = sorted(set(green_button.blocks(feed)))

    start = midnight(zone, day).timestamp()
    assert blocks == [
        (f"{day}", start, quarters * 900, quarters),
        (f"{day + timedelta(days=1)}", start + quarters * 900, 86400, 96),
    ]


def test_a_block_is_a_day_of_the_zone_in_the_far_future_too() -> None:
    start = datetime(2150, 6, 30, 21, 45, tzinfo=UTC)
    feed = encoded(make.readings(0.25, 0.5, start=start, interval_s=900), zone="Europe/Berlin")

    blocks = sorted(set(green_button.blocks(feed)))

    midnight = int(start.timestamp()) + 900
    assert blocks == [("2150-06-30", midnight - 900, 900, 1), ("2150-07-01", midnight, 900, 1)]


def test_a_day_has_one_block_also_where_the_clock_is_put_back_over_midnight() -> None:
    start = datetime(2010, 11, 7, 2, 30, tzinfo=UTC)  # at 00:01 the clock went back to 23:01
    feed = encoded(make.readings(*[0.25] * 61, start=start), zone="America/St_Johns")

    ids = [entry.links("self")[0] for entry in green_button.entries(feed, "IntervalBlock")]

    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("word", "code"),
    [
        (None, None),
        ("estimated", 8),
        ("edited", 7),
        ("interpolated", 9),
        ("questionable", 10),
        ("derived", 11),
        ("Validated ", 17),
        ("smelled", 16),
        ("", 16),
    ],
)
def test_quality_words_become_espis_codes(word: str | None, code: int | None) -> None:
    (reading,) = green_button.readings(encoded(energy(0.25, quality=word)))

    assert reading.quality == code


def test_readings_of_another_interval_have_a_reading_type_of_their_own() -> None:
    quarters = energy(0.25, 0.25)
    hours = energy(1.0, interval_s=3600).with_columns(pl.col("timestamp") + timedelta(hours=1))

    feed = encoded(quarters, hours)

    lengths = [(r.interval_s, r.duration) for r in green_button.readings(feed)]
    assert lengths == [(900, 900), (900, 900), (3600, 3600)]
    periods = [
        kind.content("e:measuringPeriod") for kind in green_button.entries(feed, "ReadingType")
    ]
    assert periods == ["2", "7"]


def test_a_channel_or_meter_without_values_has_no_entries() -> None:
    feed = encoded(energy(None, None), energy(0.25, smart_meter_id="456"))

    assert [entry.title for entry in green_button.entries(feed, "UsagePoint")] == ["456"]
    assert len(green_button.entries(feed, "MeterReading")) == 1


def test_no_rows_are_a_feed_without_meters() -> None:
    assert encoded() == encoded(make.readings())
    assert green_button.entries(encoded(), "UsagePoint") == []


@pytest.mark.parametrize("rows_per_frame", [1, 7, 96, 97])
def test_the_bytes_do_not_tell_how_the_frames_were_cut(
    rows_per_frame: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = pl.concat(
        [
            make.readings(*[0.25, 0.5, None] * 100, meter=meter, interval_s=1800)
            for meter in ("123", "124")
        ]
    )

    whole = encoded(frame)

    for batch_rows, held_rows in ((50, 10**6), (50, 40), (500, 10)):
        monkeypatch.setattr(espi, "BATCH_ROWS", batch_rows)
        monkeypatch.setattr(whole_meters, "HELD_ROWS", held_rows)
        assert encoded(*frame.iter_slices(rows_per_frame)) == whole


def test_a_meters_name_is_escaped() -> None:
    feed = encoded(energy(0.25, smart_meter_id='a&<b>/"c'))

    (reading,) = green_button.readings(feed)
    assert reading.meter == 'a&<b>/"c'
