"""Local times in files: the hour that a clock shows twice, in zones of all kinds."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterport.importers import csv
from meterport.importers.base import FileReport
from meterport.services.import_options import Said, options
from tests import make
from tests.unit.feeds import read, refusal

AUTUMNS = {
    "Europe/Berlin": datetime(2024, 10, 27, 1, tzinfo=UTC),
    "America/Chicago": datetime(2024, 11, 3, 7, tzinfo=UTC),
    "America/St_Johns": datetime(2024, 11, 3, 4, 30, tzinfo=UTC),
    "America/Havana": datetime(2024, 11, 3, 5, tzinfo=UTC),
    "Australia/Lord_Howe": datetime(2024, 4, 6, 15, tzinfo=UTC),
    "Australia/Sydney": datetime(2024, 4, 6, 16, tzinfo=UTC),
    "Atlantic/Azores": datetime(2024, 10, 27, 1, tzinfo=UTC),
    "Africa/Casablanca": datetime(2024, 3, 10, 2, tzinfo=UTC),
    "Antarctica/Troll": datetime(2024, 10, 27, 1, tzinfo=UTC),
}
"""Zones of many rules, and when their clocks are set back."""


def rows_of(instants: Sequence[datetime], zone: str, meter: str = "A") -> list[str]:
    """A reading an instant, by the clock; its energy tells which it is."""
    there = ZoneInfo(zone)
    return [
        f"{instant.astimezone(there):%Y-%m-%d %H:%M},{meter},{instant.timestamp() / 60:.0f}"
        for instant in instants
    ]


def quarters(change: datetime, *, hours: int = 6) -> list[datetime]:
    start = change - timedelta(hours=hours)
    return [start + timedelta(minutes=15 * n) for n in range(8 * hours)]


def local(zone: str, *, repeated_hour: str = "order", skip_bad_rows: bool = False) -> Said:
    return Said(timezone=zone, repeated_hour=repeated_hour, skip_bad_rows=skip_bad_rows)


def imported(folder: Path, rows: Sequence[str], said: Said) -> pl.DataFrame:
    path = make.write(folder, "a.csv", ["timestamp,smart_meter_id,energy_kwh", *rows])
    return read(path, options(said))


def is_right(frame: pl.DataFrame) -> bool:
    """Whether each energy has the time that it tells of."""
    minutes = frame["timestamp"].dt.epoch("s") // 60
    return frame["energy_kwh"].to_list() == [float(minute) for minute in minutes]


@pytest.mark.parametrize("order", ["forwards", "backwards", "by its labels"])
@pytest.mark.parametrize("zone", AUTUMNS)
def test_the_repeated_hour_is_told_by_the_order_of_the_rows(
    tmp_path: Path, zone: str, order: str
) -> None:
    instants = quarters(AUTUMNS[zone])
    rows = rows_of(instants, zone)
    if order == "backwards":
        rows.reverse()
    if order == "by its labels":
        rows.sort(key=lambda row: row.split(",")[0])

    frame = imported(tmp_path, rows, local(zone))

    assert sorted(frame["timestamp"].to_list()) == instants
    assert is_right(frame)


@pytest.mark.parametrize("zone", AUTUMNS)
def test_an_hour_of_which_one_pass_is_lost_is_refused_and_may_be_said(
    tmp_path: Path, zone: str
) -> None:
    change = AUTUMNS[zone]
    lost = [i for i in quarters(change) if not change <= i < change + timedelta(hours=3)]
    rows = rows_of(lost, zone)

    frame = imported(tmp_path, rows, local(zone, repeated_hour="first"))
    as_second = imported(tmp_path, rows, local(zone, repeated_hour="second"))
    left = imported(tmp_path, rows, local(zone, skip_bad_rows=True))

    assert frame["timestamp"].to_list() == lost
    assert is_right(frame)
    repeated = {t for t in lost if t not in as_second["timestamp"].to_list()}
    assert repeated
    assert set(left["timestamp"].to_list()) == set(lost) - repeated
    path = make.write(tmp_path, "a.csv", ["timestamp,smart_meter_id,energy_kwh", *rows])
    first_line = 2 + min(lost.index(instant) for instant in repeated)
    assert (
        f"a.csv: line {first_line}: timestamp: '{rows[first_line - 2].split(',')[0]}': the clock "
        f"of {zone} shows that time twice, and the order of the rows does not tell which it is; "
        "say --repeated-hour first or second"
    ) in refusal(path, options(local(zone)))


@pytest.mark.parametrize("times", [2, 3])
def test_a_file_that_repeats_itself_is_not_taken_for_the_clock(tmp_path: Path, times: int) -> None:
    zone, change = "Europe/Berlin", AUTUMNS["Europe/Berlin"]
    one_pass = [i for i in quarters(change) if not change <= i < change + timedelta(hours=1)]
    rows = rows_of(one_pass, zone) * times

    left = imported(tmp_path, rows, local(zone, skip_bad_rows=True))

    assert left.height == (len(one_pass) - 4) * times
    assert is_right(left)


def test_each_meter_has_its_own_order(tmp_path: Path) -> None:
    zone = "Europe/Berlin"
    instants = quarters(AUTUMNS[zone])
    forwards, backwards = rows_of(instants, zone, "A"), rows_of(instants[::-1], zone, "B")
    mixed = [row for pair in zip(forwards, backwards, strict=True) for row in pair]

    frame = imported(tmp_path, mixed, local(zone))

    assert frame.height == 2 * len(instants)
    assert is_right(frame)


def test_an_offset_needs_no_order(tmp_path: Path) -> None:
    path = make.write(
        tmp_path,
        "a.csv",
        [
            "timestamp,smart_meter_id,energy_kwh",
            "2024-10-27T02:30+01:00,A,1",
            "2024-10-27T02:30,A,2",
            "2024-10-27T03:30,A,3",
        ],
    )
    report = FileReport(path)

    frame = read(path, options(local("Europe/Berlin", skip_bad_rows=True)), report)

    assert frame["energy_kwh"].to_list() == [1.0, 3.0]
    assert [bad.line for bad in report.refused] == [3]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), zone=st.sampled_from(sorted(AUTUMNS)), block_bytes=st.integers(1, 2000))
def test_gaps_take_no_hour_for_another(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, zone: str, block_bytes: int
) -> None:
    """What is read has its own time; what is not is a label that is there once."""
    instants = quarters(AUTUMNS[zone])
    lost = data.draw(st.sets(st.sampled_from(instants), max_size=30))
    left = [instant for instant in instants if instant not in lost]
    rows = rows_of(left, zone)
    labels = [row.split(",")[0] for row in rows]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv, "BLOCK_BYTES", block_bytes)
        folder = tmp_path_factory.mktemp("gaps")
        frame = imported(folder, rows, local(zone, skip_bad_rows=True))

    assert is_right(frame)
    missing = set(left) - set(frame["timestamp"].to_list())
    assert all(labels.count(labels[left.index(instant)]) == 1 for instant in missing)
