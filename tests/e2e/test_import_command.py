"""`meterport import` as a process: what it answers, and what it leaves behind when it is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest

from meterport.domain.errors import ImportRefused
from meterport.importers import csv
from meterport.importers.options import ImportOptions
from meterport.services.import_options import Said, options
from meterport.services.import_readings import ImportReport, import_files
from tests import make

T = TypeVar("T")
ONE = "2024-01-01T00:00:00Z,123,0.5,2.1,230.1,9.1"
TWO = "2024-01-01T00:01:00Z,123,0.6,2.1,230.1,9.1"
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("METERPORT_")} | {
    "PYTHONUTF8": "1",
    "NO_COLOR": "1",
}


def wait_until(predicate: Callable[[], T | None], *, within_s: float = 60) -> T:
    """The first true answer; the bound only ends a test that would otherwise hang."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        answer = predicate()
        if answer:
            return answer
        time.sleep(0.02)
    raise AssertionError(f"it did not come true within {within_s} s")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "meterport", *arguments, "--data", "data"]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        encoding="utf-8",
        timeout=100,
        check=False,
    )


@contextmanager
def started(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command(*arguments), cwd=folder, env=ENVIRONMENT)
    try:
        yield process
    finally:
        process.kill()
        process.wait(60)


def import_here(home: make.Home, *paths: Path) -> ImportReport:
    services = home.services
    return import_files(
        paths,
        ImportOptions(),
        source=services.source,
        store=services.readings,
        catalog=services.catalog,
        audit=services.audit,
    )


def stored(home: make.Home) -> list[tuple[str, float | None]]:
    meters = [meter.smart_meter_id for meter in home.services.catalog.all()]
    columns = ["smart_meter_id", "energy_kwh"]
    day = make.period(minutes=24 * 60)
    frames = home.services.source.scan(meters, day, columns=columns)
    return [row for frame in frames for row in frame.iter_rows()]


def state(home: make.Home) -> object:
    source, catalog = home.services.source, home.services.catalog
    return source.version(), catalog.version(), catalog.all(), stored(home)


def staging(home: make.Home) -> list[Path]:
    return sorted(home.settings.readings.glob("_staging-*"))


def test_the_report_names_each_file_its_columns_and_what_became_of_the_rows(
    tmp_path: Path,
) -> None:
    make.home(tmp_path, make.readings(0.1))
    rows = [ONE, TWO, TWO.replace("0.6", "0.7")]
    make.write(tmp_path, "a.csv", ["note,Quality," + make.HEADER, *(f"x,y,{row}" for row in rows)])
    make.readings(1.5, 2.5, meter="456", interval_s=900).drop(
        "interval_s", "quality"
    ).write_parquet(tmp_path / "b.parquet")

    done = run(tmp_path, "import", "a.csv", "b.parquet")

    assert done.returncode == 0
    assert done.stdout == (
        "a.csv: 3 rows\n"
        "  ignored columns: note, Quality (did you mean quality? then --map quality=Quality)\n"
        "  missing columns: interval_s, energy_export_kwh, quality\n"
        "b.parquet: 2 rows\n"
        "  missing columns: interval_s, quality\n"
        "3 rows new, 1 replaced, 1 repeated in the files (the last one counts); "
        "2 meters; version 2\n"
        "interval 60 s for 1 meter, from the commonest step\n"
        "interval 900 s for 1 meter, from the commonest step\n"
    )
    assert stored(make.home(tmp_path)) == [("123", 0.5), ("123", 0.7), ("456", 1.5), ("456", 2.5)]


def test_the_report_is_json_if_asked_for_and_nothing_else_is_written(tmp_path: Path) -> None:
    rows = [f"{60 * minute},{wh}" for minute, wh in [(0, 20), (1, 41), (2, 67), (9, 80), (10, 80)]]
    make.write(tmp_path, "a.csv", ["t,Pt", *rows])

    done = run(
        tmp_path,
        *("import", "a.csv", "--json", "--meter", "B1E", "--interval", "60"),
        *("--map", "timestamp=t:epoch_s", "--map", "energy_kwh=Pt:register_Wh"),
    )

    assert done.returncode == 0
    assert json.loads(done.stdout) == {
        "files": [
            {
                "path": "a.csv",
                "rows": 5,
                "rows_read": 5,
                "read_as": {},
                "ignored_columns": [],
                "missing_columns": [
                    "power_kw",
                    "voltage_v",
                    "current_a",
                    "energy_export_kwh",
                    "quality",
                ],
                "unknown_register_steps": 1,
                "passed_over": {},
                "rows_refused": 0,
                "refused": [],
            }
        ],
        "rows_new": 5,
        "rows_replaced": 0,
        "rows_duplicate": 0,
        "rows_overlapped": 0,
        "meters": 1,
        "version": 1,
        "derived_intervals": {},
    }
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["a.csv", "b.csv"],
            "meterport: IMPORT_REFUSED: nothing was imported; bad rows:\n"
            "b.csv: line 3: energy_kwh: 'x' is not a finite number\n",
        ),
        (
            ["missing.parquet"],
            "meterport: IMPORT_REFUSED: missing.parquet: No such file or directory\n",
        ),
        (
            ["a.csv", "--map", "powr_kw=P"],
            "meterport: IMPORT_REFUSED: "
            "--map: 'powr_kw' is no column of ours; did you mean power_kw?\n",
        ),
    ],
)
def test_what_cannot_be_done_ends_with_1_and_says_why_without_a_traceback(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    make.write(tmp_path, "a.csv", make.csv_lines(ONE))
    make.write(tmp_path, "b.csv", make.csv_lines(ONE, TWO.replace("0.6", "x")))

    done = run(tmp_path, "import", *arguments)

    assert (done.returncode, done.stdout, done.stderr) == (1, "", message)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing argument 'FILE...'"),
        (["a.csv", "--intervall", "60"], "No such option: --intervall"),
        (["a.csv", "--interval", "99999999999"], "Invalid value for '--interval'"),
    ],
)
def test_a_wrong_command_line_ends_with_2(tmp_path: Path, arguments: list[str], said: str) -> None:
    make.write(tmp_path, "a.csv", make.csv_lines(ONE))

    done = run(tmp_path, "import", *arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ("powr_kw=P", "--map: 'powr_kw' is no column of ours; did you mean power_kw?"),
        ("Timestamp=t", "--map: 'Timestamp' is no column of ours; did you mean timestamp?"),
        (
            "zzz=P",
            "--map: 'zzz' is no column of ours; ours are timestamp, interval_s, smart_meter_id, "
            "energy_kwh, power_kw, voltage_v, current_a, energy_export_kwh, quality",
        ),
        ("power_kw=P:kVA", "--map power_kw: unknown unit 'kVA'; known: kW, W, MW"),
        ("power_kw=P:w", "--map power_kw: unknown unit 'w'; known: kW, W, MW"),
        ("power_kw=P:register_Wh", "--map power_kw: unknown unit 'register_Wh'; known: kW, W, MW"),
        ("power_kw", "--map 'power_kw': write COLUMN=SOURCE or COLUMN=SOURCE:UNIT"),
        ("power_kw=", "--map 'power_kw=': write COLUMN=SOURCE or COLUMN=SOURCE:UNIT"),
    ],
)
def test_a_map_that_cannot_be_meant_is_refused_with_the_remedy(maps: str, message: str) -> None:
    with pytest.raises(ImportRefused) as refused:
        options(Said([maps]))

    assert refused.value.message == message


@pytest.mark.parametrize("zone", ["Europe/Berlni", "", "../zone", "+01:00", "Factory"])
def test_a_zone_that_is_unknown_is_refused_with_the_remedy(zone: str) -> None:
    with pytest.raises(ImportRefused) as refused:
        options(Said(timezone=zone))

    assert refused.value.message == (
        f"--timezone '{zone}' is unknown; write one such as UTC or Europe/Berlin"
    )


KNOWN = (
    "the name's ending tells the format; known: .csv, .parquet, .pq, .nem12, .xml, .ndjson, .jsonl"
)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.csv", "none.csv: No such file or directory"),
        ("none.parquet", "none.parquet: No such file or directory"),
        ("folder.csv", "folder.csv: Is a directory"),
        ("folder.parquet", "folder.parquet: Is a directory"),
        (".", f".: {KNOWN}"),
        ("folder", f"folder: {KNOWN}"),
        ("a.xlsx", f"a.xlsx: {KNOWN}"),
        (
            "a.json",
            "a.json: JSON documents have no shape in common; "
            "write a JSON object a line, as .ndjson",
        ),
        ("a.csv.gz", "a.csv.gz: unpack it first"),
        ("header.csv", "header.csv: no rows below the header"),
    ],
)
def test_what_is_no_file_of_readings_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    home = make.home(tmp_path)
    monkeypatch.chdir(tmp_path)
    make.write(tmp_path, "a.xlsx", "PK")
    make.write(tmp_path, "header.csv", [make.HEADER])
    for folder in (tmp_path / "folder", tmp_path / "folder.csv", tmp_path / "folder.parquet"):
        folder.mkdir()
        make.readings(0.5).write_parquet(folder / "a.parquet")

    with pytest.raises(ImportRefused) as refused:
        import_here(home, Path(name))

    assert refused.value.message == message


def test_a_bad_row_leaves_readings_and_catalogue_as_they_were(tmp_path: Path) -> None:
    home = make.home(tmp_path, make.readings(0.1, 0.2))
    before = state(home)
    path = make.write(tmp_path, "a.csv", make.csv_lines(ONE, ONE.replace("0.5", "x")))

    with pytest.raises(ImportRefused):
        import_here(home, path)

    assert state(home) == before
    assert staging(home) == []


def test_a_bad_row_in_the_second_file_keeps_the_first_out_too(tmp_path: Path) -> None:
    home = make.home(tmp_path, make.readings(0.1, 0.2))
    before = state(home)
    good = make.write(tmp_path, "good.csv", make.csv_lines(ONE, TWO))
    bad = make.write(tmp_path, "bad.csv", make.csv_lines(ONE, TWO.replace("0.6", "x")))

    with pytest.raises(ImportRefused) as refused:
        import_here(home, good, bad)

    assert refused.value.message == (
        "nothing was imported; bad rows:\nbad.csv: line 3: energy_kwh: 'x' is not a finite number"
    )
    assert state(home) == before
    assert staging(home) == []


def test_a_bad_row_in_a_later_block_keeps_the_earlier_ones_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv, "BLOCK_BYTES", 1)
    home = make.home(tmp_path)
    before = state(home)
    path = make.write(tmp_path, "a.csv", make.csv_lines(ONE, TWO, TWO.replace("0.6", "x")))

    with pytest.raises(ImportRefused):
        import_here(home, path)

    assert state(home) == before
    assert staging(home) == []


def test_several_files_become_one_version(tmp_path: Path) -> None:
    home = make.home(tmp_path)
    first = make.write(tmp_path, "first.csv", make.csv_lines(ONE))
    second = make.write(tmp_path, "second.csv", make.csv_lines(TWO))

    report = import_here(home, first, second)

    assert [(file.path.name, file.rows) for file in report.files] == [
        ("first.csv", 1),
        ("second.csv", 1),
    ]
    assert (report.merged.version, home.services.source.version()) == (1, 1)
    assert stored(home) == [("123", 0.5), ("123", 0.6)]


def test_a_later_import_of_the_same_reading_wins(tmp_path: Path) -> None:
    home = make.home(tmp_path)
    import_here(home, make.write(tmp_path, "a.csv", make.csv_lines(ONE, TWO)))
    again = make.write(tmp_path, "b.csv", make.csv_lines(TWO.replace("0.6", "7.5")))

    report = import_here(home, again)

    assert (report.merged.rows_new, report.merged.rows_replaced) == (0, 1)
    assert stored(home) == [("123", 0.5), ("123", 7.5)]


def test_of_rows_for_one_reading_the_last_in_the_last_file_wins(tmp_path: Path) -> None:
    home = make.home(tmp_path)
    lines = make.csv_lines(ONE, TWO, ONE.replace("0.5", "7.5"))
    first = make.write(tmp_path, "first.csv", lines)
    second = make.write(tmp_path, "second.csv", make.csv_lines(TWO.replace("0.6", "8.5")))

    report = import_here(home, first, second)

    assert (report.merged.rows_new, report.merged.rows_duplicate) == (2, 2)
    assert stored(home) == [("123", 7.5), ("123", 8.5)]


def test_an_import_that_is_killed_leaves_nothing_and_the_next_one_works(tmp_path: Path) -> None:
    home = make.home(tmp_path, make.readings(0.1, 0.2))
    before = state(home)
    make.many_readings(1_000_000, meter="456").write_csv(tmp_path / "large.csv")

    with started(tmp_path, "import", "large.csv") as importing:
        wait_until(lambda: list(home.settings.readings.glob("_staging-*/*/*.parquet")))
        importing.kill()
        ended = importing.wait(60)
    after_the_kill = state(home)
    make.write(tmp_path, "a.csv", make.csv_lines(TWO))
    done = run(tmp_path, "import", "a.csv")

    assert ended == -signal.SIGKILL
    assert after_the_kill == before
    assert done.returncode == 0
    assert stored(home) == [("123", 0.1), ("123", 0.6)]
    assert staging(home) == []


def test_of_several_writers_at_once_one_writes_and_the_others_wait(tmp_path: Path) -> None:
    home = make.home(tmp_path)
    make.write(tmp_path, "one.csv", make.csv_lines(ONE))
    make.write(tmp_path, "two.csv", make.csv_lines(TWO))

    with ExitStack() as processes:
        with home.services.catalog.writing(patience=timedelta(0)):
            imports = [
                processes.enter_context(started(tmp_path, "import", name, "--interval", "60"))
                for name in ("one.csv", "two.csv")
            ]
            # Who only reads need not wait; meanwhile the imports come as far as they can.
            listed = run(tmp_path, "meters")
            ended_early = [process.poll() for process in imports]
        ended = [process.wait(60) for process in imports]

    assert (listed.returncode, ended_early) == (0, [None, None])
    assert ended == [0, 0]
    assert stored(home) == [("123", 0.5), ("123", 0.6)]
    assert home.services.source.version() == 2
    assert staging(home) == []
