"""Green Button feeds: what becomes of their readings, whoever wrote them and in what order."""

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from meterport.domain.readings import READING_SCHEMA, VALUE_COLUMNS
from meterport.importers import green_button_feed
from meterport.importers.base import FileReport
from meterport.importers.options import ImportOptions
from tests.unit import feeds
from tests.unit.feeds import (
    NEW_YEAR,
    POWER,
    block,
    channel,
    file,
    meter_reading,
    point,
    read,
    reading,
    reading_type,
)

START = datetime(2024, 1, 1, tzinfo=UTC)
QUARTER = timedelta(minutes=15)


def passed_over(path: Path) -> dict[str, int]:
    report = FileReport(path)
    read(path, report=report)
    return report.passed_over


def test_a_reading_is_a_row_at_the_start_of_its_interval(tmp_path: Path) -> None:
    path = file(tmp_path, point(), *channel("e", reading(250), reading(300, NEW_YEAR + 900)))

    frame = read(path)

    assert frame.schema == READING_SCHEMA
    assert frame.rows() == [
        (START, 900, "A", 0.25, None, None, None, None, None),
        (START + QUARTER, 900, "A", 0.3, None, None, None, None, None),
    ]


@pytest.mark.parametrize(
    ("codes", "column", "value"),
    [
        ({}, "energy_kwh", 2.534),
        ({"flowDirection": 19}, "energy_export_kwh", 2.534),
        ({"flowDirection": 0, "accumulationBehaviour": 0}, "energy_kwh", 2.534),
        ({"flowDirection": None, "accumulationBehaviour": None}, "energy_kwh", 2.534),
        ({"powerOfTenMultiplier": -1}, "energy_kwh", 0.2534),
        ({"powerOfTenMultiplier": None}, "energy_kwh", 2.534),
        ({"powerOfTenMultiplier": 3}, "energy_kwh", 2534.0),
        ({"powerOfTenMultiplier": -12}, "energy_kwh", 2.534e-12),
        ({"powerOfTenMultiplier": 12}, "energy_kwh", 2.534e12),
        (POWER, "power_kw", 2.534),
        ({**POWER, "dataQualifier": 2, "flowDirection": 0}, "power_kw", 2.534),
        ({"uom": 29, "powerOfTenMultiplier": -1, "flowDirection": 0}, "voltage_v", 253.4),
        ({"uom": 5, "powerOfTenMultiplier": -3, "accumulationBehaviour": 6}, "current_a", 2.534),
    ],
)
def test_a_reading_type_says_the_column_and_the_power_of_ten(
    tmp_path: Path, codes: feeds.Codes, column: str, value: float
) -> None:
    frame = read(file(tmp_path, point(), *channel("e", reading(2534), codes=codes)))

    values = frame.select(VALUE_COLUMNS).row(0, named=True)
    assert {name: known for name, known in values.items() if known is not None} == {column: value}


def test_entries_may_come_in_any_order(tmp_path: Path) -> None:
    entries = [point(), meter_reading(), reading_type(), block(reading(250))]

    for order in itertools.permutations(entries):
        assert read(file(tmp_path, *order))["energy_kwh"].to_list() == [0.25]


@pytest.mark.parametrize(
    "root",
    [
        "",
        "/",
        "https://utility.example/",
        "https://utility.example/DataCustodian/espi/1_1/resource/",
    ],
)
def test_links_are_the_same_be_they_absolute_or_relative(tmp_path: Path, root: str) -> None:
    entries = [point(root=root), meter_reading(), reading_type(root=root), block(reading(250))]

    assert read(file(tmp_path, *entries))["smart_meter_id"].to_list() == ["A"]


def test_prefixes_and_containers_are_no_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    prefixed = (
        '<atom:feed xmlns:atom="http://www.w3.org/2005/Atom" xmlns:espi="http://naesb.org/espi">'
        f"{point()}{meter_reading()}{reading_type()}"
        f"{block(reading(250), reading(300, NEW_YEAR + 900))}</atom:feed>"
    )
    for name in ("entry", "content", "link"):
        prefixed = prefixed.replace(f"<{name}", f"<atom:{name}").replace(
            f"</{name}", f"</atom:{name}"
        )
    prefixed = prefixed.replace(
        '<IntervalBlock xmlns="http://naesb.org/espi">',
        '<espi:IntervalBlocks><IntervalBlock xmlns="http://naesb.org/espi">',
    ).replace("</IntervalBlock>", "</IntervalBlock></espi:IntervalBlocks>")
    path.write_text(prefixed, encoding="utf-8")

    assert read(path)["energy_kwh"].to_list() == [0.25, 0.3]


def test_a_value_may_be_cut_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(green_button_feed, "BLOCK_BYTES", 7)
    readings = [reading("2<!-- kWh -->5<![CDATA[3]]>&#52;"), reading(" 12345 ", NEW_YEAR + 900)]

    frame = read(file(tmp_path, point(), *channel("e", *readings)))

    assert frame["energy_kwh"].to_list() == [2.534, 12.345]


def test_an_entry_without_links_belongs_to_the_only_candidate(tmp_path: Path) -> None:
    entries = [point(), meter_reading(), reading_type(), block(reading(250))]
    bare = [each[: each.index("<link")] + each[each.index("<content") :] for each in entries]
    bare[0] = bare[0].replace("<entry>", "<entry><id>urn:uuid:48C2A019-5598</id>")

    assert read(file(tmp_path, *bare))["smart_meter_id"].to_list() == ["48C2A019-5598"]


def test_channels_far_apart_become_one_row_each_timestamp(tmp_path: Path) -> None:
    late = NEW_YEAR + 900
    path = file(
        tmp_path,
        point(),
        *channel("e", reading(250), reading(300, late)),
        *channel("x", reading(50, late), codes={"flowDirection": 19}),
        *channel("p", reading(1000), codes=POWER),
    )

    columns = read(path).select("timestamp", "energy_kwh", "power_kw", "energy_export_kwh")

    assert columns.rows() == [(START, 0.25, 1.0, None), (START + QUARTER, 0.3, None, 0.05)]


def test_several_usage_points_are_several_meters(tmp_path: Path) -> None:
    path = file(
        tmp_path,
        point("RetailCustomer/5/UsagePoint/01"),
        point("RetailCustomer/6/UsagePoint/01"),
        *channel("e", reading(250), of="RetailCustomer/5/UsagePoint/01"),
        *channel("f", reading(300), of="RetailCustomer/6/UsagePoint/01"),
    )

    frame = read(path)

    assert frame.select("smart_meter_id", "energy_kwh").rows() == [("5:01", 0.25), ("6:01", 0.3)]


@pytest.mark.parametrize(
    ("address", "meter"),
    [
        ("UsagePoint/123", "123"),
        ("UsagePoint/a.b:c_d-e", "a.b:c_d-e"),
        ("RetailCustomer/9B6C/UsagePoint/5446AF3F", "9B6C:5446AF3F"),
        ("Subscription/7/UsagePoint/x%2D1", "7:x-1"),
        ("RetailCustomer/" + "a" * 36 + "/UsagePoint/" + "b" * 36, "b" * 36),
    ],
)
def test_the_address_of_a_usage_point_makes_the_meters_id(
    tmp_path: Path, address: str, meter: str
) -> None:
    frame = read(file(tmp_path, point(address), *channel("e", reading(1), of=address)))

    assert frame["smart_meter_id"].to_list() == [meter]


def test_a_meter_id_may_be_given_to_a_feed_of_one_usage_point(tmp_path: Path) -> None:
    path = file(tmp_path, point("UsagePoint/ä"), *channel("e", reading(1), of="UsagePoint/ä"))

    frame = read(path, ImportOptions(smart_meter_id="house-7"))

    assert frame["smart_meter_id"].to_list() == ["house-7"]


@pytest.mark.parametrize(
    ("codes", "word"),
    [
        ((), None),
        ((0,), "valid"),
        ((7,), "edited"),
        ((8,), "estimated"),
        ((17,), "validated"),
        ((99,), "other"),
        ((8, 19), "estimated"),
    ],
)
def test_a_quality_code_is_a_word(tmp_path: Path, codes: tuple[int, ...], word: str) -> None:
    frame = read(file(tmp_path, point(), *channel("e", reading(1, NEW_YEAR, 900, *codes))))

    assert frame["quality"].to_list() == [word]


def test_readings_without_a_quality_have_their_types_default(tmp_path: Path) -> None:
    readings = [reading(1, NEW_YEAR), reading(1, NEW_YEAR + 900, 900, 8)]
    path = file(tmp_path, point(), *channel("e", *readings, codes={"defaultQuality": 0}))

    assert read(path)["quality"].to_list() == ["valid", "estimated"]


def test_the_least_sure_channel_gives_the_row_its_quality(tmp_path: Path) -> None:
    sure, less_sure = reading(1, NEW_YEAR, 900, 17), reading(1, NEW_YEAR, 900, 8)

    for first, second in [(sure, less_sure), (less_sure, sure)]:
        both = [*channel("e", first), *channel("p", second, codes=POWER)]
        assert read(file(tmp_path, point(), *both))["quality"].to_list() == ["estimated"]


def test_the_types_length_is_that_of_readings_without_one(tmp_path: Path) -> None:
    lengths = (None, 1800, 0)
    readings = [reading(1, NEW_YEAR + 3600 * n, length) for n, length in enumerate(lengths)]
    path = file(tmp_path, point(), *channel("e", *readings, codes={"intervalLength": 3600}))

    assert read(path)["interval_s"].to_list() == [3600, 1800, 3600]


def test_of_a_reading_that_comes_twice_the_later_one_counts(tmp_path: Path) -> None:
    twice = [block(reading(250)), block(reading(300), number=2), block(reading(280), number=3)]
    path = file(tmp_path, *twice, point(), meter_reading(), reading_type())

    assert read(path)["energy_kwh"].to_list() == [0.28]
    assert passed_over(path) == {"readings that a later one repeats": 2}


def test_the_later_one_counts_among_reading_types_too(tmp_path: Path) -> None:
    blocks = [
        block(reading(value), of=f"UsagePoint/A/MeterReading/{name}")
        for value, name in [(1, "e"), (2, "f"), (3, "e")]
    ]
    path = file(tmp_path, point(), *channel("e"), *channel("f"), *blocks)

    assert read(path)["energy_kwh"].to_list() == [0.003]
    assert read(file(tmp_path, point(), *channel("e"), *channel("f"), *blocks[:2]))[
        "energy_kwh"
    ].to_list() == [0.002]


def test_a_days_total_beside_its_hours_does_not_count_twice(tmp_path: Path) -> None:
    hours = [reading(100, NEW_YEAR + 3600 * n, 3600) for n in range(24)]
    days = [reading(2400, NEW_YEAR + 86_400 * n, 86_400) for n in (-1, 0, 1)]
    path = file(tmp_path, point(), *channel("day", *days), *channel("hour", *hours))

    frame = read(path)

    assert frame["interval_s"].to_list() == [86_400, *[3600] * 24, 86_400]
    assert passed_over(path) == {"readings that shorter ones overlap": 1}


def test_a_register_becomes_the_energy_between_its_readings(tmp_path: Path) -> None:
    counts = [(7000, 0), (7500, 900), (8500, 1800), (8600, 4500), (8700, 5400), (100, 6300)]
    readings = [reading(count, NEW_YEAR + at, 0) for count, at in counts]
    path = file(
        tmp_path, point(), *channel("e", *reversed(readings), codes={"accumulationBehaviour": 1})
    )
    report = FileReport(path)

    frame = read(path, report=report)

    assert frame.select("timestamp", "interval_s", "energy_kwh").rows() == [
        (START, 900, 0.5),
        (START + QUARTER, 900, 1.0),
        (START + 5 * QUARTER, 900, 0.1),
    ]
    assert report.unknown_register_steps == 2


def test_of_a_registers_count_that_comes_twice_the_later_one_counts(tmp_path: Path) -> None:
    counts = [(7000, 0), (7100, 0), (7500, 900)]
    readings = [reading(count, NEW_YEAR + at, 0) for count, at in counts]
    path = file(tmp_path, point(), *channel("e", *readings, codes={"accumulationBehaviour": 9}))

    assert read(path)["energy_kwh"].to_list() == [0.4]


def test_a_register_beside_the_energy_of_intervals_is_passed_over(tmp_path: Path) -> None:
    register = channel(
        "r",
        *[reading(9000, NEW_YEAR + n) for n in (0, 900)],
        codes={"accumulationBehaviour": 1},
    )
    path = file(tmp_path, point(), *register, *channel("e", reading(250)))

    assert read(path)["energy_kwh"].to_list() == [0.25]
    assert passed_over(path) == {"Wh of a register beside the energy of intervals": 2}


def test_phases_and_tariffs_are_passed_over_where_the_whole_is_there(tmp_path: Path) -> None:
    of_phase_a = channel(
        "a", reading(1200), codes={"uom": 29, "phase": 128, "powerOfTenMultiplier": -1}
    )
    whole = channel("v", reading(2300), codes={"uom": 29, "phase": 769, "powerOfTenMultiplier": -1})
    peak = channel("t", reading(77), codes={"tou": 1})
    path = file(tmp_path, point(), *whole, *of_phase_a, *channel("e", reading(250)), *peak)

    frame = read(path)

    assert frame.select("energy_kwh", "voltage_v").rows() == [(0.25, 230.0)]
    assert passed_over(path) == {
        "Wh of single phases or tariffs": 1,
        "V of single phases or tariffs": 1,
    }


def test_the_only_phase_is_the_meters(tmp_path: Path) -> None:
    one = channel("a", reading(120), codes={"uom": 29, "phase": 128})
    two = channel("b", reading(121), codes={"uom": 29, "phase": 64})
    energy = channel("e", reading(250))

    assert read(file(tmp_path, point(), *one, *energy))["voltage_v"].to_list() == [120.0]
    assert read(file(tmp_path, point(), *one, *two, *energy))["voltage_v"].to_list() == [None]


@pytest.mark.parametrize(
    ("codes", "label"),
    [
        ({"flowDirection": 4}, "Wh, flowDirection 4"),
        ({"flowDirection": 20}, "Wh, flowDirection 20"),
        ({"uom": 73}, "VArh"),
        ({"uom": 119, "commodity": 7}, "uom 119, commodity 7"),
        ({**POWER, "flowDirection": 19}, "W, flowDirection 19"),
        ({**POWER, "dataQualifier": 8}, "W, dataQualifier 8"),
        ({"accumulationBehaviour": 12}, "Wh, accumulationBehaviour 12"),
    ],
)
def test_what_has_no_column_is_passed_over_and_counted(
    tmp_path: Path, codes: feeds.Codes, label: str
) -> None:
    other = channel("o", reading(7), reading(8, NEW_YEAR + 900), codes=codes)
    path = file(tmp_path, point(), *channel("e", reading(250)), *other)

    frame = read(path)

    assert frame["energy_kwh"].to_list() == [0.25]
    assert frame["power_kw"].to_list() == frame["energy_export_kwh"].to_list() == [None]
    assert passed_over(path).get(label) == 2, passed_over(path)


def test_other_services_costs_and_summaries_are_passed_over_and_counted(tmp_path: Path) -> None:
    cost = "<IntervalReading><cost>974</cost></IntervalReading>"
    summary = feeds.entry('<UsageSummary xmlns="http://naesb.org/espi"/>')
    gas = [point("UsagePoint/G", service=1), *channel("g", reading(1), of="UsagePoint/G")]
    path = file(tmp_path, *gas, point(), *channel("e", cost, reading(250)), summary)

    assert read(path)["smart_meter_id"].to_list() == ["A"]
    assert passed_over(path) == {"readings of cost alone": 1, "UsageSummary": 1, "gas": 1}


def test_readings_longer_than_a_month_are_passed_over_and_counted(tmp_path: Path) -> None:
    bill = reading(9, NEW_YEAR - 32 * 86_400, 32 * 86_400)
    path = file(tmp_path, point(), *channel("e", reading(250), bill))

    assert read(path)["energy_kwh"].to_list() == [0.25]
    assert passed_over(path) == {"readings longer than 31 days": 1}


def test_the_report_says_which_columns_are_missing(tmp_path: Path) -> None:
    report = FileReport(file(tmp_path, point(), *channel("p", reading(1), codes=POWER)))

    read(report.path, report=report)

    assert report.rows == 1
    assert report.missing_columns == ["energy_kwh", "voltage_v", "current_a", "energy_export_kwh"]
