"""What a manifest tells of a fleet does not depend on the parts in which the file was made."""

import gc
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import polars as pl
from hypothesis import example, given
from hypothesis import strategies as st

from meterport.domain.completeness import MOST_GAPS, Completeness, Manifest, MeterDay
from meterport.domain.exports import ExportFile, ExportRequest
from meterport.domain.fleets import parts
from meterport.domain.jobs import Job, JobId, JobStatus
from meterport.domain.options import Compression
from meterport.domain.period import Period
from meterport.domain.readings import MeterSummary
from meterport.encoders.compression import compressed
from meterport.services.beside import beside
from meterport.services.find_gaps import Stretches
from meterport.services.manifest import Counting, counted
from meterport.services.read_manifest import days_of, read_manifest
from tests import make
from tests.unit import clocks

MARCH = Period(datetime(2025, 3, 28, 22, tzinfo=UTC), datetime(2025, 4, 2, 3, tzinfo=UTC))
ZONES = ("UTC", "Europe/Berlin", "Asia/Kathmandu", "Pacific/Apia", "America/St_Johns")


def told_in(
    zone: str,
    frame: pl.DataFrame,
    period: Period,
    meters: Sequence[MeterSummary],
    part: Period | None = None,
) -> Manifest:
    """What is told of the readings of those meters in that part of the period."""
    names = [meter.smart_meter_id for meter in meters]

    def scan(within: Period) -> list[pl.DataFrame]:
        time = pl.col("timestamp").is_between(within.start, within.end, closed="left")
        return [frame.filter(time, pl.col("smart_meter_id").is_in(names))]

    part = part or period
    counting = Counting(zone, part)
    stretches = Stretches(meters, period, within=part)
    for _ in counted(scan(part), counting, stretches, beside(scan, part, period, meters)):
        pass
    return counting.result()


def ended(meters: Sequence[str], period: Period, rows: int) -> Job:
    return Job(
        JobId("1e500000-0000-4000-8000-000000000000"),
        ExportRequest.of_fleet(meters, period),
        JobStatus.COMPLETED,
        make.JANUARY,
        make.JANUARY,
        source_version=7,
        file=ExportFile("key", rows, 12, "ab" * 32),
    )


def stored(each: Manifest) -> Manifest:
    """As the database gives it back."""
    return Manifest(
        Completeness.of_json(json.loads(json.dumps(each.about.as_json(str)))), each.days
    )


def document(frame: pl.DataFrame, of: Sequence[Manifest], meters: Sequence[str]) -> str:
    job = ended(meters, MARCH, frame.height)
    return "".join(read_manifest(job, [stored(each) for each in of]))


def fleet(steps_s: Sequence[int], dropped: set[int], kwh: float) -> pl.DataFrame:
    """Meters A, B …, each with readings of one length through MARCH, some of them missing."""
    frames = []
    for name, step_s in zip("ABCD", steps_s, strict=False):
        count = (MARCH.end - MARCH.start) // timedelta(seconds=step_s)
        values = [kwh * n for n in range(count)]
        frames.append(make.readings(*values, meter=name, start=MARCH.start, interval_s=step_s))
    whole = pl.concat(frames)
    ends = whole.group_by("smart_meter_id").agg(pl.min("timestamp"), high=pl.max("timestamp"))
    last = {(meter, time) for meter, low, high in ends.iter_rows() for time in (low, high)}
    kept = [
        row % 97 not in dropped or key in last
        for row, key in enumerate(whole.select("smart_meter_id", "timestamp").iter_rows())
    ]
    return whole.filter(pl.Series(kept))


def cut(
    frame: pl.DataFrame,
    known: Sequence[MeterSummary],
    part_rows: int,
    zone: str = "UTC",
    period: Period = MARCH,
) -> list[Manifest]:
    return [
        told_in(zone, frame, period, known[part.first_meter : part.end_meter], part.period)
        for part in parts(known, period, part_rows=part_rows)
    ]


@given(
    steps_s=st.lists(st.sampled_from([420, 900, 1800, 3600, 86_400]), min_size=1, max_size=3),
    dropped=st.sets(st.integers(0, 96), max_size=96),
    part_rows=st.integers(1, 800),
    zone=st.sampled_from(ZONES),
    kwh=st.sampled_from([0.001, 0.1, 1e-9, 12_345_678.123456789]),
)
@example([900], set(range(97)), 1, "UTC", 0.1)
@example([900, 900], set(range(50, 97)), 96, "Asia/Kathmandu", 0.1)
def test_a_fleet_in_parts_tells_the_same_as_in_one_piece(
    steps_s: list[int], dropped: set[int], part_rows: int, zone: str, kwh: float
) -> None:
    frame = fleet(steps_s, dropped, kwh)
    known = [clocks.summary(meter) for _, meter in sorted(frame.group_by("smart_meter_id"))]
    names = [meter.smart_meter_id for meter in known]
    whole = told_in(zone, frame, MARCH, known)

    told = document(frame, cut(frame, known, part_rows, zone), names)

    assert told == document(frame, [whole], names)
    said = json.loads(told)
    assert said["expected"] == sum(meter.expected_rows(MARCH) for meter in known)
    assert said["present"] == said["rows"] == frame.height


def stretches(
    pieces: Sequence[tuple[int, int, int]], start: datetime = MARCH.start
) -> pl.DataFrame:
    """Of each piece so many seconds without readings, then so many readings of that length."""
    frames = []
    for empty_s, count, step_s in pieces:
        start += timedelta(seconds=empty_s)
        frames.append(make.readings(*[0.1] * count, start=start, interval_s=step_s))
        start += timedelta(seconds=count * step_s)
    return pl.concat(frames)


@given(
    pieces=st.lists(
        st.tuples(
            st.sampled_from([0, 1, 900, 2_700, 86_400, 300_000]) | st.integers(0, 500_000),
            st.integers(1, 60),
            st.sampled_from([420, 900, 3600, 50_000, 86_400, 200_000]),
        ),
        min_size=1,
        max_size=6,
    ),
    part_rows=st.integers(1, 400),
    period=st.tuples(st.integers(-50, 50), st.integers(1, 400)),
)
@example([(0, 24, 3600), (3 * 86_400, 96, 900)], 96, (0, 400))
@example([(0, 20, 3600), (3 * 86_400 + 900, 96, 900)], 96, (0, 400))
def test_a_meter_whose_intervals_change_over_its_gaps_tells_the_same_in_parts(
    pieces: list[tuple[int, int, int]], part_rows: int, period: tuple[int, int]
) -> None:
    hours, length = (timedelta(hours=hours) for hours in period)
    within = Period(MARCH.start + hours, MARCH.start + hours + length)
    frame = stretches(pieces)
    known = [clocks.summary(frame)]

    told = cut(frame, known, part_rows, "Europe/Berlin", within)

    one = told_in("Europe/Berlin", frame, within, known)
    assert document(frame, told, ["123"]) == document(frame, [one], ["123"])


def test_a_reading_that_others_overlap_covers_the_next_part_too() -> None:
    """Of a day from noon on; within it readings of a minute, the last at one and at eleven."""
    noon = MARCH.start + timedelta(hours=14)
    readings = [
        make.readings(1.0, start=noon, interval_s=86_400),
        make.readings(*[0.1] * 59, start=noon + timedelta(minutes=1)),
        make.readings(0.1, start=noon + timedelta(hours=23)),
        make.readings(0.1, start=noon + timedelta(hours=25)),
    ]
    frame = pl.concat(readings)
    known = [clocks.summary(frame)]

    told = cut(frame, known, 1)

    assert len(told) > 1
    said = document(frame, told, ["123"])
    assert said == document(frame, [told_in("UTC", frame, MARCH, known)], ["123"])
    assert [(gap["start"], gap["intervals"]) for gap in json.loads(said)["gaps"]] == [
        ("2025-03-30T12:00:00Z", 60)
    ]


def test_a_gap_over_a_cut_is_one_also_behind_more_gaps_than_are_told() -> None:
    """Every second minute of six days is missing, and a minute on both sides of two midnights."""
    days = make.period(minutes=6 * 1440)
    whole = make.many_readings(6 * 1440)
    midnights = [make.JANUARY + timedelta(days=2), make.JANUARY + timedelta(days=4)]
    kept = whole.gather_every(2).filter(~pl.col("timestamp").is_in(midnights))
    known = [clocks.summary(whole.head(6 * 1440 - 1))]

    told = cut(kept, known, 2 * 1440, period=days)

    assert [each.about.gap_count for each in told] == [1440, 1440, 1439]
    one_piece = told_in("UTC", kept, days, known)
    assert one_piece.about.gap_count == 4317
    assert document(kept, told, ["123"]) == document(kept, [one_piece], ["123"])
    said = json.loads(document(kept, told, ["123"]))
    assert (said["gap_count"], len(said["gaps"])) == (4317, MOST_GAPS)


def test_a_gap_over_several_parts_is_one() -> None:
    days = make.period(minutes=5 * 1440)
    kept = make.many_readings(5 * 1440).filter(
        ~pl.int_range(pl.len()).is_between(1000, 4 * 1440 + 10, closed="left")
    )
    known = [clocks.summary(kept)]

    told = json.loads(document(kept, cut(kept, known, 1440, period=days), ["123"]))

    assert (told["gap_count"], told["gaps"]) == (
        1,
        [
            {
                "smart_meter_id": "123",
                "start": "2024-01-01T16:40:00Z",
                "end": "2024-01-05T00:10:00Z",
                "intervals": 4770,
            }
        ],
    )
    assert [(day["day"], day["expected"], day["present"]) for day in told["days"]] == [
        ("2024-01-01", 1440, 1000),
        ("2024-01-02", 1440, 0),
        ("2024-01-03", 1440, 0),
        ("2024-01-04", 1440, 0),
        ("2024-01-05", 1440, 1430),
    ]


def test_a_local_day_that_two_parts_share_is_told_once() -> None:
    days = make.period(minutes=2 * 1440)
    frame = make.many_readings(2 * 1440)
    known = [clocks.summary(frame)]

    told = json.loads(document(frame, cut(frame, known, 1440, "Asia/Tokyo", days), ["123"]))

    assert [(day["day"], day["present"], day["energy_kwh"]) for day in told["days"]] == [
        ("2024-01-01", 900, 404.55),
        ("2024-01-02", 1440, 2332.08),
        ("2024-01-03", 540, 1409.13),
    ]
    assert told["energy_kwh"] == {"123": 4145.76}


def test_a_manifest_is_told_as_printed() -> None:
    frame = make.readings(0.25, 0.5, interval_s=900, power_kw=1.0)
    told = told_in("Europe/Berlin", frame, make.period(), [clocks.summary(frame)])
    job = ended(["123"], make.period(), 2)

    assert "".join(read_manifest(job, [told])) == PRINTED


PRINTED = """\
{
 "job_id": "1e500000-0000-4000-8000-000000000000",
 "request": {
  "smart_meter_id": "*",
  "start": "2024-01-01T00:00:00Z",
  "end": "2024-01-01T01:00:00Z",
  "format": "csv",
  "compression": "none"
 },
 "rows": 2,
 "size_bytes": 12,
 "sha256": "abababababababababababababababababababababababababababababababab",
 "source_version": 7,
 "timezone": "Europe/Berlin",
 "readings": 2,
 "first_timestamp": "2024-01-01T00:00:00Z",
 "last_timestamp": "2024-01-01T00:15:00Z",
 "expected": 2,
 "present": 2,
 "energy_kwh": {
  "123": 0.75
 },
 "checks": {
  "power_is_not_energy_per_hour": 1,
  "power_exceeds_voltage_times_current": 0
 },
 "gap_count": 0,
 "gaps": [],
 "days": [
  {"smart_meter_id": "123", "day": "2024-01-01", "expected": 2, "present": 2, "energy_kwh": 0.75}
 ]
}
"""


def alive() -> int:
    """Also what other tests have left."""
    return sum(isinstance(found, MeterDay) for found in gc.get_objects())


def test_a_million_days_are_told_a_few_at_a_time() -> None:
    before, lines = alive(), io.BytesIO()
    with compressed(lines, Compression.GZIP) as unpacked:
        for meter in range(1000):
            day = MeterDay(f"m{meter}", make.JANUARY.date(), 96, 96, None)
            text = json.dumps(day.as_json(str))
            unpacked.write(b"".join(_dated(text, n) for n in range(1000)))
    none = Completeness("UTC", 0, None, None, 0, 0, {}, (), 0, 0, 0)

    pieces = read_manifest(ended(["m"], make.period(), 0), [Manifest(none, lines.getvalue())])

    counts = [alive() for n, _ in enumerate(pieces) if n % 100_000 == 3]
    assert len(counts) == 10
    assert max(counts) - before <= 3


def _dated(text: str, number: int) -> bytes:
    day = make.JANUARY.date() + timedelta(days=number)
    return (text.replace("2024-01-01", day.isoformat()) + "\n").encode()


def test_however_many_days_are_counted_but_the_newest_is_held() -> None:
    days = Period(make.JANUARY, make.JANUARY + timedelta(days=300))
    frames = [make.readings(*[0.5] * 300, meter=f"m{n:03}", interval_s=86_400) for n in range(300)]
    counting = Counting("UTC", days)
    before, counts = alive(), []

    known = [clocks.summary(frame) for frame in frames]
    for n, _ in enumerate(counted(frames, counting, Stretches(known, days))):
        if n % 60 == 3:
            counts.append(alive())

    assert max(counts) - before <= 2
    told = counting.result()
    assert told.about.present == sum(1 for _ in days_of(told)) == 90_000
    assert len(told.days) < 90_000 * 10
