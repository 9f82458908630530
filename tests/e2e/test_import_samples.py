"""A real meter's file, imported as the documentation says, agrees with its source row by row."""

import csv
import io
import subprocess
import sys
from datetime import UTC, datetime
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import polars as pl

from meterport.domain.period import Period
from meterport.domain.readings import DEFAULT_COLUMNS, READING_SCHEMA
from meterport.domain.sheets import Sheet
from meterport.encoders import espi
from tests import make

EVER = Period(datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))
AMPDS2_MAP = (
    *("--meter", "B1E"),
    *("--map", "timestamp=unix_ts:epoch_s"),
    *("--map", "power_kw=P:W"),
    *("--map", "voltage_v=V"),
    *("--map", "current_a=I"),
    *("--map", "energy_kwh=Pt:register_Wh"),
)
Row = tuple[datetime, str, float | None, float, float, float]


def imported(file: Path, data: Path, *options: str) -> list[pl.DataFrame]:
    command = [sys.executable, "-m", "meterport", "import", str(file), *options]
    subprocess.run([*command, "--data", str(data)], check=True, timeout=100)
    source = make.home(data.parent).services.source
    return list(source.scan(["B1E"], EVER, columns=DEFAULT_COLUMNS))


def ampds2_rows(file: Path) -> list[Row]:
    """The file in our columns, without any of our code; Pt counts watt-hours."""
    with file.open(newline="", encoding="ascii") as lines:
        source = list(csv.DictReader(lines))
    used_wh = [int(after["Pt"]) - int(row["Pt"]) for row, after in pairwise(source)]
    used_kwh = [float(Fraction(wh, 1000)) for wh in used_wh]
    return [
        (
            datetime.fromtimestamp(int(row["unix_ts"]), UTC),
            "B1E",
            energy_kwh,
            float(Fraction(row["P"]) / 1000),
            float(row["V"]),
            float(row["I"]),
        )
        for row, energy_kwh in zip(source, [*used_kwh, None], strict=True)
    ]


def exported(frames: list[pl.DataFrame]) -> list[Row]:
    """The rows of the exported CSV, read by Python."""
    header, *rows = csv.reader(io.StringIO(make.csv_bytes(frames).decode()))
    assert header == list(DEFAULT_COLUMNS)
    return [
        (
            datetime.fromisoformat(time),
            meter,
            float(energy) if energy else None,
            float(power),
            float(voltage),
            float(current),
        )
        for time, meter, energy, power, voltage, current in rows
    ]


def test_each_of_the_51_210_ampds2_rows_is_imported_and_exported_as_it_stands_in_the_source(
    samples: Path, tmp_path: Path
) -> None:
    file = samples / "ampds2" / "Electricity_B1E-11.csv"
    expected = ampds2_rows(file)

    frames = imported(file, tmp_path / "data", *AMPDS2_MAP)

    assert len(expected) == 51_210
    assert expected[-1][2] is None
    assert [row for frame in frames for row in frame.iter_rows()] == expected
    assert exported(frames) == expected


def test_a_retailers_nem12_file_is_known_by_how_it_begins(samples: Path, tmp_path: Path) -> None:
    file = samples / "nem12" / "au_nem12_headerless_5min_power-redacted.csv"
    first_day = file.read_text(encoding="ascii").splitlines()[1].split(",")

    frame = pl.concat(imported(file, tmp_path / "data", "--meter", "B1E"))

    assert first_day[:2] == ["300", "20231019"]
    assert frame["timestamp"][0] == datetime(2023, 10, 18, 14, tzinfo=UTC)
    assert frame["energy_kwh"][:288].to_list() == list(map(float, first_day[2:290]))
    assert frame.height == 106 * 288


def test_a_green_button_feed_is_imported_and_comes_back_from_its_own_export(
    samples: Path, tmp_path: Path
) -> None:
    file = samples / "greenbutton" / "gba_test_usage_data_01.xml"
    first = pl.concat(imported(file, tmp_path / "first" / "data", "--meter", "B1E"))
    period = Period(first["timestamp"][0], EVER.end)
    export = tmp_path / "again.xml"
    with export.open("wb") as sink:
        espi.FORMAT.encode([with_all_columns(first)], sink, Sheet(("B1E",), period, period.start))

    again = pl.concat(imported(export, tmp_path / "second" / "data"))

    assert first.height == 96
    assert again.equals(first)


def with_all_columns(frame: pl.DataFrame) -> pl.DataFrame:
    """Quarter-hours, without a quality."""
    others = pl.DataFrame(schema=READING_SCHEMA).drop(frame.columns, "interval_s")
    nothing = [pl.lit(None, kind).alias(name) for name, kind in others.schema.items()]
    whole = frame.with_columns(pl.lit(900, pl.Int32).alias("interval_s"), *nothing)
    return whole.select(READING_SCHEMA.names())
