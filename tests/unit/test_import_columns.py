"""How the columns of a file, of whatever format, become ours: times, units and registers."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterport.domain.errors import ImportRefused
from meterport.domain.readings import READING_SCHEMA
from meterport.importers import importer_for
from meterport.importers.base import FileReport
from meterport.importers.options import ImportOptions
from meterport.services import import_options
from tests import make

BAD_TIME = (
    "nothing was imported; bad rows:\n"
    "a.csv: line {}: timestamp: {} is not a date-time in whole seconds, "
    "such as 2024-01-01T00:00:00Z"
)
NO_OFFSET = (
    "a.csv: timestamps without a UTC offset; say their zone: --timezone UTC, "
    "--timezone Europe/Berlin, …"
)


def options(
    *maps: str, meter: str | None = None, timezone: str | None = None, interval_s: int | None = None
) -> ImportOptions:
    return import_options.options(import_options.Said(maps, meter, timezone, interval_s))


def read(path: Path, chosen: ImportOptions, report: FileReport | None = None) -> pl.DataFrame:
    batches = importer_for(path).read(path, chosen, report or FileReport(path))
    return pl.concat([READING_SCHEMA.to_frame(), *batches])


def refusal(path: Path, chosen: ImportOptions) -> str:
    with pytest.raises(ImportRefused) as refused:
        read(path, chosen)
    return refused.value.message


def file_of(folder: Path, column: str, values: Sequence[str]) -> Path:
    """A value a minute, or a time a row."""
    if column == "timestamp":
        return make.write(folder, "a.csv", ["timestamp,energy_kwh", *(f"{v},1" for v in values)])
    times = (make.JANUARY + timedelta(minutes=i) for i in range(len(values)))
    rows = (f"{time.isoformat()},{value}" for time, value in zip(times, values, strict=True))
    return make.write(folder, "a.csv", [f"timestamp,{column}", *rows])


def utc(folder: Path, *times: str, unit: str = "iso", timezone: str | None = None) -> list[str]:
    """The times of a file as the importer understands them."""
    chosen = options(f"timestamp=timestamp:{unit}", meter="123", timezone=timezone)
    frame = read(file_of(folder, "timestamp", times), chosen)
    return frame["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%SZ").to_list()


def converted(folder: Path, ours: str, unit: str, *values: str) -> list[float | None]:
    chosen = options(f"{ours}=theirs:{unit}", meter="123")
    return read(file_of(folder, "theirs", values), chosen)[ours].to_list()


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z"),
        ("2024-01-01t00:00:00z", "2024-01-01T00:00:00Z"),
        ("2024-01-01T00:00:00+01:00", "2023-12-31T23:00:00Z"),
        ("2024-01-01T00:00:00+0100", "2023-12-31T23:00:00Z"),
        ("2024-01-01T00:00:00-03:30", "2024-01-01T03:30:00Z"),
        ("2024-01-01T00:00:00-00:30", "2024-01-01T00:30:00Z"),
        ("2024-01-01T05:45:00+05:45", "2024-01-01T00:00:00Z"),
        ("2024-01-01 00:00:00Z", "2024-01-01T00:00:00Z"),
        ("2024-01-01T00:15Z", "2024-01-01T00:15:00Z"),
        ("2024-01-01 00:15+01:00", "2023-12-31T23:15:00Z"),
        ("2024-01-01T00:00:00.000Z", "2024-01-01T00:00:00Z"),
        ("2024-01-01T00:00:07.000000+01:00", "2023-12-31T23:00:07Z"),
        ("2024-02-29T23:59:59Z", "2024-02-29T23:59:59Z"),
        ("1900-01-01T00:00:00Z", "1900-01-01T00:00:00Z"),
        ("2199-12-31T23:59:59Z", "2199-12-31T23:59:59Z"),
    ],
)
def test_a_time_with_an_offset_is_that_instant(tmp_path: Path, text: str, instant: str) -> None:
    assert utc(tmp_path, text) == [instant]


def test_each_row_of_a_file_may_have_its_own_offset(tmp_path: Path) -> None:
    found = utc(tmp_path, "2024-01-01T00:00:00Z", "2024-01-01T01:01+01:00", "2023-12-31 19:02-0500")

    assert found == ["2024-01-01T00:00:00Z", "2024-01-01T00:01:00Z", "2024-01-01T00:02:00Z"]


@pytest.mark.parametrize("beside", ["2024-01-01T00:00:00Z", "2024-01-01T01:00:00+01:00"])
@pytest.mark.parametrize(
    "text",
    [
        "2024-01-01T00:00:00.5Z",
        "2024-01-01T00:00:00.000001Z",
        "2024-01-01",
        "2024-13-01T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "2024-01-01T24:00:00Z",
        "2016-12-31T23:59:60Z",
        "2024-1-1T00:00:00Z",
        "2024-01-01T0:00:00Z",
        "2024-01-01T 0:00:00Z",
        "+2024-01-01T00:00:00Z",
        "2024-01-01T00:00:00+99:99",
        "2024-01-01T00:00:00+01:60",
        "2024-01-01T00:00:00 UTC",
        "1704067200",
        "1899-12-31T23:59:59Z",
        "2201-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "0000-01-01T00:00:00Z",
    ],
)
def test_a_time_that_is_none_is_refused_whatever_stands_beside_it(
    tmp_path: Path, text: str, beside: str
) -> None:
    path = file_of(tmp_path, "timestamp", [beside, text, beside])

    message = refusal(path, options(meter="123"))

    assert message == BAD_TIME.format(3, f"'{text}'")


@pytest.mark.parametrize(
    "text",
    [
        "\u0968\u0966\u0968\u096a-01-01T00:00:00Z",
        "2024-01-01T00:00:00+\u0966\u0967:\u0969\u0966",
        "2024-01-01T\u0966\u0967:00:00Z",
    ],
)
def test_digits_of_other_scripts_are_refused(tmp_path: Path, text: str) -> None:
    message = refusal(file_of(tmp_path, "timestamp", [text]), options(meter="123"))

    assert message == BAD_TIME.format(2, f"a string of {len(text)} characters")


@pytest.mark.parametrize("text", ["2024-01-01T00:00:00", "2024-01-01 00:00"])
def test_times_without_an_offset_are_refused_with_the_remedy(tmp_path: Path, text: str) -> None:
    path = file_of(tmp_path, "timestamp", ["2024-01-01T00:00:00Z", text])

    assert refusal(path, options(meter="123")) == NO_OFFSET


def test_times_without_an_offset_are_read_in_the_zone_that_is_said(tmp_path: Path) -> None:
    found = utc(
        tmp_path,
        "2024-01-15T12:00:00",
        "2024-07-15T12:00:00",
        "2024-03-31 01:59",
        "2024-03-31 03:00",
        "2024-07-15T12:00:00Z",
        "2024-07-15T12:00:00+0530",
        timezone="Europe/Berlin",
    )

    assert found == [
        "2024-01-15T11:00:00Z",
        "2024-07-15T10:00:00Z",
        "2024-03-31T00:59:00Z",
        "2024-03-31T01:00:00Z",
        "2024-07-15T12:00:00Z",
        "2024-07-15T06:30:00Z",
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2024-03-31T02:30", "the clock of Europe/Berlin skips that time"),
        (
            "2024-10-27T02:30",
            "the clock of Europe/Berlin shows that time twice, and the order of the rows does not "
            "tell which it is; say --repeated-hour first or second",
        ),
    ],
    ids=["an hour that is skipped", "an hour that comes twice"],
)
def test_a_local_time_that_names_no_single_instant_is_refused(
    tmp_path: Path, text: str, reason: str
) -> None:
    path = file_of(tmp_path, "timestamp", ["2024-03-31T01:30", text, "2024-10-27T03:30"])

    message = refusal(path, options(meter="123", timezone="Europe/Berlin"))

    assert (
        message == f"nothing was imported; bad rows:\na.csv: line 3: timestamp: '{text}': {reason}"
    )


def test_an_offset_tells_apart_the_hour_that_comes_twice(tmp_path: Path) -> None:
    times = ["2024-10-27T02:30+02:00", "2024-10-27T02:30+01:00"]

    found = utc(tmp_path, *times, timezone="Europe/Berlin")

    assert found == ["2024-10-27T00:30:00Z", "2024-10-27T01:30:00Z"]


@pytest.mark.parametrize(
    ("unit", "text", "instant"),
    [
        ("epoch_s", "1393263000", "2014-02-24T17:30:00Z"),
        ("epoch_s", "1393263000.0", "2014-02-24T17:30:00Z"),
        ("epoch_s", "0", "1970-01-01T00:00:00Z"),
        ("epoch_s", "-2208988800", "1900-01-01T00:00:00Z"),
        ("epoch_ms", "1393263000000", "2014-02-24T17:30:00Z"),
        ("epoch_ms", "-1000", "1969-12-31T23:59:59Z"),
    ],
)
def test_a_time_may_be_counted_from_1970(
    tmp_path: Path, unit: str, text: str, instant: str
) -> None:
    # A zone changes nothing: such a count is in UTC.
    assert utc(tmp_path, text, unit=unit, timezone="Asia/Kolkata") == [instant]


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        ("epoch_s", "1393263000.5"),
        ("epoch_s", "1393263000000"),
        ("epoch_s", "-2208988801"),
        ("epoch_s", "99999999999999999999999"),
        ("epoch_s", "nan"),
        ("epoch_s", "2024-01-01T00:00:00Z"),
        ("epoch_ms", "1393263000500"),
        ("epoch_ms", "7289654400000"),
    ],
)
def test_a_count_that_is_no_whole_second_of_these_centuries_is_refused(
    tmp_path: Path, unit: str, text: str
) -> None:
    path = file_of(tmp_path, "timestamp", ["0", text])

    message = refusal(path, options(f"timestamp=timestamp:{unit}", meter="123"))

    assert message == BAD_TIME.format(3, f"'{text}'")


@settings(max_examples=100, deadline=None)
@given(
    instant=st.datetimes(datetime(1900, 1, 2), datetime(2199, 12, 30)),  # noqa: DTZ001 - UTC below
    offset_min=st.integers(-14 * 60, 14 * 60),
)
def test_any_instant_is_understood_in_any_offset(
    tmp_path_factory: pytest.TempPathFactory, instant: datetime, offset_min: int
) -> None:
    whole = instant.replace(microsecond=0)
    sign, (hours, minutes) = "-" if offset_min < 0 else "+", divmod(abs(offset_min), 60)
    local = (whole + timedelta(minutes=offset_min)).isoformat()

    found = utc(tmp_path_factory.mktemp("times"), f"{local}{sign}{hours:02}:{minutes:02}")

    assert found == [f"{whole.isoformat()}Z"]


@pytest.mark.parametrize(
    ("ours", "unit", "text", "value"),
    [
        ("energy_kwh", "kWh", "0.021", 0.021),
        ("energy_kwh", "Wh", "21", 0.021),
        ("energy_kwh", "Wh", "26", 0.026),
        ("energy_kwh", "MWh", "0.021", 21.0),
        ("energy_kwh", "MWh", "16.1", 16_100.0),
        ("energy_export_kwh", "Wh", "-3", -0.003),
        ("power_kw", "kW", "2.1", 2.1),
        ("power_kw", "W", "21", 0.021),
        ("power_kw", "W", "26", 0.026),
        ("power_kw", "W", "2.1", 0.0021),
        ("power_kw", "MW", "32.3", 32_300.0),
        ("voltage_v", "V", "230.1", 230.1),
        ("voltage_v", "mV", "230109", 230.109),
        ("voltage_v", "kV", "0.2301", 230.1),
        ("current_a", "A", "9.1", 9.1),
        ("current_a", "mA", "9", 0.009),
    ],
)
def test_a_value_in_another_unit_becomes_the_same_value_in_ours(
    tmp_path: Path, ours: str, unit: str, text: str, value: float
) -> None:
    assert converted(tmp_path, ours, unit, text, "") == [value, None]


@settings(max_examples=30, deadline=None)
@given(watts=st.lists(st.integers(-(10**7), 10**7), min_size=1, max_size=200))
def test_whole_watts_become_the_nearest_kilowatts(
    tmp_path_factory: pytest.TempPathFactory, watts: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("units")

    found = converted(folder, "power_kw", "W", *map(str, watts))

    assert found == [float(Decimal(value) / 1000) for value in watts]


@settings(max_examples=30, deadline=None)
@given(
    values=st.lists(st.decimals(-(10**6), 10**6, places=3), min_size=1, max_size=200),
    case=st.sampled_from([("Wh", Decimal("0.001")), ("kWh", Decimal(1)), ("MWh", Decimal(1000))]),
)
def test_digits_survive_a_change_of_unit(
    tmp_path_factory: pytest.TempPathFactory, values: list[Decimal], case: tuple[str, Decimal]
) -> None:
    unit, in_kwh = case

    found = converted(tmp_path_factory.mktemp("units"), "energy_kwh", unit, *map(str, values))

    assert found == [float(value * in_kwh) for value in values]


def test_a_mapped_column_that_the_file_lacks_is_refused_with_those_it_has(tmp_path: Path) -> None:
    path = make.write(tmp_path, "a.csv", ["timestamp,P", "2024-01-01T00:00:00Z,5"])

    message = refusal(path, options("power_kw=p:W", meter="123"))

    assert message == "a.csv: --map power_kw=p: no such column; the file has: timestamp, P"


def test_what_is_said_on_the_command_line_wins_and_is_not_called_missing(tmp_path: Path) -> None:
    path = make.write(
        tmp_path, "a.csv", ["timestamp,smart_meter_id,power_kw,P", "2024-01-01T00:00:00Z,1,9,21"]
    )
    report = FileReport(path)

    frame = read(path, options("power_kw=P:W", meter="7", interval_s=60), report)

    assert frame.select("smart_meter_id", "interval_s", "power_kw").rows() == [("7", 60, 0.021)]
    assert report.ignored_columns == ["smart_meter_id", "power_kw"]
    assert report.missing_columns == [
        "energy_kwh",
        "voltage_v",
        "current_a",
        "energy_export_kwh",
        "quality",
    ]
