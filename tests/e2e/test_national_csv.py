"""The examples of docs/import.md, on the real files, as they stand there."""

import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from meterport.domain.period import Period
from meterport.domain.readings import READING_SCHEMA
from tests import make
from tests.unit import pages

PAGE = pages.read("docs/import.md")
EVER = Period(datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))
COMMANDS = [
    list(command)
    for example in pages.examples(pages.section_with_blocks(PAGE, "CSV of other tools"))
    for command in example.commands
]
COUNTS = pages.table(PAGE, "file", "rows", "readings", "refused")


def imported(samples: Path, folder: Path, command: Sequence[str]) -> dict[str, Any]:
    file, *options = command[1:]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "meterport", "import"),
            *(
                str((samples / "national-csv" / file).resolve()),
                *options,
                "--json",
                "--data",
                "data",
            ),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=100,
    )
    report = json.loads(done.stdout)
    (counts,) = report["files"]
    return {**counts, "meters": report["meters"], "new": report["rows_new"]}


def readings(folder: Path) -> pl.DataFrame:
    services = make.home(folder).services
    meters = [meter.smart_meter_id for meter in services.catalog.all()]
    return pl.concat(services.source.scan(meters, EVER, columns=READING_SCHEMA.names()))


def of(name: str, number: int = 0) -> list[str]:
    return [command for command in COMMANDS if command[1].startswith(name)][number]


@pytest.mark.parametrize("number", range(len(COUNTS)))
def test_a_file_is_imported_with_these_counts(samples: Path, tmp_path: Path, number: int) -> None:
    file, *counts = COUNTS[number]
    (name,) = pages.words(file)

    report = imported(samples, tmp_path, COMMANDS[number])

    assert COMMANDS[number][1] == name
    found = [report["rows_read"], report["new"], report["rows_refused"]]
    assert [f"{count:,}" for count in found] == counts
    assert readings(tmp_path).height == report["new"]


def test_there_is_a_command_for_each_line_of_the_table() -> None:
    assert len(COMMANDS) == len(COUNTS) == 8


def test_in_belgium_the_repeated_hour_has_both_passes(samples: Path, tmp_path: Path) -> None:
    imported(samples, tmp_path, of("be_"))

    night = readings(tmp_path).filter(
        pl.col("timestamp").is_between(
            datetime(2023, 10, 29, 0, tzinfo=UTC), datetime(2023, 10, 29, 1, 45, tzinfo=UTC)
        )
    )
    assert night["energy_kwh"].to_list() == [0.276, 0.286, 0.269, 0.295, 0.261, 0.268, 0.273, 0.286]
    assert night["energy_export_kwh"].to_list() == [0.0] * 8
    assert night["smart_meter_id"].unique().to_list() == ["123456879123456789"]


def test_in_italy_a_row_is_a_day_of_the_clock(samples: Path, tmp_path: Path) -> None:
    imported(samples, tmp_path, of("it_"))

    frame = readings(tmp_path)

    assert frame["timestamp"][0] == datetime(2024, 8, 31, 22, tzinfo=UTC)
    assert frame["energy_kwh"][:4].to_list() == [0.139, 0.258, 0.207, 0.101]
    steps = frame["timestamp"].diff().drop_nulls().unique().to_list()
    assert steps == [timedelta(minutes=15)]


def test_registers_with_a_factor_become_energy(samples: Path, tmp_path: Path) -> None:
    report = imported(samples, tmp_path, of("nl_energiemanager"))

    frame = readings(tmp_path)

    assert frame["energy_kwh"][:3].to_list() == [0.082, 0.233, 0.359]
    assert report["unknown_register_steps"] == 1
    assert frame["energy_kwh"].null_count() == 2
    assert frame["energy_export_kwh"].drop_nulls().len() == 1057


def test_tariffs_are_added_up_and_the_repeated_hour_has_its_offsets(
    samples: Path, tmp_path: Path
) -> None:
    imported(samples, tmp_path, of("nl_dsmr"))

    frame = readings(tmp_path)

    assert frame.row(10)[3] == 0.245
    autumn = frame.filter(
        pl.col("timestamp").is_between(
            datetime(2024, 10, 26, 22, tzinfo=UTC), datetime(2024, 10, 27, 22, tzinfo=UTC)
        )
    )
    assert autumn.height == 25


def test_only_electricity_is_taken(samples: Path, tmp_path: Path) -> None:
    report = imported(samples, tmp_path, of("nl_engie"))

    assert report["meters"] == 1
    assert report["passed_over"] == {"rows without Type=Elektriciteit": 12_623}
    assert readings(tmp_path)["energy_kwh"][0] == 0.742


def test_in_the_united_states_rows_that_name_no_instant_are_named(
    samples: Path, tmp_path: Path
) -> None:
    report = imported(samples, tmp_path, of("us_"))

    assert [bad["line"] for bad in report["refused"]] == [20_944, 20_945, 20_946, 20_947, 33_044]
    frame = readings(tmp_path)
    spring = frame.filter(pl.col("timestamp") == datetime(2025, 3, 9, 7, 45, tzinfo=UTC))
    assert spring["energy_kwh"].to_list() == [0.42]


def test_a_sub_meter_in_watt_hours_is_in_order_though_the_file_is_not(
    samples: Path, tmp_path: Path
) -> None:
    imported(samples, tmp_path, of("shelly"))

    frame = readings(tmp_path).filter(
        pl.col("timestamp").is_between(
            datetime(2025, 1, 11, tzinfo=UTC), datetime(2025, 1, 11, 0, 20, tzinfo=UTC)
        )
    )

    assert frame["energy_kwh"].to_list() == [0.0307, 0.0337, 0.033]


def test_a_document_of_json_is_refused_by_name(samples: Path, tmp_path: Path) -> None:
    file = (samples / "national-csv" / "givenergy_2025-06-01.json").resolve()

    done = subprocess.run(
        [sys.executable, "-m", "meterport", "import", str(file), "--data", "data"],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stderr) == (
        1,
        "meterport: IMPORT_REFUSED: "
        "givenergy_2025-06-01.json: JSON documents have no shape in common; "
        "write a JSON object a line, as .ndjson\n",
    )
