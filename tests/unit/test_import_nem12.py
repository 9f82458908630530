"""NEM12 files: what becomes of their records, and which line refuses a broken file."""

import io
import warnings
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import nemreader
import polars as pl
import pytest

from meterport.domain.errors import ImportRefused
from meterport.domain.readings import READING_SCHEMA, Merged
from meterport.import_here import as_text
from meterport.importers import importer_for
from meterport.importers.base import FileReport
from meterport.importers.options import ColumnSource, ImportOptions
from meterport.services.import_readings import ImportReport
from tests import make

MIDNIGHT = datetime(2024, 1, 31, 14, tzinfo=UTC)
"""The first of February in market time."""
OURS = ImportOptions()
HEADER, END = "100,NEM12,202402021200,MDP,RETAILER", "900"
BAD_LINE = "nothing was imported; bad rows:\na.csv: line {}: {}"


def channel(
    suffix: str = "E1", *, nmi: str = "6001234567", uom: str = "kWh", minutes: int = 30
) -> str:
    return f"200,{nmi},E1B1,,{suffix},,,{uom},{minutes},"


def day(
    *values: object, date: str = "20240201", count: int = 48, quality: str = "A", fill: object = 0
) -> str:
    """The values first, then `fill` for the rest of the day."""
    full = [*values, *[fill] * (count - len(values))]
    return ",".join(map(str, ["300", date, *full, quality, "", "", "20240202000000", ""]))


def file(folder: Path, *lines: str) -> Path:
    return make.write(folder, "a.csv", lines)


def read(
    path: Path, options: ImportOptions = OURS, report: FileReport | None = None
) -> pl.DataFrame:
    batches = importer_for(path).read(path, options, report or FileReport(path))
    return pl.concat([READING_SCHEMA.to_frame(), *batches])


def refusal(path: Path, options: ImportOptions = OURS) -> str:
    with pytest.raises(ImportRefused) as refused:
        read(path, options)
    return refused.value.message


def test_the_first_interval_starts_at_midnight_of_market_time(tmp_path: Path) -> None:
    path = file(tmp_path, HEADER, channel(), day(0.5, 0.25), END)

    frame = read(path)

    assert frame.schema == READING_SCHEMA
    assert frame.rows()[:2] == [
        (MIDNIGHT, 1800, "6001234567", 0.5, None, None, None, None, None),
        (MIDNIGHT + timedelta(minutes=30), 1800, "6001234567", 0.25, None, None, None, None, None),
    ]
    assert frame["timestamp"][-1] == MIDNIGHT + timedelta(hours=23, minutes=30)


@pytest.mark.parametrize("minutes", [5, 15, 30])
def test_a_day_is_as_many_intervals_as_its_length_says(tmp_path: Path, minutes: int) -> None:
    count = 1440 // minutes

    frame = read(file(tmp_path, channel(minutes=minutes), day(count=count)))

    assert frame["interval_s"].to_list() == [60 * minutes] * count
    assert frame["timestamp"].diff().drop_nulls().unique().to_list() == [timedelta(minutes=minutes)]


@pytest.mark.parametrize("together", [True, False])
def test_channels_of_a_meter_become_one_row_wherever_they_stand(
    tmp_path: Path, together: bool
) -> None:
    other = [channel(nmi="6009999999"), day(9)]
    between = [] if together else other
    path = file(tmp_path, channel("E1"), day(1.5), *between, channel("B1"), day(0.25))

    frame = read(path).filter(smart_meter_id="6001234567")

    assert frame.height == 48
    assert frame.row(0, named=True) == {
        "timestamp": MIDNIGHT,
        "interval_s": 1800,
        "smart_meter_id": "6001234567",
        "energy_kwh": 1.5,
        "power_kw": None,
        "voltage_v": None,
        "current_a": None,
        "energy_export_kwh": 0.25,
        "quality": None,
    }


def test_several_channels_of_one_direction_are_summed_without_a_new_digit(tmp_path: Path) -> None:
    only_e1 = day(7, date="20240202")
    path = file(tmp_path, channel("E1"), day(0.1, 1), only_e1, channel("E2"), day(0.2, "", 0.7))

    frame = read(path)

    assert frame["energy_kwh"].to_list()[:2] == [0.3, 0.7]
    assert frame["timestamp"][1] == MIDNIGHT + timedelta(hours=1)
    assert frame["energy_kwh"][47] == 7.0


def test_other_units_of_energy_are_converted(tmp_path: Path) -> None:
    path = file(tmp_path, channel("E1", uom="WH"), day(2100), channel("B1", uom="MWh"), day(0.0021))

    assert read(path).select("energy_kwh", "energy_export_kwh").row(0) == (2.1, 2.1)


def test_what_is_passed_over_is_counted_and_said(tmp_path: Path) -> None:
    lines = [channel("E1"), day(1), "500,O,S01009,20240310121004,"]
    lines += [channel("Q1", uom="kVArh"), day(2), channel("V1", uom="", minutes=10), day(count=144)]
    report = FileReport(file(tmp_path, *lines, channel("E1", uom="kW"), day(3)))

    read(report.path, report=report)

    assert report.rows == 48
    assert report.passed_over == {
        "500 records": 1,
        "Q1 in kVArh": 48,
        "V1": 144,
        "E1 in kW": 48,
    }
    text = as_text(ImportReport([report], Merged(1, 48, 0, 0, 0, [], {})))
    assert "passed over: 500 records (1), Q1 in kVArh (48), V1 (144), E1 in kW (48)" in text


@pytest.mark.parametrize(
    ("method", "word"),
    [
        ("A", None),
        ("", None),
        ("E52", "estimated"),
        ("S14", "substituted"),
        ("F19", "final_substituted"),
    ],
)
def test_a_quality_method_is_a_word(tmp_path: Path, method: str, word: str | None) -> None:
    frame = read(file(tmp_path, channel(), day(1, quality=method)))

    assert frame["quality"].to_list() == [word] * 48


def test_ranges_say_the_quality_of_a_variable_day(tmp_path: Path) -> None:
    ranges = ["400,1,1,A,,", "400,2,3,S14,32,", "400,4,46,N,,", "400,47,48,E52,,"]

    frame = read(file(tmp_path, channel(), day(1, 2, 3, quality="V"), *ranges))

    assert frame["quality"].to_list() == [None, *["substituted"] * 2, *["estimated"] * 2]
    assert frame["timestamp"][3] == MIDNIGHT + timedelta(hours=23)


def test_the_least_sure_channel_gives_the_row_its_quality(tmp_path: Path) -> None:
    path = file(tmp_path, channel("E1"), day(1), channel("B1"), day(1, quality="S14"))

    assert read(path)["quality"].to_list() == ["substituted"] * 48


def test_null_data_is_no_row_and_beside_a_known_value_an_empty_one(tmp_path: Path) -> None:
    days = [day(1, date="20240201", quality="N"), day(1, "", date="20240202")]
    path = file(tmp_path, channel("E1"), *days, channel("B1"), day(2, 3, date="20240202"))

    frame = read(path)

    assert frame.height == 48
    assert frame.select("energy_kwh", "energy_export_kwh").rows()[:2] == [(1.0, 2.0), (None, 3.0)]


def test_a_day_that_comes_twice_is_the_later_one_where_that_knows_it(tmp_path: Path) -> None:
    path = file(tmp_path, channel(), day(1, 2), channel(), day(5, ""))
    report = FileReport(path)

    frame = read(path, report=report)

    assert frame["energy_kwh"].to_list()[:2] == [5.0, 2.0]
    assert report.passed_over == {"days that a later record repeats": 1}


def test_a_meter_may_change_its_interval_length_from_one_day_to_the_next(tmp_path: Path) -> None:
    path = file(tmp_path, channel(), day(), channel(minutes=5), day(date="20240202", count=288))

    assert read(path)["interval_s"].to_list() == [1800] * 48 + [300] * 288


def test_files_behind_one_another_blank_lines_and_a_bom_are_no_matter(tmp_path: Path) -> None:
    one = [HEADER, channel(), day(1), END]
    two = ["", channel(nmi="6009999999"), day(2), END, ""]
    path = tmp_path / "a.csv"
    path.write_bytes("\r\n".join(["\ufeff" + one[0], *one[1:], *two]).encode())

    assert read(path)["smart_meter_id"].unique(maintain_order=True).to_list() == [
        "6001234567",
        "6009999999",
    ]


def test_a_zone_without_summer_time_may_be_said(tmp_path: Path) -> None:
    path = file(tmp_path, channel(), day(1))

    frame = read(path, ImportOptions(timezone=ZoneInfo("Australia/Perth")))

    assert frame["timestamp"][0] == MIDNIGHT + timedelta(hours=2)


def test_a_zone_that_has_summer_time_on_the_day_is_refused_by_line(tmp_path: Path) -> None:
    path = file(tmp_path, HEADER, channel(), day(1, date="20240601"), day(1), END)

    message = refusal(path, ImportOptions(timezone=ZoneInfo("Australia/Sydney")))

    assert message == BAD_LINE.format(
        4,
        "2024-02-01 has summer time in --timezone Australia/Sydney, which NEM12 never has; leave "
        "it out for market time (UTC+10), or say a zone without, such as Australia/Perth",
    )


def test_a_meter_id_may_be_given_to_a_file_of_one_meter(tmp_path: Path) -> None:
    path = file(tmp_path, channel(nmi="(redacted)"), day(1))

    assert read(path, ImportOptions(smart_meter_id="house-7"))["smart_meter_id"][0] == "house-7"
    assert refusal(path) == BAD_LINE.format(
        1,
        "the NMI '(redacted)' is not a meter id (1 to 64 letters, digits or . _ : -); "
        "say --meter ID",
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ImportOptions(smart_meter_id="one"),
            "a.csv: the file has 2 meters (NMIs); --meter would make them one",
        ),
        (
            ImportOptions(mapping={"energy_kwh": ColumnSource("E1", "kWh")}, decimal=","),
            "a.csv: NEM12 says its columns and interval lengths itself; leave --map, --decimal out",
        ),
        (
            ImportOptions(interval_s=900),
            "a.csv: NEM12 says its columns and interval lengths itself; leave --interval out",
        ),
    ],
)
def test_options_that_make_no_sense_here_are_refused(
    tmp_path: Path, options: ImportOptions, message: str
) -> None:
    path = file(tmp_path, channel(), day(1), channel(nmi="6009999999"), day(1))

    assert refusal(path, options) == message


V_DAY = day(quality="V")
REFUSED = {
    "one value too few": (day(count=47), 3, "47 values, but a day of 30-minute intervals has 48"),
    "one too many": (day(count=49), 3, "49 values, but a day of 30-minute intervals has 48"),
    "too few, and no quality": (
        day(count=47, quality="", fill=1).replace("20240202000000", ""),
        3,
        "47 values, but a day of 30-minute intervals has 48",
    ),
    "cut in its values": (
        "300,20240201,1,1,1",
        3,
        "3 values, but a day of 30-minute intervals has 48",
    ),
    "an unknown quality": (
        day(quality="X"),
        3,
        "'X' is not a quality method such as A, E52, F14, S14, V",
    ),
    "a bad number": (day(1, "abc"), 3, "interval 2: 'abc' is not a finite number"),
    "an infinite number": (day(1, 2, "1e400"), 3, "interval 3: '1e400' is not a finite number"),
    "not a number": (day("nan"), 3, "interval 1: 'nan' is not a finite number"),
    "a bad date": (day(date="20240230"), 3, "'20240230' is not a date such as 20240131"),
    "another date": (day(date="2024-02-01"), 3, "'2024-02-01' is not a date such as 20240131"),
    "no ranges": (V_DAY, 3, "quality V, but the 400 records cover 0 of 48 intervals"),
    "ranges that end early": (
        f"{V_DAY}\n400,1,47,A,,",
        3,
        "quality V, but the 400 records cover 47 of 48 intervals",
    ),
    "a hole between ranges": (
        f"{V_DAY}\n400,1,10,A,,\n400,12,48,A,,",
        5,
        "intervals '12,48', but the next range begins at 11 and none ends after 48",
    ),
    "ranges that overlap": (
        f"{V_DAY}\n400,1,10,A,,\n400,10,48,A,,",
        5,
        "intervals '10,48', but the next range begins at 11 and none ends after 48",
    ),
    "a range past the day": (
        f"{V_DAY}\n400,1,49,A,,",
        4,
        "intervals '1,49', but the next range begins at 1 and none ends after 48",
    ),
    "a range of no quality": (
        f"{V_DAY}\n400,1,48,V,,",
        4,
        "'V' is not a quality method such as A, E52, F14, N, S14",
    ),
    "a range without need": (
        f"{day()}\n400,1,48,A,,",
        4,
        "a 400 record, but the 300 record before it has not quality V",
    ),
    "a range without a day": ("400,1,48,A,,", 3, "a 400 record that follows no 300 record"),
    "an unknown record": (
        "250,1,2,3",
        3,
        "'250' is no record of NEM12; known: 100, 200, 300, 400, 500, 900",
    ),
    "a second header": (HEADER, 3, "a 100 record inside the file"),
    "a bad interval length": (
        channel(minutes=7),
        3,
        "interval length '7' is not a number of minutes such as 5, 15, 30",
    ),
    "a channel that was cut": ("200,6001234567,E1", 3, "3 fields, but a 200 record has 10"),
    "two lengths on one day": (
        f"{day()}\n{channel('B1', minutes=5)}\n{day(count=288)}",
        5,
        "intervals of 5 minutes, but line 3 has 30 for the same meter and day",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_broken_file_is_refused_by_line(tmp_path: Path, name: str) -> None:
    lines, line, reason = REFUSED[name]

    message = refusal(file(tmp_path, HEADER, channel(), lines, END))

    assert message == BAD_LINE.format(line, reason)


@pytest.mark.parametrize(
    ("lines", "line", "reason"),
    [
        ([day(), END], 1, "a 300 record before any 200 record"),
        ([HEADER, day(), END], 2, "a 300 record before any 200 record"),
        (
            [HEADER, channel(), day()],
            3,
            "the file has a 100 record but ends without a 900 record; it may be cut",
        ),
        (
            ["100,NEM13,202402021200,MDP,RETAILER", END],
            1,
            "the 100 record is not of NEM12; only interval files can be imported",
        ),
    ],
)
def test_a_file_whose_records_stand_in_no_order_is_refused_by_line(
    tmp_path: Path, lines: list[str], line: int, reason: str
) -> None:
    assert refusal(file(tmp_path, *lines)) == BAD_LINE.format(line, reason)


def test_a_file_that_is_not_utf8_is_refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(f"{channel()}\n{day()}\n500,Zähler".encode("latin-1"))

    assert refusal(path) == BAD_LINE.format(3, "not UTF-8; convert the file first")


def test_a_file_without_energy_is_refused(tmp_path: Path) -> None:
    path = file(tmp_path, HEADER, channel("Q1", uom="kVArh"), day(), END)

    assert refusal(path) == "a.csv: no value of an E or B channel in kWh, Wh or MWh"


def test_a_csv_whose_first_column_is_a_number_is_none_of_nem12(tmp_path: Path) -> None:
    assert importer_for(make.write(tmp_path, "a.csv", [make.HEADER])).name == "csv"
    assert importer_for(make.write(tmp_path, "b.csv", ["100,kWh", "1,2"])).name == "csv"
    assert importer_for(make.write(tmp_path, "c.NEM12", [HEADER])).name == "nem12"


GOOD_SAMPLES = {
    "Example_NEM12_ManyNMIs.zip": (99 * 288, 99),
    "Example_different_intervals.zip": (48, 1),
    "NEM12_000000000000002_CNRGYMDP.zip": (4 * 48, 1),
    "NEM12_SCENARIO1_UNITEDDP.zip": (4 * 48, 1),
    "au_nem12_headerless_5min_power-redacted.csv": (106 * 288, 1),
    "invalid_Example_NEM12_missing_header.csv": (48, 1),
    "invalid_Example_NEM12_powercor.csv": (48, 1),
}


def sample(samples: Path, name: str, folder: Path) -> Path:
    raw = (samples / "nem12" / name).read_bytes()
    if name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            raw = archive.read(archive.namelist()[0])
    path = folder / "a.csv"
    path.write_bytes(raw)
    return path


def options_for(name: str) -> ImportOptions:
    return ImportOptions(smart_meter_id="redacted" if "redacted" in name else None)


@pytest.mark.parametrize("name", GOOD_SAMPLES)
def test_a_sample_file_has_the_rows_that_were_counted(
    samples: Path, tmp_path: Path, name: str
) -> None:
    frame = read(sample(samples, name, tmp_path), options_for(name))

    assert (frame.height, frame["smart_meter_id"].n_unique()) == GOOD_SAMPLES[name]


@pytest.mark.parametrize("name", [name for name in GOOD_SAMPLES if not name.startswith("invalid")])
def test_a_sample_file_agrees_with_another_reader_value_for_value(
    samples: Path, tmp_path: Path, name: str
) -> None:
    path = sample(samples, name, tmp_path)
    expected: dict[tuple[str, str, datetime], float] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = nemreader.read_nem_file(str(path)).readings
    for nmi, channels in theirs.items():
        for suffix, rows in channels.items():
            if suffix[0] in "EB":
                for row in rows:
                    start = (row.t_start - timedelta(hours=10)).replace(tzinfo=UTC)
                    key = (nmi.strip("()"), suffix[0], start)
                    expected[key] = round(expected.get(key, 0) + row.read_value, 14)

    frame = read(path, options_for(name))

    ours = {
        (row["smart_meter_id"], suffix, row["timestamp"]): row[column]
        for row in frame.iter_rows(named=True)
        for suffix, column in (("E", "energy_kwh"), ("B", "energy_export_kwh"))
        if row[column] is not None
    }
    assert ours == expected


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("15min_200_30min_300", "line 3: 48 values, but a day of 15-minute intervals has 96"),
        ("incomplete_interval", "line 3: 0 values, but a day of 30-minute intervals has 48"),
        ("empty", "no value of an E or B channel in kWh, Wh or MWh"),
    ],
)
def test_a_broken_sample_file_is_refused(
    samples: Path, tmp_path: Path, name: str, reason: str
) -> None:
    assert refusal(sample(samples, f"invalid_Example_NEM12_{name}.csv", tmp_path)).endswith(reason)
