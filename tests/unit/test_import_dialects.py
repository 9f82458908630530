"""CSV of other tools: what is found out of a file, what has to be said, and what is refused."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from meterport.domain.errors import ImportRefused
from meterport.importers import csv
from meterport.importers.base import FileReport
from meterport.importers.options import ImportOptions
from meterport.services.import_options import Said, options
from tests import make
from tests.unit.feeds import read, refusal

HEADER = "timestamp,smart_meter_id,energy_kwh"
TIME = "2024-01-01T00:00:00Z"


def file(folder: Path, *lines: str, name: str = "a.csv") -> Path:
    return make.write(folder, name, list(lines))


def energies(path: Path, chosen: ImportOptions = ImportOptions()) -> list[float | None]:  # noqa: B008
    return read(path, chosen)["energy_kwh"].to_list()


def times(path: Path, chosen: ImportOptions) -> list[str]:
    return read(path, chosen)["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%SZ").to_list()


@pytest.mark.parametrize(("delimiter", "told"), [(";", ";"), ("\t", "tab"), ("|", "|")])
def test_the_delimiter_is_found_out_and_told(tmp_path: Path, delimiter: str, told: str) -> None:
    lines = (HEADER, f"{TIME},A,0.5")
    path = file(tmp_path, *(line.replace(",", delimiter) for line in lines))
    report = FileReport(path)

    assert read(path, report=report)["energy_kwh"].to_list() == [0.5]
    assert report.read_as == {"delimiter": told}


def test_a_file_of_ours_is_read_without_a_word(tmp_path: Path) -> None:
    path = file(tmp_path, HEADER, f"{TIME},A,0.5")
    report = FileReport(path)

    read(path, report=report)

    assert report.read_as == {}


def test_what_stands_above_the_header_is_no_matter(tmp_path: Path) -> None:
    path = file(
        tmp_path, "\ufeffName;Ann;;;", "", "sep=;", ";;;;", HEADER.replace(",", ";"), f"{TIME};A;1"
    )
    report = FileReport(path)

    assert read(path, report=report)["energy_kwh"].to_list() == [1.0]
    assert report.read_as == {"delimiter": ";", "header line": "5"}


def test_a_bad_row_below_a_preamble_has_the_files_own_line(tmp_path: Path) -> None:
    path = file(tmp_path, "Name,Ann,", "", HEADER, f"{TIME},A,1", f"{TIME},A,x")

    assert refusal(path) == (
        "nothing was imported; bad rows:\na.csv: line 5: energy_kwh: 'x' is not a finite number"
    )


def test_a_header_beyond_50_lines_is_not_looked_for_but_may_be_said(tmp_path: Path) -> None:
    path = file(tmp_path, *["note,,"] * 50, HEADER, f"{TIME},A,1")

    assert "no column timestamp" in refusal(path)
    assert energies(path, options(Said(header_line=51))) == [1.0]


def test_of_a_file_without_a_header_the_columns_are_numbered(tmp_path: Path) -> None:
    path = file(tmp_path, f"\ufeff{TIME};A;0,5")
    chosen = options(
        Said(["timestamp=#1", "smart_meter_id=#2", "energy_kwh=#3"], header_line=0, delimiter=";")
    )

    assert energies(path, chosen) == [0.5]


def test_a_header_that_comes_twice_is_told_apart_by_its_place(tmp_path: Path) -> None:
    path = file(tmp_path, "timestamp,Usage,Unit,Usage,Unit", f"{TIME},1.5,kWh,2.5,kWh")

    chosen = options(Said(["energy_kwh=Usage#2"], meter="A"))
    ambiguous = options(Said(["energy_kwh=Usage"], meter="A"))

    assert energies(path, chosen) == [2.5]
    assert refusal(path, ambiguous) == (
        "a.csv: the header names 'Usage' twice; --map energy_kwh=Usage: say which, "
        "Usage#1 or Usage#2"
    )


def test_rows_that_end_in_a_delimiter_have_no_further_column(tmp_path: Path) -> None:
    path = file(tmp_path, HEADER, f"{TIME},A,0.5,", f"{TIME},B,0.6,")

    assert energies(path) == [0.5, 0.6]


def test_rows_of_empty_fields_are_blank(tmp_path: Path) -> None:
    assert energies(file(tmp_path, HEADER, f"{TIME},A,0.5", ",,", ' ,"",')) == [0.5]


@pytest.mark.parametrize(
    ("numbers", "found"),
    [
        (["0,5", "1,25"], [0.5, 1.25]),
        (["0,500", "1,250"], [0.5, 1.25]),
        (["1", "-2,5e-3"], [1.0, -0.0025]),
        (["0.5", "1.25"], [0.5, 1.25]),
        (["1", "2"], [1.0, 2.0]),
    ],
)
@pytest.mark.parametrize("delimiter", [";", ","])
def test_the_decimal_sign_is_found_out(
    tmp_path: Path, numbers: list[str], found: list[float], delimiter: str
) -> None:
    rows = (f'{TIME}{delimiter}M{n}{delimiter}"{number}"' for n, number in enumerate(numbers))
    path = file(tmp_path, HEADER.replace(",", delimiter), *rows)

    assert energies(path) == found


@pytest.mark.parametrize(
    ("numbers", "named"),
    [
        (["1,234", "2,500"], "numbers such as 1,234"),
        (["0,5", "1.5"], "numbers such as 0,5 beside 1.5"),
    ],
)
def test_a_comma_that_may_part_thousands_is_refused_with_the_remedy(
    tmp_path: Path, numbers: list[str], named: str
) -> None:
    rows = (f'{TIME},M{n},"{number}"' for n, number in enumerate(numbers))
    path = file(tmp_path, HEADER, *rows)

    assert refusal(path) == (
        f"a.csv: {named}: the comma may part thousands or decimals; "
        "say --decimal , if it is the decimal sign"
    )


def test_rows_that_are_not_meant_tell_nothing_of_the_dialect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv, "BLOCK_BYTES", 1)
    path = file(
        tmp_path,
        "timestamp;kind;energy_kwh",
        "01/02/2024 00:00;gas;1.5",
        "13/02/2024 00:00;power;0,5",
    )
    said = replace(LOCAL, where=["kind=power"])

    assert times(path, options(said)) == ["2024-02-12T23:00:00Z"]
    assert energies(path, options(said)) == [0.5]


def test_with_a_decimal_comma_said_a_point_is_no_decimal_sign(tmp_path: Path) -> None:
    path = file(tmp_path, HEADER.replace(",", ";"), f"{TIME};A;1,234", f"{TIME};B;1.5")

    assert refusal(path, options(Said(decimal=","))).endswith(
        "a.csv: line 3: energy_kwh: '1.5' is not a finite number"
    )


def test_what_comes_after_the_first_block_is_read_as_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv, "BLOCK_BYTES", 1)
    path = file(tmp_path, HEADER.replace(",", ";"), f"{TIME};A;1", f"{TIME};B;1,5")

    assert refusal(path).endswith(
        "a.csv: line 3: energy_kwh: '1,5' is not a finite number; "
        "the decimal sign here is a point, unless you say --decimal ,"
    )


LOCAL = Said(meter="A", timezone="Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("13/02/2024 01:15", "2024-02-13T00:15:00Z"),
        ("13-02-24 01:15:30", "2024-02-13T00:15:30Z"),
        ("1.2.2024, 1:15", "2024-02-01T00:15:00Z"),
        ("31.12.2023 24:00", "2023-12-31T23:00:00Z"),
        ("02/13/2024 1:15 AM", "2024-02-13T00:15:00Z"),
        ("02/13/2024 12:15 am", "2024-02-12T23:15:00Z"),
        ("02/13/2024 12:15 p.m.", "2024-02-13T11:15:00Z"),
        ("02/13/2024", "2024-02-12T23:00:00Z"),
        ("2024/02/13 01:15", "2024-02-13T00:15:00Z"),
        ("20240213 0115", "2024-02-13T00:15:00Z"),
        ("202402130115", "2024-02-13T00:15:00Z"),
        ("2024-02-13", "2024-02-12T23:00:00Z"),
        ("13/02/2024 01:15+05:30", "2024-02-12T19:45:00Z"),
        ("13/02/2024 01:15Z", "2024-02-13T01:15:00Z"),
    ],
)
def test_dates_of_all_orders_are_understood(tmp_path: Path, text: str, utc: str) -> None:
    path = file(tmp_path, "timestamp;energy_kwh", f"{text};1")

    assert times(path, options(LOCAL)) == [utc]


@pytest.mark.parametrize(("order", "utc"), [("dmy", "2024-02-01"), ("mdy", "2024-01-02")])
def test_a_date_that_may_be_two_days_is_refused_until_its_order_is_said(
    tmp_path: Path, order: str, utc: str
) -> None:
    path = file(tmp_path, "timestamp,energy_kwh", "01/02/2024 12:00,1", "03/04/2024 12:00,1")

    assert refusal(path, options(LOCAL)) == (
        "a.csv: dates such as 01/02/2024 12:00 may begin with the day or the month; "
        "say --date-format dmy or --date-format mdy"
    )
    assert times(path, options(replace(LOCAL, date_format=order)))[0] == f"{utc}T11:00:00Z"


@pytest.mark.parametrize(
    "text", ["31/02/2024 00:00", "32/01/2024 00:00", "13/02/2024 24:15", "13/02/2024 7 PM", "x"]
)
def test_a_date_that_is_none_is_refused_by_its_line(tmp_path: Path, text: str) -> None:
    path = file(tmp_path, "timestamp,energy_kwh", "13/02/2024 00:00,1", f"{text},1")

    assert f"a.csv: line 3: timestamp: '{text}' is not a date-time" in refusal(path, options(LOCAL))


def test_the_end_of_an_interval_is_taken_back_to_its_start(tmp_path: Path) -> None:
    path = file(tmp_path, "timestamp,energy_kwh", "2024-03-31T03:15,1", "2024-03-31T03:30,1")

    chosen = options(replace(LOCAL, label="end", interval_s=900))

    assert times(path, chosen) == ["2024-03-31T01:00:00Z", "2024-03-31T01:15:00Z"]
    assert refusal(path, options(replace(LOCAL, label="end"))) == (
        "a.csv: --label end: how long is the interval? "
        "say --interval SECONDS or --map interval_s=COLUMN"
    )


def test_a_registers_count_has_no_other_label(tmp_path: Path) -> None:
    path = file(tmp_path, "timestamp,count", f"{TIME},1")
    chosen = options(
        Said(["energy_kwh=count:register_kWh"], meter="A", label="end", interval_s=900)
    )

    assert refusal(path, chosen) == (
        "a.csv: --label end: the count of a register is that at its time; leave --label out"
    )


def test_columns_are_added_up_without_a_digit_too_many(tmp_path: Path) -> None:
    path = file(tmp_path, "timestamp,low,high", f"{TIME},0.1,0.2", "2024-01-01T01:00:00Z,0.1,")

    assert energies(path, options(Said(["energy_kwh=low+high"], meter="A"))) == [0.3, None]


@pytest.mark.parametrize("name", ["A+ [kWh]", "Usage (kWh):", "x=y[z=1]", "00:15"])
def test_a_column_that_has_that_very_name_is_it(tmp_path: Path, name: str) -> None:
    path = file(tmp_path, f"timestamp;{name}", f"{TIME};0.5")

    assert energies(path, options(Said([f"energy_kwh={name}"], meter="A"))) == [0.5]


def test_rows_of_several_registers_become_one_reading(tmp_path: Path) -> None:
    path = file(
        tmp_path,
        "timestamp,Register,Volume,Status",
        f"{TIME},in low,0.5,",
        f"{TIME},out,0.1,guess",
        "2024-01-01T00:15:00Z,in high,0.7,",
        "2024-01-01T00:15:00Z,total,9.9,",
        "2024-01-01T00:15:00Z,in high,0.8,",
    )
    maps = (
        "energy_kwh=Volume[Register=in low|in high]",
        "energy_export_kwh=Volume[Register=out]",
        "quality=Status",
    )
    report = FileReport(path)

    frame = read(path, options(Said(maps, meter="A", quality=["guess=estimated"])), report)

    assert frame.sort("timestamp").select("energy_kwh", "energy_export_kwh", "quality").rows() == [
        (0.5, 0.1, "estimated"),
        (0.8, None, None),
    ]
    assert (report.rows, report.rows_read) == (2, 5)
    assert report.passed_over == {"rows of no --map": 1, "values that a later row repeats": 1}


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            Said(["energy_kwh=v[kind=day]"], meter="A"),
            "a.csv: no row has kind=day; 'kind' has 'low', 'out'",
        ),
        (
            Said(["energy_kwh=v"], meter="A", where=["kind=x"]),
            "a.csv: no row has kind=x; 'kind' has 'low', 'out'",
        ),
        (
            Said(["energy_kwh=v"], meter="A", where=["sort=x"]),
            "a.csv: --where sort=x: no such column; the file has: timestamp, kind, v",
        ),
        (
            Said(["energy_kwh=v"], meter="A", factor="f"),
            "a.csv: --factor f: no such column; the file has: timestamp, kind, v",
        ),
        (
            Said(["energy_kwh=v[sort=x]"], meter="A"),
            "a.csv: --map energy_kwh=v[sort=x]: no such column; the file has: timestamp, kind, v",
        ),
        (
            Said(meter="A", wide="energy_kwh"),
            "a.csv: --wide: no column is named by a time of day, such as 00:15 or 00:15-00:30; "
            "the file has: timestamp, kind, v",
        ),
    ],
)
def test_what_the_file_does_not_have_is_refused_with_what_it_has(
    tmp_path: Path, said: Said, message: str
) -> None:
    path = file(tmp_path, "timestamp,kind,v", f"{TIME},low,1", f"{TIME},out,2")

    assert refusal(path, options(said)) == message


def test_only_the_rows_that_are_asked_for_are_taken(tmp_path: Path) -> None:
    path = file(tmp_path, HEADER + ",kind", f"{TIME},A,1,gas", f"{TIME},A,2,power")
    report = FileReport(path)

    frame = read(path, options(Said(where=["kind=power"])), report)

    assert frame["energy_kwh"].to_list() == [2.0]
    assert report.passed_over == {"rows without kind=power": 1}


def test_a_factor_has_no_sign_and_adds_no_digit(tmp_path: Path) -> None:
    path = file(tmp_path, HEADER + ",f", f"{TIME},A,35089902,0.001", f"{TIME},B,33,-0.1")

    assert energies(path, options(Said(factor="f"))) == [35089.902, 3.3]


def test_words_of_quality_are_translated(tmp_path: Path) -> None:
    path = file(tmp_path, HEADER + ",quality", f"{TIME},A,1,Read", f"{TIME},B,2,Est.")
    words = ["Read=", "Est.=estimated"]

    assert read(path, options(Said(quality=words)))["quality"].to_list() == [None, "estimated"]


def test_a_word_for_missing_is_missing_and_a_row_of_them_is_none(tmp_path: Path) -> None:
    path = file(tmp_path, HEADER + ",power_kw", f"{TIME},A,-,-", f"{TIME},B,-,2", f"{TIME},C,,")
    report = FileReport(path)

    frame = read(path, options(Said(missing=["-"])), report)

    assert frame.select("smart_meter_id", "energy_kwh", "power_kw").rows() == [
        ("B", None, 2.0),
        ("C", None, None),
    ]
    assert report.passed_over == {"rows without a value": 1}


@pytest.mark.parametrize("name", ["{:02}:{:02}", "{}:{:02}-"])
def test_a_row_of_a_day_becomes_a_row_for_each_interval(tmp_path: Path, name: str) -> None:
    starts = [make.JANUARY + timedelta(minutes=15 * n) for n in range(96)]
    names = [name.format(t.hour, t.minute) for t in starts]
    if name.endswith("-"):
        ends = [t + timedelta(minutes=15) for t in starts]
        names = [f"{n} {e.hour}:{e.minute:02}" for n, e in zip(names, ends, strict=True)]
    path = file(
        tmp_path,
        ";".join(["Day", "Meter", *names]),
        ";".join(["01/02/2024", "A", *(f"{n},5" for n in range(96))]),
        ";".join(["13/02/2024", "A", *(f"{n},5" for n in range(96))]),
    )
    maps = ["timestamp=Day", "smart_meter_id=Meter"]

    frame = read(path, options(Said(maps, timezone="Europe/Rome", wide="energy_kwh:Wh")))

    begin = datetime(2024, 1, 31, 23, tzinfo=UTC)
    assert frame["timestamp"].to_list()[:96] == [
        begin + timedelta(minutes=15 * n) for n in range(96)
    ]
    assert frame["energy_kwh"].to_list() == [round(n / 1000 + 0.0005, 7) for n in range(96)] * 2
    assert frame["smart_meter_id"].unique().to_list() == ["A"]


def test_a_days_empty_columns_in_spring_are_no_bad_rows(tmp_path: Path) -> None:
    hours = [f"{hour:02}:00" for hour in range(24)]
    cells = ["" if hour == "02:00" else "1" for hour in hours]
    path = file(tmp_path, ";".join(["Day", *hours]), ";".join(["31.03.2024", *cells]))
    said = Said(["timestamp=Day"], meter="A", timezone="Europe/Rome", wide="energy_kwh")

    assert len(energies(path, options(said))) == 23
    cells[2] = "1"
    path = file(tmp_path, ";".join(["Day", *hours]), ";".join(["31.03.2024", *cells]))
    assert refusal(path, options(said)) == (
        "nothing was imported; bad rows:\na.csv: line 2: timestamp: '31.03.2024 02:00': "
        "the clock of Europe/Rome skips that time"
    )


def test_bad_rows_are_left_out_and_named_if_that_is_asked_for(tmp_path: Path) -> None:
    path = file(
        tmp_path, HEADER, f"{TIME},A,1", f"{TIME},B", "x,C,2", f"{TIME},D,3,", f"{TIME},E,4"
    )
    report = FileReport(path)

    frame = read(path, options(Said(skip_bad_rows=True)), report)

    assert frame["smart_meter_id"].to_list() == ["A", "E"]
    assert (report.rows, report.rows_read, report.rows_refused) == (2, 5, 3)
    assert sorted((bad.line, bad.reason) for bad in report.refused) == [
        (3, "2 fields, but the header has 3"),
        (4, "timestamp: 'x' is not a date-time in whole seconds, such as 2024-01-01T00:00:00Z"),
        (5, "4 fields, but the header has 3"),
    ]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (Said(delimiter="x"), "--delimiter 'x' is not known; known: , ; | tab"),
        (Said(decimal=";"), "--decimal ';' is not known; known: . ,"),
        (
            Said(date_format="ddmm"),
            "--date-format 'ddmm' is not known; known: iso, ymd, dmy, mdy",
        ),
        (Said(label="ends"), "--label 'ends' is not known; did you mean end? known: start, end"),
        (
            Said(repeated_hour="both"),
            "--repeated-hour 'both' is not known; known: order, first, second",
        ),
        (Said(where=["kind"]), "--where 'kind': write COLUMN=WORD or COLUMN=WORD|WORD"),
        (
            Said(quality=["Read=A B"]),
            "--quality 'Read=A B': write WORD=QUALITY, with a quality such as estimated, "
            "or WORD= for what was measured",
        ),
        (
            Said(wide="energy"),
            "--wide: 'energy' is no column of ours; did you mean energy_kwh?",
        ),
        (
            Said(wide="power_kw:Wh"),
            "--wide power_kw: unknown unit 'Wh'; known: kW, W, MW",
        ),
    ],
)
def test_an_option_that_is_not_known_is_refused_with_those_that_are(
    said: Said, message: str
) -> None:
    with pytest.raises(ImportRefused) as refused:
        options(said)

    assert refused.value.message == message


@pytest.mark.parametrize("name", ["a.ndjson", "a.parquet"])
def test_what_has_no_lines_of_fields_has_no_delimiter(tmp_path: Path, name: str) -> None:
    chosen = options(Said(delimiter=";", header_line=2, decimal=","))
    path = tmp_path / name
    if name == "a.ndjson":
        path.write_text(f'{{"timestamp":"{TIME}","smart_meter_id":"A","energy_kwh":"1,5"}}\n')
        kind = "NDJSON has no delimiter and no header"
    else:
        make.readings(0.5).write_parquet(path)
        kind = "Parquet has no delimiter and no header line"

    assert refusal(path, chosen) == f"{name}: {kind}; leave --delimiter, --header-line out"


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    numbers=st.lists(st.decimals(-(10**6), 10**6, places=3), min_size=1, max_size=50),
    block_bytes=st.integers(1, 400),
)
def test_any_numbers_come_back_from_a_file_with_commas(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[object], block_bytes: int
) -> None:
    rows = [f"{TIME};M{n};{str(number).replace('.', ',')}" for n, number in enumerate(numbers)]
    path = file(tmp_path_factory.mktemp("commas"), HEADER.replace(",", ";"), *rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv, "BLOCK_BYTES", block_bytes)
        found = energies(path, options(Said(decimal=",")))

    assert found == [float(str(number)) for number in numbers]
