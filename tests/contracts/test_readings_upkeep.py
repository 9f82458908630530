"""Upkeep of readings: small files joined, a meter erased, damage named, a version copied."""

from collections.abc import Callable, Mapping
from dataclasses import astuple
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from meterport.domain.errors import ImportBusy, SourceDataInvalid, SourceUnavailable, VersionGone
from meterport.domain.readings import DEFAULT_COLUMNS, READING_SCHEMA, DamagedFile
from meterport.ports import ReadingUpkeep
from meterport.sources.delta_table import DataFile, data_files
from meterport.sources.delta_upkeep import SMALL_FILES, DeltaUpkeep
from tests import make
from tests.contracts.conftest import ALL, OpenReadings, Readings, delta_folder
from tests.contracts.places import File

MINUTE = timedelta(minutes=1)
JAN_1 = make.JANUARY
FEB_1 = datetime(2024, 2, 1, tzinfo=UTC)
JANUARY, FEBRUARY = "2024-01", "2024-02"


def nothing() -> None:
    """A fence that lets pass."""


def lost() -> None:
    raise ImportBusy("the lease is gone")


def of(meter: str, *energy_kwh: float | None, start: datetime = JAN_1) -> pl.DataFrame:
    return make.readings(*energy_kwh, meter=meter, start=start)


def one_by_one(readings: Readings, imports: int, *, start: datetime = JAN_1) -> None:
    """So many imports of one reading each, of A, B and C in turn, the latest reading first."""
    for n in reversed(range(imports)):
        readings.merge(of("ABC"[n % 3], n, start=start + n * MINUTE))


def live(readings: Readings, month: str = "") -> dict[str, DataFile]:
    """The files of the newest version, by path."""
    files = data_files(readings.files.table())
    return {file.path: file for file in files if file.month.startswith(month)}


def state(readings: Readings) -> object:
    return readings.source.version(), readings.rows(), live(readings)


def whole(readings: Readings, *meters: str, version: int | None = None) -> pl.DataFrame:
    """Every column of those meters' readings; of A, B and C unless named."""
    frames = readings.source.scan(
        meters or "ABC", ALL, columns=list(READING_SCHEMA), version=version
    )
    return pl.concat([pl.DataFrame(schema=READING_SCHEMA), *frames])


def exported(readings: Readings, meter: str) -> bytes:
    return make.csv_bytes(readings.source.scan([meter], ALL, columns=DEFAULT_COLUMNS))


def test_a_month_of_many_small_files_is_crowded(readings: Readings, upkeep: ReadingUpkeep) -> None:
    one_by_one(readings, SMALL_FILES)
    one_by_one(readings, SMALL_FILES - 1, start=FEB_1)

    assert upkeep.crowded_months() == [JANUARY]


def test_a_month_of_many_full_files_is_not_crowded(open_readings: OpenReadings) -> None:
    readings = open_readings(file_rows=4)
    for n in range(SMALL_FILES):
        readings.merge(of("A", 1, 2, start=JAN_1 + 2 * n * MINUTE))

    assert len(live(readings)) == SMALL_FILES
    assert DeltaUpkeep(readings.files, file_rows=4).crowded_months() == []


def test_an_empty_store_needs_no_upkeep(upkeep: ReadingUpkeep) -> None:
    assert upkeep.crowded_months() == []
    assert list(upkeep.scrub()) == []
    assert upkeep.unnamed_files() == []


def test_a_compacted_month_has_the_same_rows_in_fewer_files(
    readings: Readings, upkeep: ReadingUpkeep
) -> None:
    one_by_one(readings, SMALL_FILES)

    version = upkeep.compact(JANUARY, fence=nothing)

    assert version == readings.source.version() == SMALL_FILES + 1
    assert [file.rows for file in live(readings).values()] == [SMALL_FILES]
    assert upkeep.crowded_months() == []
    assert readings.rows() == [
        ("A", "01-01T00:00", 0),
        ("A", "01-01T00:03", 3),
        ("A", "01-01T00:06", 6),
        ("B", "01-01T00:01", 1),
        ("B", "01-01T00:04", 4),
        ("B", "01-01T00:07", 7),
        ("C", "01-01T00:02", 2),
        ("C", "01-01T00:05", 5),
    ]


@pytest.mark.parametrize("meter", ["A", "B", "C"])
def test_a_meter_is_exported_after_a_compaction_as_before(
    meter: str, readings: Readings, upkeep: ReadingUpkeep
) -> None:
    one_by_one(readings, SMALL_FILES)
    readings.merge(of(meter, None, -0.0, 0.1 + 0.2, start=FEB_1))
    before, every_column = exported(readings, meter), whole(readings)

    upkeep.compact(JANUARY, fence=nothing)

    assert exported(readings, meter) == before
    assert_frame_equal(whole(readings), every_column, check_exact=True)


def test_an_earlier_version_reads_the_same_after_a_compaction(
    readings: Readings, upkeep: ReadingUpkeep
) -> None:
    one_by_one(readings, SMALL_FILES)
    versions = range(SMALL_FILES + 1)
    before = [readings.rows(version=version) for version in versions]

    upkeep.compact(JANUARY, fence=nothing)

    assert [readings.rows(version=version) for version in versions] == before


def test_a_compaction_leaves_the_other_months_files(
    readings: Readings, upkeep: ReadingUpkeep
) -> None:
    one_by_one(readings, SMALL_FILES)
    one_by_one(readings, SMALL_FILES, start=FEB_1)
    before = live(readings, FEBRUARY)

    upkeep.compact(JANUARY, fence=nothing)

    assert len(live(readings, JANUARY)) == 1
    assert live(readings, FEBRUARY) == before


def test_a_compaction_leaves_the_full_files_and_keeps_to_their_size(
    open_readings: OpenReadings,
) -> None:
    readings = open_readings(file_rows=6)
    readings.merge(of("A", 1, 2, 3))
    (full,) = live(readings)
    for n, meter in enumerate("BCDEFG"):
        readings.merge(of(meter, n, start=JAN_1))
        readings.merge(of(meter, n, start=JAN_1 + MINUTE))

    DeltaUpkeep(readings.files, file_rows=6).compact(JANUARY, fence=nothing)

    found = live(readings)
    assert full in found
    assert sorted((f.first_meter, f.last_meter, f.rows) for f in found.values()) == [
        ("A", "A", 3),
        ("B", "D", 6),
        ("E", "G", 6),
    ]


def test_a_compacted_month_is_not_written_again(readings: Readings, upkeep: ReadingUpkeep) -> None:
    one_by_one(readings, SMALL_FILES)
    version = upkeep.compact(JANUARY, fence=nothing)

    assert upkeep.compact(JANUARY, fence=nothing) == version
    assert upkeep.compact(FEBRUARY, fence=nothing) == version
    assert readings.source.version() == version


CHANGES: Mapping[str, Callable[[ReadingUpkeep, Callable[[], None]], object]] = {
    "compact": lambda upkeep, fence: upkeep.compact(JANUARY, fence=fence),
    "erase": lambda upkeep, fence: upkeep.erase("B", fence=fence),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_fence_that_raises_leaves_everything_as_it_was(
    change: str, readings: Readings, upkeep: ReadingUpkeep
) -> None:
    one_by_one(readings, SMALL_FILES)
    before = state(readings)

    with pytest.raises(ImportBusy):
        CHANGES[change](upkeep, lost)

    assert state(readings) == before
    assert list(upkeep.scrub()) == []


@pytest.mark.parametrize("change", CHANGES)
def test_the_fence_is_the_last_thing_before_a_change_is_seen(
    change: str, readings: Readings, upkeep: ReadingUpkeep
) -> None:
    one_by_one(readings, SMALL_FILES)
    before = state(readings)
    seen = []

    CHANGES[change](upkeep, lambda: seen.append(state(readings)))

    assert seen == [before]
    assert readings.source.version() == SMALL_FILES + 1


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_an_import_overtook_is_refused_whole(
    change: str, readings: Readings, upkeep: ReadingUpkeep
) -> None:
    def overtake() -> None:
        readings.merge(of("C", 99, start=FEB_1))

    one_by_one(readings, SMALL_FILES)
    before = readings.rows()

    with pytest.raises(ImportBusy):
        CHANGES[change](upkeep, overtake)

    assert readings.source.version() == SMALL_FILES + 1
    assert readings.rows() == [*before, ("C", "02-01T00:00", 99)]


def test_an_erased_meter_is_gone_and_the_others_keep_every_bit(
    readings: Readings, upkeep: ReadingUpkeep
) -> None:
    readings.merge(of("A", -0.0, None, 5e-324), of("B", 1, 2), of("C", 0.1 + 0.2))
    readings.merge(of("A", 1e300, start=FEB_1), of("B", 3, start=FEB_1))
    before = whole(readings, "A", "C")

    rows, version = upkeep.erase("B", fence=nothing)

    assert (rows, version) == (3, 3)
    assert readings.source.version() == 3
    assert readings.rows("B") == []
    assert_frame_equal(whole(readings, "A", "C"), before, check_exact=True)
    assert [str(value) for value in whole(readings, "A")["energy_kwh"]] == [
        "-0.0",
        "None",
        "5e-324",
        "1e+300",
    ]
    assert [meter.smart_meter_id for meter in readings.source.summaries()] == ["A", "C"]


def test_an_erased_meter_is_in_no_file_once_earlier_versions_are_forgotten(
    readings: Readings, upkeep: ReadingUpkeep
) -> None:
    readings.merge(of("A", 1), of("B", 2))
    readings.merge(of("B", 3, start=FEB_1))
    upkeep.erase("B", fence=nothing)
    upkeep.forget(
        older_than=timedelta(0), in_use=None, now=datetime.now(UTC) + MINUTE, fence=nothing
    )

    (file,) = readings.files.data_files()

    assert pl.read_parquet(readings.at(file).read_bytes())["smart_meter_id"].to_list() == ["A"]
    with pytest.raises(VersionGone):
        readings.rows("B", version=2)


def test_an_erasure_leaves_the_files_without_that_meter(
    readings: Readings, upkeep: ReadingUpkeep
) -> None:
    readings.merge(of("A", 1), of("C", 2))
    readings.merge(of("B", 3, start=FEB_1))
    before = live(readings, JANUARY)

    upkeep.erase("B", fence=nothing)

    assert live(readings) == before


@pytest.mark.parametrize("meter", ["AB", "unknown", "a", "0"])
def test_erasing_an_unknown_meter_changes_nothing(
    meter: str, readings: Readings, upkeep: ReadingUpkeep
) -> None:
    readings.merge(of("A", 1), of("C", 2))
    before = state(readings)

    assert upkeep.erase(meter, fence=nothing) == (0, 1)

    assert state(readings) == before


def flip(file: File) -> None:
    data = file.read_bytes()
    file.write_bytes(data[:40] + bytes([data[40] ^ 1]) + data[41:])


def cut(file: File) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def empty(file: File) -> None:
    file.write_bytes(b"")


def delete(file: File) -> None:
    file.unlink()


DAMAGES: Mapping[str, tuple[Callable[[File], None], str]] = {
    "flipped": (flip, "changed"),
    "cut": (cut, "changed"),
    "emptied": (empty, "changed"),
    "deleted": (delete, "missing"),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("change", CHANGES)
def test_a_damaged_file_is_never_written_again_as_if_it_were_whole(
    change: str, damage: str, readings: Readings, upkeep: ReadingUpkeep
) -> None:
    one_by_one(readings, SMALL_FILES)
    file = next(file for file in live(readings).values() if file.first_meter == "B")
    act, state = DAMAGES[damage]
    act(readings.at(file.path))

    with pytest.raises(SourceDataInvalid, match=f"{file.path} is {state}"):
        CHANGES[change](upkeep, nothing)

    assert readings.source.version() == SMALL_FILES
    assert [found.path for found in upkeep.scrub()] == [file.path]


def two_months(readings: Readings) -> dict[str, DataFile]:
    readings.merge(of("A", 1, 2), of("B", 3), of("C", *range(9), start=FEB_1))
    return {file.month: file for file in live(readings).values()}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_scrub_names_a_damaged_file_and_whose_readings_are_in_it(
    damage: str, readings: Readings, upkeep: ReadingUpkeep
) -> None:
    file = two_months(readings)[JANUARY]
    act, state = DAMAGES[damage]

    act(readings.at(file.path))

    (found,) = upkeep.scrub()
    assert found == DamagedFile(file.path, state, "2024-01", "A", "B")
    assert str(found) == f"{file.path} is {state}: readings of 2024-01, meters A to B"


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_look_over_names_what_the_size_tells(
    damage: str, readings: Readings, upkeep: ReadingUpkeep
) -> None:
    file = two_months(readings)[JANUARY]
    act, state = DAMAGES[damage]

    act(readings.at(file.path))

    told = [] if damage == "flipped" else [DamagedFile(file.path, state, "2024-01", "A", "B")]
    assert list(upkeep.look_over()) == told


def test_two_files_that_were_swapped_are_both_named(
    readings: Readings, upkeep: ReadingUpkeep
) -> None:
    files = two_months(readings)
    first, second = (readings.at(files[month].path) for month in (JANUARY, FEBRUARY))
    aside = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(aside)

    for found in (upkeep.scrub(), upkeep.look_over()):
        assert [astuple(file)[1:] for file in found] == [
            ("changed", "2024-01", "A", "B"),
            ("changed", "2024-02", "C", "C"),
        ]


def test_an_undamaged_store_gives_nothing(readings: Readings, upkeep: ReadingUpkeep) -> None:
    one_by_one(readings, SMALL_FILES)
    upkeep.compact(JANUARY, fence=nothing)
    upkeep.erase("B", fence=nothing)
    two_months(readings)

    assert list(upkeep.scrub()) == []
    assert list(upkeep.look_over()) == []
    assert upkeep.unnamed_files() == []


@pytest.mark.parametrize("act", [flip, delete])
def test_damage_in_a_file_of_an_earlier_version_is_found_too(
    act: Callable[[File], None], readings: Readings, upkeep: ReadingUpkeep
) -> None:
    readings.merge(of("A", 1))
    (earlier,) = live(readings)
    readings.merge(of("A", 2))

    act(readings.at(earlier))

    assert [file.path for file in upkeep.scrub()] == [earlier]


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_a_copy_has_that_version_and_no_other(
    version: int, readings: Readings, upkeep: ReadingUpkeep, tmp_path: Path
) -> None:
    readings.merge(of("A", 1), of("C", 5, start=FEB_1))
    readings.merge(of("A", 2), of("B", 3))
    readings.merge(of("B", 4))
    before = state(readings)

    damaged = upkeep.copy(tmp_path / "copy", version)

    copied = delta_folder(tmp_path / "copy")
    assert damaged == []
    assert copied.source.version() == version
    assert copied.rows() == readings.rows(version=version)
    assert [v for v in range(5) if copied.source.keeps(v)] == [version]
    assert set(copied.files.data_files()) == live(copied).keys()
    assert state(readings) == before


def test_a_copy_is_a_store_that_imports_can_go_on_with(
    readings: Readings, upkeep: ReadingUpkeep, tmp_path: Path
) -> None:
    readings.merge(of("A", 1))
    readings.merge(of("A", 2))
    upkeep.copy(tmp_path / "copy", 1)

    copied = delta_folder(tmp_path / "copy")
    copied.merge(of("A", 7))

    assert copied.rows() == [("A", "01-01T00:00", 7)]
    assert copied.rows(version=1) == [("A", "01-01T00:00", 1)]
    assert readings.rows() == [("A", "01-01T00:00", 2)]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_copy_names_the_files_that_were_damaged_already(
    damage: str, readings: Readings, upkeep: ReadingUpkeep, tmp_path: Path
) -> None:
    file = two_months(readings)[JANUARY]
    DAMAGES[damage][0](readings.at(file.path))

    damaged = upkeep.copy(tmp_path / "copy", 1)

    assert damaged == [f"copy/{file.path}"]
    assert len(delta_folder(tmp_path / "copy").rows("C")) == 9


def test_a_version_that_is_no_longer_kept_cannot_be_copied(
    readings: Readings, upkeep: ReadingUpkeep, tmp_path: Path
) -> None:
    readings.merge(of("A", 1))
    readings.merge(of("A", 2))
    upkeep.forget(
        older_than=timedelta(0), in_use=None, now=datetime.now(UTC) + MINUTE, fence=nothing
    )

    with pytest.raises(SourceUnavailable):
        upkeep.copy(tmp_path / "copy", 1)
