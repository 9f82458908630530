"""What the readings store leaves in its place, and what becomes of it when that is bad."""

import base64
import hashlib
import io
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from meterport.domain.errors import (
    ImportBusy,
    ImportRefused,
    MeterportError,
    SourceDataInvalid,
    SourceUnavailable,
)
from meterport.domain.readings import FRAME_ROWS, KEY, READING_SCHEMA
from meterport.sources import delta_log
from meterport.sources.delta import DeltaSource
from meterport.sources.delta_table import DataFile, commit, create, data_files, write_data_file
from tests import make
from tests.contracts.conftest import ALL, OpenReadings, Readings, largest_file
from tests.contracts.places import File, Place

MINUTE = timedelta(minutes=1)
JAN_1 = make.JANUARY
FEB_1 = datetime(2024, 2, 1, tzinfo=UTC)


def of(meter: str, *energy_kwh: float | None, start: datetime = JAN_1) -> pl.DataFrame:
    return make.readings(*energy_kwh, meter=meter, start=start)


def live(readings: Readings) -> dict[str, DataFile]:
    """The files of the newest version, by path."""
    return {file.path: file for file in data_files(readings.files.table())}


def only_file(readings: Readings) -> File:
    (path,) = live(readings)
    return readings.at(path)


def staged(readings: Readings) -> list[Path]:
    return list(readings.place.staging.glob("_staging-*"))


def test_a_data_file_is_named_after_its_month_and_its_content(readings: Readings) -> None:
    readings.merge(of("A", 1, 2), of("B", 3, start=FEB_1 - MINUTE), of("B", 4, start=FEB_1))

    found = live(readings)

    assert {file.month: file.rows for file in found.values()} == {"2024-01": 3, "2024-02": 1}
    for path, file in found.items():
        data = readings.at(path).read_bytes()
        assert path == f"month={file.month}/{hashlib.sha256(data).hexdigest()}.parquet"
        assert len(data) == file.size_bytes


def test_a_data_file_is_sorted_and_has_the_one_schema(readings: Readings) -> None:
    readings.merge(of("B", 3, 4), of("A", 2, start=JAN_1 + MINUTE), of("A", 1))

    found = pl.read_parquet(only_file(readings).read_bytes())

    assert found.schema == READING_SCHEMA
    assert found["energy_kwh"].to_list() == [1, 2, 3, 4]
    assert found.select(KEY).rows() == sorted(found.select(KEY).rows())


def test_the_log_knows_the_bounds_of_each_file(readings: Readings) -> None:
    readings.merge(of("B", 1, 2, 3), of("A", 4, start=JAN_1 + MINUTE))

    (file,) = live(readings).values()

    assert (file.first_meter, file.last_meter) == ("A", "B")
    assert (file.first_time, file.last_time) == (JAN_1, JAN_1 + 2 * MINUTE)


def test_another_program_reads_the_table_and_its_versions(readings: Readings) -> None:
    readings.merge(of("A", 1, 2))
    readings.merge(of("A", 20, start=JAN_1 + MINUTE), of("B", 3, start=FEB_1))

    uri, options = readings.place.uri, dict(readings.place.options)
    newest = pl.scan_delta(uri, storage_options=options).sort(KEY).collect()
    first = pl.scan_delta(uri, version=1, storage_options=options).sort(KEY).collect()

    assert newest["energy_kwh"].to_list() == [1, 20, 3]
    assert newest["month"].to_list() == ["2024-01", "2024-01", "2024-02"]
    assert first["energy_kwh"].to_list() == [1, 2]


def test_new_keys_leave_the_files_that_are_there(readings: Readings) -> None:
    readings.merge(of("A", 1, 2), of("C", 3))
    before = live(readings)

    readings.merge(of("A", 4, start=JAN_1 + 2 * MINUTE), of("B", 5), of("A", 6, start=FEB_1))

    after = live(readings)
    assert before.keys() < after.keys()
    assert sorted(file.rows for path, file in after.items() if path not in before) == [1, 2]


def test_only_the_files_that_hold_a_new_key_are_written_again(readings: Readings) -> None:
    readings.merge(of("A", 1))
    readings.merge(of("A", 2, start=JAN_1 + MINUTE))
    before = live(readings)

    readings.merge(of("A", 10))

    after = live(readings)
    assert [file.first_time for path, file in after.items() if path in before] == [JAN_1 + MINUTE]
    assert [file.first_time for path, file in after.items() if path not in before] == [JAN_1]
    assert all(readings.at(path).exists() for path in before)


def test_small_files_are_several_of_a_month(open_readings: OpenReadings) -> None:
    readings = open_readings(file_rows=3)

    readings.merge(of("A", 1, 2), of("B", 3, 4), of("C", 5), of("D", 6, 7, 8, 9), of("E", 10))

    files = sorted(live(readings).values(), key=lambda file: file.first_meter)
    assert [(file.first_meter, file.last_meter, file.rows) for file in files] == [
        ("A", "A", 2),
        ("B", "C", 3),
        ("D", "D", 4),
        ("E", "E", 1),
    ]


def test_a_table_is_created_once(readings: Readings) -> None:
    readings.merge(of("A", 1))

    create(readings.files)

    assert readings.rows("A") == [("A", "01-01T00:00", 1)]


def lost() -> None:
    raise ImportBusy("the lease is gone")


def test_an_import_that_ends_by_an_error_leaves_the_table_and_no_spool(readings: Readings) -> None:
    readings.merge(of("A", 1))
    before = live(readings)

    def batches() -> Iterator[pl.DataFrame]:
        yield of("A", 2)
        assert len(staged(readings)) == 1
        raise RuntimeError("a defect of an importer")

    with pytest.raises(RuntimeError, match="a defect"):
        readings.store.merge(batches(), known_intervals=lambda _: {}, fence=lambda: None)
    with pytest.raises(ImportBusy):
        readings.merge(of("A", 3), fence=lost)

    assert live(readings) == before
    assert readings.source.version() == 1
    assert staged(readings) == []


def test_what_a_killed_import_left_is_cleared_by_the_next(readings: Readings) -> None:
    leftover = readings.place.staging / "_staging-killed" / "2024-01"
    leftover.mkdir(parents=True)
    (leftover / "00000000.parquet").write_bytes(b"half a fi")

    readings.merge(of("A", 1))

    assert staged(readings) == []
    assert readings.rows("A") == [("A", "01-01T00:00", 1)]


def test_a_file_of_a_refused_import_can_be_imported_later(readings: Readings) -> None:
    with pytest.raises(ImportBusy):
        readings.merge(of("A", 1), fence=lost)

    readings.merge(of("A", 1))

    assert readings.rows("A") == [("A", "01-01T00:00", 1)]


def test_an_import_without_room_is_refused_and_leaves_the_table(readings: Readings) -> None:
    readings.merge(of("A", 1))
    before = live(readings)

    with largest_file(1_000), pytest.raises(MeterportError):
        readings.merge(make.many_readings(5_000, meter="A"))

    assert live(readings) == before
    assert staged(readings) == []
    assert readings.merge(make.many_readings(5_000, meter="A")).rows_new == 4_999


@pytest.mark.parametrize("damage", ["garbage", "removed"])
def test_an_import_over_a_damaged_file_is_refused_and_leaves_the_table(
    damage: str, readings: Readings
) -> None:
    readings.merge(of("A", 1))
    before = live(readings)
    DAMAGES[damage](only_file(readings))

    with pytest.raises(MeterportError):
        readings.merge(of("A", 2))

    assert live(readings) == before
    assert staged(readings) == []


@pytest.mark.parametrize("at", range(20, 400, 19))
def test_a_damaged_file_is_never_written_again_as_if_it_were_whole(
    at: int, readings: Readings
) -> None:
    """Polars reads many a wrong byte as a wrong value, and a new file would have a right digest."""
    readings.merge(of("A", *(0.37 * n for n in range(50))))
    (path,) = live(readings)
    file = readings.at(path)
    data = file.read_bytes()
    file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])

    with pytest.raises(ImportRefused):
        readings.merge(of("A", 9))

    assert list(live(readings)) == [path]


def garbage(file: File) -> None:
    file.write_bytes(b"PAR1" + b"x" * 5_000 + b"PAR1")


def truncate(file: File) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def empty(file: File) -> None:
    file.write_bytes(b"")


def other_schema(file: File) -> None:
    buffer = io.BytesIO()
    pl.DataFrame({"timestamp": ["2024-01-01"], "smart_meter_id": [123]}).write_parquet(buffer)
    file.write_bytes(buffer.getvalue())


def unknown_time_zone(file: File) -> None:
    """A damaged schema, at which Polars 2.1 does not raise but panics."""
    data = file.read_bytes()
    schema = re.search(rb"ARROW:schema.{0,8}?([A-Za-z0-9+/=]{40,})", data, re.DOTALL)
    assert schema is not None
    arrow = base64.b64decode(schema[1])
    assert b"UTC" in arrow
    file.write_bytes(data.replace(schema[1], base64.b64encode(arrow.replace(b"UTC", b"oTC"))))


def removed(file: File) -> None:
    file.unlink()


DAMAGES: Mapping[str, Callable[[File], None]] = {
    "garbage": garbage,
    "truncated": truncate,
    "empty": empty,
    "other_schema": other_schema,
    "unknown_time_zone": unknown_time_zone,
    "removed": removed,
}
READS: Mapping[str, Callable[[Readings], object]] = {
    "scan": lambda readings: readings.rows("A"),
    "scan_in_frames": lambda readings: list(
        DeltaSource(readings.files, frame_rows=1).scan("A", ALL, columns=KEY)
    ),
    "summaries": lambda readings: list(readings.source.summaries()),
}


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_data_file_is_an_error_of_the_source(
    damage: str, read: str, readings: Readings
) -> None:
    readings.merge(of("A", *range(50)))
    DAMAGES[damage](only_file(readings))

    with pytest.raises(SourceUnavailable if damage == "removed" else SourceDataInvalid):
        READS[read](readings)


@pytest.mark.parametrize("log", [b"{", b"garbage\n" * 10, b'{"add": {}}\n', bytes(500)])
def test_a_damaged_log_is_an_error_of_the_source(log: bytes, readings: Readings) -> None:
    readings.merge(of("A", 1))
    readings.at(delta_log.entry(1)).write_bytes(log)

    for read in READS.values():
        with pytest.raises((SourceUnavailable, SourceDataInvalid)):
            read(readings)


def test_an_empty_log_entry_is_a_version_without_a_change(readings: Readings) -> None:
    """As a power cut may leave it, before the import was answered."""
    readings.merge(of("A", 1))
    readings.at(delta_log.entry(2)).write_bytes(b"")

    before = readings.rows("A")
    merged = readings.merge(of("A", 2, start=JAN_1 + MINUTE))

    assert before == [("A", "01-01T00:00", 1)]
    assert merged.version == 3
    assert readings.rows("A") == [("A", "01-01T00:00", 1), ("A", "01-01T00:01", 2)]


def test_a_store_that_does_not_exist_is_unavailable(place: Place) -> None:
    source = DeltaSource(place.files)

    with pytest.raises(SourceUnavailable):
        source.version()
    with pytest.raises(SourceUnavailable):
        list(source.scan("A", ALL, columns=KEY))
    with pytest.raises(SourceUnavailable):
        list(source.summaries())


@pytest.mark.parametrize("frame_rows", [1, 2, FRAME_ROWS])
def test_a_key_that_is_in_two_files_fails_the_scan(frame_rows: int, readings: Readings) -> None:
    readings.merge(of("A", 1, 2, 3))
    by_force = write_data_file(
        readings.files, "2024-01", of("A", 20, start=JAN_1 + MINUTE).vstack(of("B", 4))
    )
    commit(readings.files, readings.files.table(), [by_force], [])
    source = DeltaSource(readings.files, frame_rows=frame_rows)

    with pytest.raises(SourceDataInvalid) as failure:
        list(source.scan("AB", ALL, columns=["energy_kwh"]))

    assert failure.value.message == (
        "Smart meter 'A' has more than one reading at 2024-01-01T00:01:00Z"
    )


def test_a_commit_from_a_table_that_moved_on_is_refused(readings: Readings) -> None:
    stale = readings.files.table()
    readings.merge(of("A", 1))
    file = write_data_file(readings.files, "2024-01", of("A", 2))

    with pytest.raises(ImportBusy, match="import again"):
        commit(readings.files, stale, [file], [])

    assert readings.rows("A") == [("A", "01-01T00:00", 1)]
