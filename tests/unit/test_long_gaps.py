"""A stretch without readings costs no memory, however long it is, and ends when it shall."""

import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterport.domain.completeness import Gap
from meterport.domain.errors import ExportCancelled
from meterport.domain.exports import ExportRequest
from meterport.domain.jobs import Job, JobId, JobStatus
from meterport.domain.options import ExportOptions
from meterport.domain.period import Period
from meterport.domain.readings import SLICE_ROWS, MeterSummary
from meterport.domain.shapes import Gaps, Shape
from meterport.services import fill_gaps
from meterport.services.find_gaps import Stretches
from meterport.services.manifest import Counting, counted
from meterport.services.read_manifest import days_of
from meterport.services.run_export import Fleet, run_export
from meterport.services.shape import shaped
from tests import make
from tests.unit import clocks

FIRST, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2024, 2, 29, 12, tzinfo=UTC)
TWO_S = timedelta(seconds=2)
EVER = Period(FIRST, LAST + TWO_S)
MISSING = (LAST - FIRST) // TWO_S - 1
"""854,603,999 intervals."""
MEBIBYTE = 1 << 20


def two() -> pl.DataFrame:
    return pl.concat(make.readings(0.5, start=at, interval_s=2) for at in (FIRST, LAST))


KNOWN = clocks.summary(two())


@contextmanager
def memory(at_most: int) -> Iterator[None]:
    """Of what Python and NumPy hold at a time."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < at_most


def test_half_a_century_without_readings_is_counted_in_flat_memory() -> None:
    counting = Counting("UTC", EVER)

    with memory(at_most=20 * MEBIBYTE):
        passed = list(counted([two()], counting, Stretches([KNOWN], EVER)))
        found = counting.result()

    assert [frame.height for frame in passed] == [2]
    assert (found.about.expected, found.about.present) == (MISSING + 2, 2)
    assert found.about.gaps == (Gap("123", FIRST + TWO_S, LAST, MISSING),)
    days = list(days_of(found))
    assert len(days) == 19_783
    assert [(day.expected, day.present) for day in days[:2]] == [(43_200, 1), (43_200, 0)]
    assert (days[-1].day, days[-1].expected) == (date(2024, 2, 29), 21_601)


@pytest.mark.parametrize("resolution", ["raw", "1m"])
def test_the_first_null_rows_of_half_a_century_come_in_flat_memory(resolution: str) -> None:
    shape = Shape.requested(resolution=resolution, gaps="flag")

    with memory(at_most=20 * MEBIBYTE):
        found = list(islice(shaped([two()], shape, EVER, [KNOWN]), 5))

    assert max(frame.height for frame in found) <= 2 * SLICE_ROWS
    rows = pl.concat(found)
    assert rows.height >= 2 * SLICE_ROWS
    assert rows["timestamp"][0] == FIRST
    step = TWO_S if resolution == "raw" else timedelta(minutes=1)
    assert rows["timestamp"].diff().drop_nulls().unique().to_list() == [step]


def test_meters_with_short_gaps_half_a_century_apart_share_no_memory() -> None:
    """Of the minutes between them there are 28 million."""
    minute = timedelta(minutes=1)
    pairs = [("a", FIRST), ("b", LAST), ("c", FIRST), ("d", LAST)]
    known = [MeterSummary(meter, at, at + 2 * minute, 60, 2) for meter, at in pairs]
    frame = pl.concat(
        make.readings(1.0, meter=m.smart_meter_id, start=at)
        for m in known
        for at in (m.first, m.last)
    )
    shape = Shape.requested(resolution="1m", gaps="flag")

    with memory(at_most=20 * MEBIBYTE):
        found = pl.concat(shaped([frame], shape, Period(FIRST, LAST + 3 * minute), known))

    assert found["gap"].to_list() == [None, "missing", None] * 4
    assert found["timestamp"].to_list() == [at + n * minute for _, at in pairs for n in range(3)]


class Two:
    def scan(self, meters: Sequence[str], period: Period, **given: Any) -> Iterator[pl.DataFrame]:
        yield two()

    def made_at(self, version: int) -> datetime:
        return FIRST


class Nowhere:
    """Takes everything, keeps nothing."""

    @contextmanager
    def draft(self, key: str) -> Iterator["Nowhere"]:
        yield self

    def write(self, data: bytes, /) -> None:
        pass

    def publish(self) -> None:
        pass


@dataclass
class CalledOff:
    """After so many rows."""

    after: int
    rows: int = 0

    def report(self, rows: int) -> None:
        self.rows = rows
        if rows > self.after:
            raise ExportCancelled


def job_of(request: ExportRequest) -> Job:
    job_id = JobId("1e500000-0000-4000-8000-000000000000")
    return Job(job_id, request, JobStatus.PENDING, LAST, LAST, source_version=1)


def test_an_export_is_called_off_in_the_middle_of_a_gap() -> None:
    options = ExportOptions(Shape(gaps=Gaps.NULL))
    job = job_of(ExportRequest("123", EVER, options=options))
    called_off = CalledOff(after=SLICE_ROWS)

    with memory(at_most=100 * MEBIBYTE), pytest.raises(ExportCancelled):
        run_export(
            job,
            Fleet(("123",), [KNOWN]),
            source=Two(),  # type: ignore[arg-type]  # the little of it that is asked for
            objects=Nowhere(),  # type: ignore[arg-type]
            report=called_off.report,
        )

    assert called_off.rows <= 3 * SLICE_ROWS


def test_an_export_is_called_off_while_meters_without_readings_are_counted() -> None:
    known = [replace(KNOWN, smart_meter_id=f"m{n:03}") for n in range(100)]
    heard = CalledOff(after=1)

    with pytest.raises(ExportCancelled):
        list(
            counted(
                [],
                Counting("UTC", EVER),
                Stretches(known, EVER),
                heard=lambda: heard.report(heard.rows + 1),
            )
        )

    assert heard.rows == 2


STEPS_S = (420, 900, 3600, 86_400, 9_000_000)


@given(
    zone=st.sampled_from(["UTC", "Europe/Berlin", "Pacific/Apia", "America/Chicago"]),
    start=st.integers(-5_000, 5_000),
    step_s=st.sampled_from(STEPS_S),
    after_s=st.integers(1, 20_000_000),
    last_s=st.sampled_from(STEPS_S),
)
def test_a_gap_is_counted_like_its_intervals_one_by_one(
    zone: str, start: int, step_s: int, after_s: int, last_s: int
) -> None:
    begin = datetime(2011, 10, 20, tzinfo=UTC) + timedelta(minutes=start)
    behind = begin + timedelta(seconds=step_s + after_s)
    rows = [make.readings(1.0, start=begin, interval_s=step_s)]
    rows += [make.readings(1.0, start=behind, interval_s=last_s)]
    frame = pl.concat(rows)
    period = Period(begin, behind + timedelta(seconds=last_s))
    counting = Counting(zone, period)

    list(counted([frame], counting, Stretches([clocks.summary(frame)], period)))

    found = counting.result()
    starts = [begin, behind]
    starts += [begin + timedelta(seconds=n * step_s) for n in range(1, 1 - -after_s // step_s)]
    assert sum(day.expected for day in days_of(found)) == found.about.expected == len(starts)
    assert {day.day: day.expected for day in days_of(found)} == clocks.by_day(starts, zone)
    (gap,) = found.about.gaps
    assert (gap.start, gap.end) == (begin + timedelta(seconds=step_s), behind)


@given(
    slice_rows=st.integers(1, 40),
    dropped=st.sets(st.integers(0, 199), max_size=190),
    resolution=st.sampled_from(["raw", "30m", "1h", "1d"]),
)
def test_how_long_stretches_are_cut_makes_no_difference_to_the_rows(
    slice_rows: int, dropped: set[int], resolution: str
) -> None:
    period = Period(datetime(2025, 3, 28, 23, tzinfo=UTC), datetime(2025, 4, 2, 3, tzinfo=UTC))
    whole = clocks.quarters(period)
    kept = whole.filter(~(pl.int_range(pl.len()) // 4).is_in(list(dropped)))
    shape = Shape.requested(resolution=resolution, gaps="flag", zone="Europe/Berlin")
    given_ = ([kept], shape, period, [clocks.summary(whole)])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fill_gaps, "SLICE_ROWS", slice_rows)
        patch.setattr(fill_gaps, "FRAME_ROWS", slice_rows)
        found = pl.concat(shaped(*given_))

    assert found.equals(pl.concat(shaped(*given_)))
    if resolution == "raw":
        assert found["timestamp"].equals(whole["timestamp"])
