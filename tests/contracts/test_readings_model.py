"""Any sequence of imports leaves what a plain dict would hold, in every version."""

import tempfile
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from meterport.domain.readings import READING_SCHEMA, Merged, MeterSummary
from tests.brokers import Store
from tests.contracts.conftest import Readings, delta_table
from tests.contracts.places import FolderPlace, new_store_place

Key = tuple[str, datetime]
Batch = list[tuple[Key, int]]

STEP_S = 900
TIMES = [
    datetime(2024, month, day, tzinfo=UTC) + timedelta(seconds=STEP_S * slot)
    for month, day in ((1, 30), (1, 31), (2, 1))
    for slot in range(3)
]
KEYS = st.tuples(st.sampled_from("ABC"), st.sampled_from(TIMES))
BATCHES = st.lists(st.tuples(KEYS, st.integers(0, 3)), min_size=1, max_size=12)
IMPORTS = st.lists(st.lists(BATCHES, min_size=1, max_size=3), min_size=1, max_size=4)
SIZES = st.sampled_from([2, 5, 1000])


@dataclass
class Model:
    """Key → energy_kwh: now, and as of each version."""

    rows: dict[Key, int] = field(default_factory=dict)
    versions: dict[int, dict[Key, int]] = field(default_factory=dict)

    def merge(self, batches: list[Batch]) -> Counter[str]:
        given = [row for batch in batches for row in batch]
        shortest = {key: min(kwh for other, kwh in given if other == key) for key, _ in given}
        left = [(key, kwh) for key, kwh in given if kwh == shortest[key]]
        new = dict(left)
        replaced = len(new.keys() & self.rows.keys())
        self.rows = self.rows | new
        return Counter(
            new=len(new) - replaced,
            replaced=replaced,
            duplicate=len(left) - len(new),
            overlapped=len(given) - len(left),
        )

    def summaries(self) -> list[MeterSummary]:
        meters = sorted({meter for meter, _ in self.rows})
        times = {m: sorted(t for meter, t in self.rows if meter == m) for m in meters}
        return [
            MeterSummary(m, ts[0], ts[-1], interval_s(self.rows[m, ts[-1]]), len(ts))
            for m, ts in times.items()
        ]


def interval_s(kwh: int) -> int:
    """Each value has its own, so that one can tell whose interval a meter got."""
    return 60 + kwh


def frame(batch: Batch) -> pl.DataFrame:
    rows = [(t, interval_s(kwh), meter, float(kwh), *[None] * 5) for (meter, t), kwh in batch]
    return pl.DataFrame(rows, schema=READING_SCHEMA, orient="row")


def scanned(readings: Readings, version: int | None = None) -> list[tuple[str, str, float | None]]:
    return readings.rows("A", "B", "C", version=version)


def expected(rows: dict[Key, int]) -> list[tuple[str, str, float]]:
    return [(meter, f"{time:%m-%dT%H:%M}", kwh) for (meter, time), kwh in sorted(rows.items())]


def counted(merged: Merged) -> Counter[str]:
    return Counter(
        new=merged.rows_new,
        replaced=merged.rows_replaced,
        duplicate=merged.rows_duplicate,
        overlapped=merged.rows_overlapped,
    )


@settings(max_examples=20, deadline=None)
@given(imports=IMPORTS, file_rows=SIZES, frame_rows=SIZES)
def test_any_imports_leave_what_a_dict_would_hold(
    imports: list[list[Batch]], file_rows: int, frame_rows: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = FolderPlace(Path(folder) / "readings")
        check(delta_table(place, file_rows=file_rows, frame_rows=frame_rows), imports)


@settings(max_examples=5, deadline=None)
@given(imports=IMPORTS, file_rows=SIZES, frame_rows=SIZES)
def test_any_imports_into_a_store_leave_what_a_dict_would_hold(
    s3: Store, imports: list[list[Batch]], file_rows: int, frame_rows: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = new_store_place(s3, Path(folder))
        check(delta_table(place, file_rows=file_rows, frame_rows=frame_rows), imports)


def check(readings: Readings, imports: list[list[Batch]]) -> None:
    model = Model()
    catalogue: dict[str, MeterSummary] = {}
    for batches in imports:
        merged = readings.merge(*(frame(batch) for batch in batches))
        assert counted(merged) == model.merge(batches)
        model.versions[merged.version] = model.rows
        for added in merged.added:
            known = catalogue.get(added.smart_meter_id)
            catalogue[added.smart_meter_id] = known.plus(added) if known else added

    assert scanned(readings) == expected(model.rows)
    for version, rows in model.versions.items():
        assert scanned(readings, version) == expected(rows)
    assert list(readings.source.summaries()) == model.summaries()
    assert sorted(catalogue.values(), key=lambda m: m.smart_meter_id) == model.summaries()
