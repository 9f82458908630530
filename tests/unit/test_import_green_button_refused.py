"""Feeds that are refused, and the line that is named."""

from pathlib import Path

import pytest

from meterport.importers.options import ColumnSource, ImportOptions
from tests.unit import feeds
from tests.unit.feeds import (
    BAD_LINE,
    NEW_YEAR,
    POWER,
    block,
    channel,
    entry,
    file,
    meter_reading,
    point,
    reading,
    reading_type,
    refusal,
)

BARE = "<IntervalReading>{}</IntervalReading>"
PERIOD = "<timePeriod><duration>900</duration>{}</timePeriod>"
NOT_WHOLE = "value: {} is not a whole number of up to 15 digits"
NOT_SECONDS = "start: {} is not seconds since 1970 in UTC, such as 1704067200"
READINGS = {
    "a decimal": (reading("2.5"), NOT_WHOLE.format("'2.5'")),
    "text": (reading("abc"), NOT_WHOLE.format("'abc'")),
    "an empty value": (reading(""), NOT_WHOLE.format("''")),
    "sixteen digits": (reading(10**15), NOT_WHOLE.format("'1000000000000000'")),
    "other digits": (reading("٣"), NOT_WHOLE.format("a string of 1 characters")),
    "two values": (reading("1</value><value>2"), NOT_WHOLE.format("'1 2'")),
    "no value": (
        BARE.format(PERIOD.format(f"<start>{NEW_YEAR}</start>")),
        "an IntervalReading without value",
    ),
    "no start": (
        BARE.format(PERIOD.format("") + "<value>1</value>"),
        "an IntervalReading without start",
    ),
    "no period": (BARE.format("<value>1</value>"), "an IntervalReading without start"),
    "a date as start": (
        reading(1, "2024-01-01T00:00:00Z"),
        NOT_SECONDS.format("'2024-01-01T00:00:00Z'"),
    ),
    "half a second": (reading(1, "1704067200.5"), NOT_SECONDS.format("'1704067200.5'")),
    "milliseconds": (
        reading(1, 1704067200000),
        "start: 1704067200000 is not a time between 1900 and 2200",
    ),
    "a bad duration": (
        reading(1, NEW_YEAR, "PT15M"),
        "duration: 'PT15M' is not a whole number of seconds",
    ),
    "a negative duration": (
        reading(1, NEW_YEAR, -1),
        "duration: '-1' is not a whole number of seconds",
    ),
    "a bad quality": (reading(1, NEW_YEAR, 900, "good"), "quality: 'good' is not a code such as 8"),
    "long text": (reading("1" * 5000), "value: longer than 4096 characters"),
}


@pytest.mark.parametrize("name", READINGS)
def test_a_broken_reading_is_refused_by_line(tmp_path: Path, name: str) -> None:
    broken, reason = READINGS[name]

    message = refusal(file(tmp_path, point(), *channel("e", reading(1), broken)))

    assert message == BAD_LINE.format("a.xml", 7, reason)


ROOT = "/espi/1_1/resource/"
BLOCK = block(reading(1))
ENTRIES = {
    "no ReadingType": (
        [point(), meter_reading(), BLOCK],
        3,
        "the MeterReading 'UsagePoint/A/MeterReading/e' has no ReadingType here, so that its unit "
        "is unknown",
    ),
    "another ReadingType": (
        [point(), meter_reading(), reading_type("other"), BLOCK],
        3,
        "the MeterReading 'UsagePoint/A/MeterReading/e' has no ReadingType here, so that its unit "
        "is unknown",
    ),
    "no MeterReading": (
        [point(), reading_type(), BLOCK],
        4,
        "IntervalBlock with the link 'UsagePoint/A/MeterReading/e/IntervalBlock' belongs to no "
        "MeterReading here",
    ),
    "another MeterReading": (
        [point(), reading_type(), meter_reading("x", type_="e"), BLOCK],
        5,
        "IntervalBlock with the link 'UsagePoint/A/MeterReading/e/IntervalBlock' belongs to no "
        "MeterReading here",
    ),
    "no UsagePoint": (
        [meter_reading(), reading_type(), BLOCK],
        2,
        "MeterReading with the link 'UsagePoint/A/MeterReading' belongs to no UsagePoint here",
    ),
    "two candidates and no link": (
        [
            point(),
            *channel("e", reading(1)),
            meter_reading("x", type_="e"),
            entry(f'<IntervalBlock xmlns="http://naesb.org/espi">{reading(1)}</IntervalBlock>'),
        ],
        9,
        "IntervalBlock with no link belongs to no MeterReading here",
    ),
    "two MeterReadings of one link": (
        [
            point(),
            meter_reading(),
            entry(
                '<MeterReading xmlns="http://naesb.org/espi"/>',
                self_=f"{ROOT}UsagePoint/A/MeterReading/x",
                related=[f"{ROOT}UsagePoint/A/MeterReading/e/IntervalBlock"],
            ),
            reading_type(),
            BLOCK,
        ],
        6,
        "IntervalBlock with the link 'UsagePoint/A/MeterReading/e/IntervalBlock' belongs to 2 "
        "MeterReading here",
    ),
    "no unit": (
        [point(), *channel("e", reading(1), codes={"uom": None})],
        4,
        "the ReadingType 'ReadingType/e' has no uom: its readings have no unit",
    ),
    "a unit in words": (
        [point(), *channel("e", reading(1), codes={"uom": "Wh"})],
        4,
        "uom: 'Wh' is not a whole number",
    ),
    "a strange power of ten": (
        [point(), *channel("e", reading(1), codes={"powerOfTenMultiplier": 13})],
        4,
        "powerOfTenMultiplier: 13 is not between -12 and 12",
    ),
    "a bad default quality": (
        [point(), *channel("e", reading(1), codes={"defaultQuality": "good"})],
        4,
        "defaultQuality: 'good' is not a code such as 8",
    ),
    "no length at all": (
        [point(), *channel("e", reading(1, NEW_YEAR, None), codes={"intervalLength": None})],
        6,
        "an IntervalReading without duration, and its ReadingType has no intervalLength",
    ),
    "two lengths in a row": (
        [point(), *channel("e", reading(1)), *channel("p", reading(1, NEW_YEAR, 60), codes=POWER)],
        11,
        "60 seconds, but line 6 has 900 for another quantity of the same meter and start; a row "
        "has one length",
    ),
    "another namespace": (
        [
            point(),
            meter_reading(),
            reading_type(),
            BLOCK.replace('naesb.org/espi"', 'naesb.org/x"'),
        ],
        5,
        "IntervalBlock is in the namespace 'http://naesb.org/x', but ESPI is http://naesb.org/espi",
    ),
    "an address that is no id": (
        [point("UsagePoint/(redacted)"), *channel("e", reading(1), of="UsagePoint/(redacted)")],
        2,
        "of the UsagePoint 'UsagePoint/(redacted)' no meter id can be made; say --meter ID",
    ),
    "an address without id": (
        [point("UsagePoint"), *channel("e", reading(1), of="UsagePoint")],
        2,
        "of the UsagePoint 'UsagePoint' no meter id can be made; say --meter ID",
    ),
    "two addresses of one id": (
        [
            point("UsagePoint/A"),
            point("Subscription/A/UsagePoint"),
            *channel("e", reading(1)),
            *channel("f", reading(1), of="Subscription/A/UsagePoint"),
        ],
        3,
        "the UsagePoints 'UsagePoint/A' and 'Subscription/A/UsagePoint' would both be the "
        "meter 'A'",
    ),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_readings_without_unit_meter_or_length_are_refused_by_line(
    tmp_path: Path, name: str
) -> None:
    entries, line, reason = ENTRIES[name]

    assert refusal(file(tmp_path, *entries)) == BAD_LINE.format("a.xml", line, reason)


DOCTYPE = "a DOCTYPE, which no Green Button feed needs and which can do harm"
NOT_A_FEED = (
    "a.xml: this XML is no Green Button feed: it begins with {}, not with an Atom feed "
    "(http://www.w3.org/2005/Atom)"
)
FILES = {
    "a doctype": (
        '<!DOCTYPE feed [<!ENTITY a "b">]>\n<feed xmlns="http://www.w3.org/2005/Atom">&a;</feed>',
        BAD_LINE.format("a.xml", 1, DOCTYPE),
    ),
    "an entity": (
        '<feed xmlns="http://www.w3.org/2005/Atom">\n<title>&a;</title></feed>',
        BAD_LINE.format("a.xml", 2, "not well-formed XML (undefined entity); the file may be cut"),
    ),
    "cut": (
        '<feed xmlns="http://www.w3.org/2005/Atom">\n<entry>\n',
        BAD_LINE.format("a.xml", 3, "not well-formed XML (no element found); the file may be cut"),
    ),
    "empty": (
        "",
        BAD_LINE.format("a.xml", 1, "not well-formed XML (no element found); the file may be cut"),
    ),
    "no xml": (
        "a,b\n1,2\n",
        BAD_LINE.format("a.xml", 1, "not well-formed XML (syntax error); the file may be cut"),
    ),
    "other xml": ("<rss/>", NOT_A_FEED.format("'rss'")),
    "a feed of no namespace": ("<feed/>", NOT_A_FEED.format("'feed'")),
    "deep": (
        '<feed xmlns="http://www.w3.org/2005/Atom">\n' + "<a>" * 1000,
        BAD_LINE.format("a.xml", 2, "elements nested more than 100 deep"),
    ),
    "an unknown encoding": (
        '<?xml version="1.0" encoding="x-klingon"?><feed/>',
        BAD_LINE.format("a.xml", 1, "the XML cannot be read (unknown encoding: x-klingon)"),
    ),
    "nothing in it": (
        '<feed xmlns="http://www.w3.org/2005/Atom"/>',
        "a.xml: no readings of electricity drawn or fed in, of power, voltage or current",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_feed_is_refused(tmp_path: Path, name: str) -> None:
    text, message = FILES[name]
    path = tmp_path / "a.xml"
    path.write_text(text, encoding="utf-8")

    assert refusal(path) == message


def test_a_feed_without_electricity_of_ours_says_what_it_has(tmp_path: Path) -> None:
    net = channel("n", reading(-5), reading(6, NEW_YEAR + 900), codes={"flowDirection": 4})

    assert refusal(file(tmp_path, point(), *net)) == (
        "a.xml: no readings of electricity drawn or fed in, of power, voltage or current; "
        "passed over: Wh, flowDirection 4 (2)"
    )


def test_a_register_that_was_read_once_tells_no_energy(tmp_path: Path) -> None:
    once = channel("r", reading(7000, NEW_YEAR, 0), codes={"accumulationBehaviour": 1})

    assert refusal(file(tmp_path, point(), *once)) == (
        "a.xml: no readings of electricity drawn or fed in, of power, voltage or current"
    )


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        (ImportOptions(mapping={"energy_kwh": ColumnSource("value", "Wh")}), "--map"),
        (ImportOptions(interval_s=900, skip_bad_rows=True), "--interval, --skip-bad-rows"),
        (ImportOptions(timezone=feeds.ZONE), "--timezone"),
    ],
)
def test_options_that_make_no_sense_here_are_refused(
    tmp_path: Path, options: ImportOptions, flags: str
) -> None:
    assert refusal(file(tmp_path, point(), *channel("e", reading(1))), options) == (
        "a.xml: Green Button says its columns, interval lengths and time (UTC) itself; "
        f"leave {flags} out"
    )


def test_one_meter_id_for_two_usage_points_is_refused(tmp_path: Path) -> None:
    two = [point("UsagePoint/B"), *channel("f", reading(1), of="UsagePoint/B")]
    path = file(tmp_path, point(), *channel("e", reading(1)), *two)

    assert refusal(path, ImportOptions(smart_meter_id="one")) == (
        "a.xml: the feed has 2 meters (UsagePoints); --meter would make them one"
    )
