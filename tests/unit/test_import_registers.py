"""Registers that count up: their differences, and what no difference can be told of."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from statistics import multimode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterport.importers import csv
from meterport.importers.base import FileReport
from tests import make
from tests.unit.test_import_columns import options, read


def meter_rows(*counts: tuple[str, int, object]) -> list[str]:
    """Rows of (meter, minute of the day, what its register shows)."""
    rows = (
        f"{(make.JANUARY + timedelta(minutes=m)).isoformat()},{id_},{n}" for id_, m, n in counts
    )
    return ["timestamp,smart_meter_id,total", *rows]


def used(
    folder: Path, *counts: tuple[str, int, object], unit: str = "register_Wh"
) -> tuple[dict[tuple[str, int], float | None], int]:
    """The energy of each meter's minute, and how many register steps were left empty."""
    path = make.write(folder, "a.csv", meter_rows(*counts))
    report = FileReport(path)
    rows = read(path, options(f"energy_kwh=total:{unit}"), report)
    minutes = (rows["timestamp"] - make.JANUARY).dt.total_minutes()
    keys = zip(rows["smart_meter_id"], minutes, strict=True)
    return dict(zip(keys, rows["energy_kwh"], strict=True)), report.unknown_register_steps


def test_a_register_s_differences_are_the_energy_and_its_last_row_has_none(tmp_path: Path) -> None:
    counts = [("1", 0, 20016), ("1", 1, 20016), ("1", 2, 20042), ("1", 3, 20063)]

    found = used(tmp_path, *counts)

    assert found == ({("1", 0): 0.0, ("1", 1): 0.026, ("1", 2): 0.021, ("1", 3): None}, 0)


def test_a_step_over_a_gap_is_left_empty_and_counted(tmp_path: Path) -> None:
    counts = [("1", 0, 100), ("1", 1, 101), ("1", 2, 103), ("1", 5, 110), ("1", 6, 115)]

    found = used(tmp_path, *counts)

    assert found == (
        {("1", 0): 0.001, ("1", 1): 0.002, ("1", 2): None, ("1", 5): 0.005, ("1", 6): None},
        1,
    )


def test_a_register_that_runs_backwards_is_left_empty_and_counted(tmp_path: Path) -> None:
    counts = [("1", 0, 100), ("1", 1, 103), ("1", 2, 0), ("1", 3, 2)]

    found = used(tmp_path, *counts)

    assert found == ({("1", 0): 0.003, ("1", 1): None, ("1", 2): 0.002, ("1", 3): None}, 1)


def test_a_register_that_is_missing_leaves_both_of_its_steps_empty(tmp_path: Path) -> None:
    counts = [("1", 0, 100), ("1", 1, ""), ("1", 2, 105), ("1", 3, 107)]

    found = used(tmp_path, *counts)

    assert found == ({("1", 0): None, ("1", 1): None, ("1", 2): 0.002, ("1", 3): None}, 2)


def test_the_registers_of_several_meters_may_be_mixed_in_one_file(tmp_path: Path) -> None:
    counts = [("b", 0, 9), ("a", 0, 500), ("a", 15, 501), ("b", 1, 12), ("a", 30, 505)]

    found = used(tmp_path, *counts)

    assert found == (
        {
            ("b", 0): 0.003,
            ("a", 0): 0.001,
            ("a", 15): 0.004,
            ("b", 1): None,
            ("a", 30): None,
        },
        0,
    )


@pytest.mark.parametrize(
    ("unit", "first", "second", "energy_kwh"),
    [
        ("register_kWh", "1000.1", "1000.4", 0.3),
        ("register_kWh", "0.1", "0.123456789", 0.023456789),
        ("register_Wh", "1000.1", "1000.2", 0.0001),
        ("register_Wh", "12345678.9", "12345680.1", 0.0012),
        ("register_kWh", "987654.321", "987654.332", 0.011),
        ("register_MWh", "1.0161", "1.0322", 16.1),
    ],
)
def test_a_difference_has_no_digits_that_the_register_did_not_show(
    tmp_path: Path, unit: str, first: str, second: str, energy_kwh: float
) -> None:
    found, _ = used(tmp_path, ("1", 0, first), ("1", 1, second), unit=unit)

    assert found == {("1", 0): energy_kwh, ("1", 1): None}


def test_what_was_drawn_and_what_was_fed_in_may_both_be_registers(tmp_path: Path) -> None:
    shown = [(0, 10, 70), (1, 12, 75), (2, 12, 60)]
    rows = (f"2024-01-01T00:0{minute}:00Z,{in_},{out}" for minute, in_, out in shown)
    path = make.write(tmp_path, "a.csv", ["timestamp,in,out", *rows])
    maps = ("energy_kwh=in:register_kWh", "energy_export_kwh=out:register_Wh")

    frame = read(path, options(*maps, meter="123"))

    assert frame.select("energy_kwh", "energy_export_kwh").rows() == [
        (2.0, 0.005),
        (0.0, None),
        (None, None),
    ]


Counts = list[tuple[str, int, int]]


@st.composite
def register_counts(draw: st.DrawFn) -> Counts:
    """Up to three meters in any mixture, with gaps, resets, false zeros; each in order of time."""
    minute, total = dict.fromkeys("abc", 0), dict.fromkeys("abc", 1000)
    rows = []
    for id_, step, kwh, is_zero in draw(
        st.lists(
            st.tuples(
                st.sampled_from("abc"),
                st.sampled_from([1, 1, 1, 2, 5]),
                st.integers(-9, 99) | st.sampled_from([-1500, 0, 5000]),
                st.sampled_from([False, False, True]),
            ),
            max_size=20,
        )
    ):
        minute[id_] += step
        total[id_] = max(0, total[id_] + kwh)
        rows.append((id_, minute[id_], 0 if is_zero else total[id_]))
    return rows


def expected_use(counts: Counts) -> dict[tuple[str, int], float | None]:
    found: dict[tuple[str, int], float | None] = {}
    for id_ in {id_ for id_, _, _ in counts}:
        rows = [(minute, total) for other, minute, total in counts if other == id_]
        false = false_counts([total for _, total in rows])
        pairs = list(pairwise(rows))
        usual = min(multimode(later[0] - row[0] for row, later in pairs), default=0)
        for place, (row, later) in enumerate(pairs):
            known = later[0] - row[0] == usual and later[1] >= row[1]
            known = known and not {place, place + 1} & false
            found[id_, row[0]] = later[1] - row[1] if known else None
        found[id_, rows[-1][0]] = None
    return found


def false_counts(totals: Sequence[int]) -> set[int]:
    """Zeros with as much after them as before, and single counts outside of their neighbours."""
    false = set()
    for place, total in enumerate(totals):
        before = next((t for t in reversed(totals[:place]) if t), None)
        after = next((t for t in totals[place + 1 :] if t), None)
        if total == 0 and before and after and after >= before > 0:
            false.add(place)
        if 0 < place < len(totals) - 1:
            low, high = totals[place - 1], totals[place + 1]
            if low <= high and not low <= total <= high:
                false.add(place)
    return false


@settings(max_examples=60, deadline=None)
@given(counts=register_counts(), block_bytes=st.integers(1, 200))
def test_registers_are_read_alike_in_one_batch_and_in_many(
    tmp_path_factory: pytest.TempPathFactory, counts: Counts, block_bytes: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv, "BLOCK_BYTES", block_bytes)
        folder = tmp_path_factory.mktemp("registers")
        found, empty = used(folder, *counts, unit="register_kWh")

    assert found == expected_use(counts)
    # A meter's last row is no step.
    assert empty == list(found.values()).count(None) - len({id_ for id_, _, _ in counts})
