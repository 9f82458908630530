"""Which versions of the readings can be read: checkpoints, and forgetting the old ones."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from meterport.domain.errors import ImportBusy, VersionGone
from meterport.ports import ReadingUpkeep
from meterport.sources import delta_log, delta_upkeep
from meterport.sources.delta_table import data_files, write_data_file
from tests import make
from tests.contracts.conftest import Readings, Row
from tests.contracts.places import File, Killed, killed_after

MINUTE, DAY, WEEK = timedelta(minutes=1), timedelta(days=1), timedelta(days=7)
JAN_1 = make.JANUARY
LATER = datetime(2099, 1, 1, tzinfo=UTC)


def nothing() -> None:
    """A fence that lets pass."""


def lost() -> None:
    raise ImportBusy("the lease is gone")


def of(meter: str, *energy_kwh: float | None, start: datetime = JAN_1) -> pl.DataFrame:
    return make.readings(*energy_kwh, meter=meter, start=start)


def corrected(readings: Readings, versions: int) -> None:
    """Version n has n as the first reading of A, and one of B for each version so far."""
    for n in range(1, versions + 1):
        readings.merge(of("A", n), of("B", n, start=JAN_1 + n * MINUTE))


def rows_of(version: int) -> list[Row]:
    """What `corrected` made that version of."""
    b: list[Row] = [("B", f"01-01T00:{n:02}", n) for n in range(1, version + 1)]
    return [("A", "01-01T00:00", version), *b] if version else []


def kept(readings: Readings) -> list[int]:
    """The versions that can be read; each reads as when it was the newest."""
    newest = readings.source.version()
    assert newest is not None
    found = [version for version in range(newest + 1) if readings.source.keeps(version)]
    assert [readings.rows(version=v) for v in found] == [rows_of(v) for v in found]
    assert readings.rows() == rows_of(newest)
    return found


def committed(readings: Readings, days: Mapping[int, int]) -> None:
    """As if each version had been committed on that day of 2024."""
    for version, day in days.items():
        file = readings.at(delta_log.entry(version))
        actions = [json.loads(line) for line in file.read_bytes().splitlines()]
        (info,) = (action["commitInfo"] for action in actions if "commitInfo" in action)
        info["timestamp"] = int(on_day(day).timestamp() * 1000)
        file.write_bytes("\n".join(map(json.dumps, actions)).encode())


def on_day(day: int) -> datetime:
    return JAN_1 + (day - 1) * DAY


def forget_all(upkeep: ReadingUpkeep, *, in_use: int | None = None) -> int:
    return upkeep.forget(older_than=WEEK, in_use=in_use, now=LATER, fence=nothing)


def on_disk(readings: Readings) -> set[str]:
    """The data files that are there."""
    return set(readings.files.data_files())


def named_by(readings: Readings, *versions: int) -> set[str]:
    """The data files of those versions."""
    tables = (readings.files.table(version) for version in versions)
    return {file.path for table in tables for file in data_files(table)}


def log_of(readings: Readings) -> list[str]:
    return readings.files.log()


def as_others_read(readings: Readings, version: int | None) -> pl.DataFrame:
    options = dict(readings.place.options)
    scan = pl.scan_delta(readings.place.uri, version=version, storage_options=options)
    return scan.sort("smart_meter_id", "timestamp").collect()


def pointer(readings: Readings) -> File:
    return readings.at("_delta_log/_last_checkpoint")


@pytest.fixture
def every_three(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint is due after three commits."""
    monkeypatch.setattr(delta_upkeep, "COMMITS_PER_CHECKPOINT", 3)


@pytest.mark.usefixtures("every_three")
@pytest.mark.parametrize("commits", range(8))
def test_a_checkpoint_is_made_when_there_are_commits_enough(
    commits: int, readings: Readings, upkeep: ReadingUpkeep
) -> None:
    for n in range(1, commits + 1):
        readings.merge(of("A", n))
        upkeep.checkpoint()

    made = [name for name in log_of(readings) if name.endswith(".parquet")]
    assert made == [f"{n:020}.checkpoint.parquet" for n in (3, 6) if n <= commits]
    assert readings.rows() == ([("A", "01-01T00:00", commits)] if commits else [])


@pytest.mark.usefixtures("every_three")
@pytest.mark.parametrize("left", ["pointer", "no pointer"])
def test_a_table_with_a_checkpoint_opens_with_and_without_its_pointer(
    left: str, readings: Readings, upkeep: ReadingUpkeep
) -> None:
    corrected(readings, 4)
    upkeep.checkpoint()
    assert pointer(readings).exists()
    if left == "no pointer":
        pointer(readings).unlink()

    assert kept(readings) == [0, 1, 2, 3, 4]
    readings.merge(of("A", 5), of("B", 5, start=JAN_1 + 5 * MINUTE))
    assert kept(readings) == [0, 1, 2, 3, 4, 5]


@pytest.mark.usefixtures("every_three")
def test_another_program_reads_a_table_with_a_checkpoint(
    readings: Readings, upkeep: ReadingUpkeep
) -> None:
    corrected(readings, 4)
    upkeep.checkpoint()
    readings.merge(of("A", 50))

    newest, earlier = as_others_read(readings, None), as_others_read(readings, 2)

    assert newest["energy_kwh"].to_list() == [50, 1, 2, 3, 4]
    assert earlier.filter(smart_meter_id="A")["energy_kwh"].to_list() == [2]


@pytest.mark.usefixtures("every_three")
def test_a_checkpoint_that_was_cut_off_disturbs_nobody_and_is_made_later(
    readings: Readings, upkeep: ReadingUpkeep
) -> None:
    corrected(readings, 3)
    staging = readings.place.staging / "_staging-killed" / "_delta_log"
    staging.mkdir(parents=True)
    (staging / f"{3:020}.checkpoint.parquet").write_bytes(b"half a fi")

    before = kept(readings)
    upkeep.checkpoint()

    assert before == kept(readings) == [0, 1, 2, 3]
    assert f"{3:020}.checkpoint.parquet" in log_of(readings)
    readings.merge(of("A", 4), of("B", 4, start=JAN_1 + 4 * MINUTE))
    assert not staging.exists()


@pytest.mark.usefixtures("every_three")
def test_a_checkpoint_whose_pointer_was_cut_off_is_enough(
    readings: Readings, upkeep: ReadingUpkeep
) -> None:
    corrected(readings, 3)
    upkeep.checkpoint()
    pointer(readings).unlink()

    forget_all(upkeep)

    assert kept(readings) == [3]


def test_versions_that_were_superseded_long_enough_ago_go(
    readings: Readings, upkeep: ReadingUpkeep
) -> None:
    corrected(readings, 4)
    committed(readings, {0: 1, 1: 1, 2: 3, 3: 9, 4: 10})
    needed = named_by(readings, 2, 3, 4)
    gone = on_disk(readings) - needed

    removed = upkeep.forget(older_than=WEEK, in_use=None, now=on_day(11), fence=nothing)

    assert kept(readings) == [2, 3, 4]
    assert on_disk(readings) == needed
    assert removed == len(gone) == 1


@pytest.mark.parametrize(("day", "oldest"), [(15, 1), (16, 2), (22, 2), (23, 3), (999, 3)])
def test_a_version_stays_for_its_time_after_it_was_superseded(
    day: int, oldest: int, readings: Readings, upkeep: ReadingUpkeep
) -> None:
    corrected(readings, 3)
    committed(readings, {0: 1, 1: 2, 2: 9, 3: 16})

    upkeep.forget(older_than=WEEK, in_use=None, now=on_day(day), fence=nothing)

    assert kept(readings) == list(range(oldest, 4))


def test_versions_from_the_future_go_when_they_must(
    readings: Readings, upkeep: ReadingUpkeep
) -> None:
    """A clock that was set back leaves them, and an erasure does not wait for it."""
    corrected(readings, 3)
    committed(readings, {2: 30, 3: 31})

    upkeep.forget(older_than=timedelta(0), in_use=None, now=on_day(2), fence=nothing)
    in_time = kept(readings)
    upkeep.forget(older_than=timedelta.min, in_use=None, now=on_day(2), fence=nothing)

    assert in_time == [0, 1, 2, 3]
    assert kept(readings) == [3]


@pytest.mark.parametrize(("in_use", "oldest"), [(None, 5), (0, 0), (1, 1), (3, 3), (5, 5), (9, 5)])
def test_a_version_in_use_and_all_later_ones_stay(
    in_use: int | None, oldest: int, readings: Readings, upkeep: ReadingUpkeep
) -> None:
    corrected(readings, 5)

    forget_all(upkeep, in_use=in_use)

    assert kept(readings) == list(range(oldest, 6))
    assert on_disk(readings) == named_by(readings, *range(oldest, 6))


def test_a_use_of_a_version_that_is_gone_keeps_what_is_there(
    readings: Readings, upkeep: ReadingUpkeep
) -> None:
    corrected(readings, 3)
    forget_all(upkeep, in_use=2)

    forget_all(upkeep, in_use=1)

    assert kept(readings) == [2, 3]


def test_a_forgotten_version_is_told_as_gone(readings: Readings, upkeep: ReadingUpkeep) -> None:
    corrected(readings, 3)

    forget_all(upkeep, in_use=2)

    for version in (0, 1):
        assert not readings.source.keeps(version)
        with pytest.raises(VersionGone) as gone:
            readings.rows(version=version)
        assert gone.value.message == (
            f"Version {version} of the readings is no longer kept; the newest is 3"
        )
        with pytest.raises(VersionGone):
            list(readings.source.summaries(version))


def test_a_store_with_one_version_keeps_it(readings: Readings, upkeep: ReadingUpkeep) -> None:
    assert forget_all(upkeep) == 0

    assert kept(readings) == [0]


def test_what_was_forgotten_once_is_not_counted_again(
    readings: Readings, upkeep: ReadingUpkeep
) -> None:
    corrected(readings, 4)

    removed = [forget_all(upkeep), forget_all(upkeep)]

    assert removed == [3, 0]
    assert kept(readings) == [4]


def test_imports_and_forgetting_go_on_in_turn(readings: Readings, upkeep: ReadingUpkeep) -> None:
    corrected(readings, 2)
    for n in range(3, 7):
        forget_all(upkeep, in_use=n - 2)
        readings.merge(of("A", n), of("B", n, start=JAN_1 + n * MINUTE))

    assert kept(readings) == [4, 5, 6]
    assert list(upkeep.scrub()) == []
    assert [name for name in log_of(readings) if not name.startswith("_")] == [
        f"{4:020}.checkpoint.parquet",
        *(f"{n:020}.json" for n in (4, 5, 6)),
    ]


def test_another_program_reads_a_table_that_has_forgotten(
    readings: Readings, upkeep: ReadingUpkeep
) -> None:
    corrected(readings, 3)

    forget_all(upkeep, in_use=2)

    for version, values in ((None, [3, 1, 2, 3]), (2, [2, 1, 2])):
        assert as_others_read(readings, version)["energy_kwh"].to_list() == values


def test_a_fence_that_raises_leaves_every_version(
    readings: Readings, upkeep: ReadingUpkeep
) -> None:
    corrected(readings, 3)
    before = log_of(readings), on_disk(readings)

    with pytest.raises(ImportBusy):
        upkeep.forget(older_than=WEEK, in_use=None, now=LATER, fence=lost)

    assert (log_of(readings), on_disk(readings)) == before
    assert kept(readings) == [0, 1, 2, 3]


def test_a_fence_that_raises_later_leaves_the_data_files(
    readings: Readings, upkeep: ReadingUpkeep
) -> None:
    corrected(readings, 3)
    before = on_disk(readings)
    answers = iter([nothing, lost])

    with pytest.raises(ImportBusy):
        upkeep.forget(older_than=WEEK, in_use=None, now=LATER, fence=lambda: next(answers)())

    assert on_disk(readings) == before
    assert forget_all(upkeep) == 2
    assert kept(readings) == [3]


def test_what_an_import_left_that_was_cut_off_goes(
    readings: Readings, upkeep: ReadingUpkeep
) -> None:
    corrected(readings, 1)
    needed = on_disk(readings)
    whole = write_data_file(readings.files, "2024-01", of("C", 1)).path
    part = "month=2024-02/.part"
    readings.files.write("month=2024-02/other", b"whole")
    readings.at(part).write_bytes(b"half a fi")

    told = upkeep.unnamed_files()
    removed = forget_all(upkeep, in_use=0)

    assert told == sorted([whole, part, "month=2024-02/other"])
    assert removed == 3
    assert on_disk(readings) == needed
    assert upkeep.unnamed_files() == []
    assert kept(readings) == [0, 1]


@pytest.mark.parametrize("removals", range(7))
def test_a_clean_up_that_was_cut_off_leaves_what_can_be_read_and_is_finished_by_the_next(
    removals: int, readings: Readings, upkeep: ReadingUpkeep
) -> None:
    corrected(readings, 6)
    with killed_after(removals), pytest.raises(Killed):
        forget_all(upkeep, in_use=4)

    meanwhile = kept(readings)
    forget_all(upkeep, in_use=4)

    assert meanwhile == ([4, 5, 6] if removals else [0, 1, 2, 3, 4, 5, 6])
    assert kept(readings) == [4, 5, 6]
    assert on_disk(readings) == named_by(readings, 4, 5, 6)
    assert log_of(readings) == [
        f"{4:020}.checkpoint.parquet",
        *(f"{n:020}.json" for n in (4, 5, 6)),
        "_last_checkpoint",
    ]
