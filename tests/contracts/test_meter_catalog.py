"""The laws of a MeterCatalog, and of the lease of the one writer of readings."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock

import pytest
from sqlalchemy import text

from meterport.adapters.sql_database import Database
from meterport.adapters.sql_jobs import SqlJobs
from meterport.adapters.sql_meters import SqlMeters
from meterport.domain.errors import ImportBusy
from meterport.domain.readings import MeterSummary
from meterport.ports import MeterCatalog
from meterport.services.refresh_meters import refresh_meters
from tests import make
from tests.contracts.conftest import Readings, at_once

JAN_1, JAN_2 = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC)
FEB_1, FEB_2 = datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 2, 2, tzinfo=UTC)
AT_ONCE, SOON = timedelta(0), timedelta(milliseconds=300)
PATIENTLY = timedelta(minutes=1)


@pytest.fixture
def catalog(database: Database) -> MeterCatalog:
    return SqlMeters(database)


def summary(
    meter: str = "A",
    first: datetime = JAN_1,
    last: datetime = JAN_2,
    interval_s: int = 900,
    rows: int = 97,
) -> MeterSummary:
    return MeterSummary(meter, first, last, interval_s, rows)


def test_a_new_catalogue_is_empty_and_of_no_version(catalog: MeterCatalog) -> None:
    assert catalog.version() is None
    assert list(catalog.all()) == []
    assert catalog.get("A") is None
    assert catalog.intervals(["A"]) == {}


def test_what_was_added_is_there_with_its_version(catalog: MeterCatalog) -> None:
    meter = summary("a.B_c:d-9", interval_s=2**31 - 1, rows=3_000_000_000)

    catalog.add([meter], version=3_000_000_000)

    assert catalog.get("a.B_c:d-9") == meter
    assert list(catalog.all()) == [meter]
    assert catalog.version() == 3_000_000_000


def test_the_times_of_a_meter_are_in_utc(catalog: MeterCatalog) -> None:
    catalog.add([summary()], version=1)

    meter = catalog.get("A")

    assert meter is not None
    assert meter.first.utcoffset() == meter.last.utcoffset() == timedelta(0)


def test_meters_are_listed_by_their_ids_bytes(catalog: MeterCatalog) -> None:
    ids = ["b", "A", "a", "10", "9", "B", "a-1", "a.1", "aa"]
    catalog.add([summary(meter) for meter in ids], version=1)

    listed = [meter.smart_meter_id for meter in catalog.all()]

    assert listed == ["10", "9", "A", "B", "a", "a-1", "a.1", "aa", "b"]


def test_ids_differ_by_their_case(catalog: MeterCatalog) -> None:
    catalog.add([summary("a", rows=1), summary("A", rows=2)], version=1)

    found = [catalog.get("a"), catalog.get("A")]

    assert [meter and meter.rows for meter in found] == [1, 2]


def test_later_readings_of_a_meter_are_added_to_it(catalog: MeterCatalog) -> None:
    catalog.add([summary("A"), summary("B")], version=1)

    catalog.add(
        [summary("A", FEB_1, FEB_2, interval_s=60, rows=3), summary("C", rows=1)], version=2
    )

    assert list(catalog.all()) == [
        summary("A", JAN_1, FEB_2, interval_s=60, rows=100),
        summary("B"),
        summary("C", rows=1),
    ]
    assert catalog.version() == 2


def test_earlier_readings_do_not_change_a_meters_newest_interval(catalog: MeterCatalog) -> None:
    catalog.add([summary("A", FEB_1, FEB_2, interval_s=60, rows=3)], version=1)

    catalog.add([summary("A", JAN_1, JAN_2, interval_s=900, rows=97)], version=2)

    assert catalog.get("A") == summary("A", JAN_1, FEB_2, interval_s=60, rows=100)


def test_adding_nothing_still_moves_the_version(catalog: MeterCatalog) -> None:
    catalog.add([summary()], version=1)

    catalog.add([], version=2)

    assert catalog.version() == 2
    assert list(catalog.all()) == [summary()]


def test_a_replacement_leaves_nothing_of_what_was(catalog: MeterCatalog) -> None:
    catalog.add([summary("A"), summary("B")], version=5)

    catalog.replace(iter([summary("B", rows=1), summary("C")]), version=4)

    assert list(catalog.all()) == [summary("B", rows=1), summary("C")]
    assert catalog.version() == 4


def test_a_replacement_that_fails_leaves_everything_as_it_was(catalog: MeterCatalog) -> None:
    catalog.add([summary("A"), summary("B")], version=1)

    def counting() -> Iterator[MeterSummary]:
        yield summary("C")
        raise OSError("the readings went away")

    with pytest.raises(OSError, match="went away"):
        catalog.replace(counting(), version=2)

    assert list(catalog.all()) == [summary("A"), summary("B")]
    assert catalog.version() == 1


def test_the_database_stays_free_while_a_replacement_is_counted(tmp_path: Path) -> None:
    """Counting reads every reading; nobody may wait for that to store a job."""
    home = make.home(tmp_path)
    others: list[int] = []

    def counting() -> Iterator[MeterSummary]:
        path = home.settings.data / "meterport.db"
        with closing(sqlite3.connect(path, timeout=0)) as another:
            another.execute("BEGIN IMMEDIATE")
            another.rollback()
            others.append(1)
        yield summary()

    home.services.catalog.replace(counting(), version=1)

    assert others == [1]


def test_jobs_are_accepted_while_meters_are_added(
    catalog: MeterCatalog, database: Database
) -> None:
    jobs = SqlJobs(database)

    def work(number: int) -> None:
        for version in range(20):
            if number == 0:
                catalog.add([summary(f"meter-{version}")], version=version)
            else:
                jobs.add(make.request(), owner="owner")

    at_once(4, work)

    assert len(catalog.all()) == 20
    assert catalog.version() == 19


def test_intervals_are_those_of_the_known_meters(catalog: MeterCatalog) -> None:
    catalog.add([summary("A", interval_s=60), summary("B"), summary("C")], version=1)

    assert catalog.intervals(["B", "A", "unknown"]) == {"A": 60, "B": 900}
    assert catalog.intervals([]) == {}


def test_more_meters_than_a_statement_holds_are_no_trouble(catalog: MeterCatalog) -> None:
    ids = [f"meter-{n:05}" for n in range(2_500)]
    catalog.add([summary(meter, rows=1) for meter in ids], version=1)

    catalog.add([summary(meter, rows=1) for meter in ids], version=2)

    assert [meter.smart_meter_id for meter in catalog.all()] == ids
    assert {meter.rows for meter in catalog.all()} == {2}
    assert catalog.intervals(ids) == dict.fromkeys(ids, 900)


def test_a_second_writer_is_refused_when_its_patience_ends(catalog: MeterCatalog) -> None:
    with catalog.writing(patience=AT_ONCE) as lease:
        with pytest.raises(ImportBusy) as refusal, catalog.writing(patience=SOON):
            pass
        lease.check()

    assert refusal.value.retryable


def test_a_writer_that_ends_frees_the_readings_at_once(catalog: MeterCatalog) -> None:
    with catalog.writing(patience=AT_ONCE):
        pass

    with catalog.writing(patience=AT_ONCE) as lease:
        lease.check()


def test_a_writer_that_fails_frees_the_readings_at_once(catalog: MeterCatalog) -> None:
    with pytest.raises(ValueError, match="line 3"), catalog.writing(patience=AT_ONCE):
        raise ValueError("line 3")

    with catalog.writing(patience=AT_ONCE) as lease:
        lease.check()


def test_a_writer_that_was_refused_leaves_the_first_its_lease(catalog: MeterCatalog) -> None:
    with catalog.writing(patience=AT_ONCE) as lease:
        for _ in range(2):
            with pytest.raises(ImportBusy), catalog.writing(patience=AT_ONCE):
                pass
        lease.check()


def test_writers_that_wait_come_one_after_another(catalog: MeterCatalog) -> None:
    inside = Lock()

    def write(number: int) -> bool:
        with catalog.writing(patience=PATIENTLY) as lease:
            alone = inside.acquire(blocking=False)
            catalog.add([summary(f"meter-{number}")], version=number)
            lease.check()
            if alone:
                inside.release()
            return alone

    assert at_once(5, write) == [True] * 5
    assert len(catalog.all()) == 5


def expire(database: Database) -> None:
    """As when the writer's machine slept past its lease."""
    with database.write() as connection:
        connection.execute(text("UPDATE leases SET lease_until = '2024-01-01 00:00:00'"))


def test_a_writer_whose_lease_ran_out_is_told_so(catalog: MeterCatalog, database: Database) -> None:
    with catalog.writing(patience=AT_ONCE) as lease:
        expire(database)

        with pytest.raises(ImportBusy) as refusal:
            lease.check()

    assert refusal.value.retryable


def test_a_lease_that_ran_out_goes_to_the_next_writer_and_stays_there(
    catalog: MeterCatalog, database: Database
) -> None:
    with catalog.writing(patience=AT_ONCE) as dead:
        expire(database)
        with catalog.writing(patience=AT_ONCE) as next_writer:
            with pytest.raises(ImportBusy):
                dead.check()
            next_writer.check()


def test_a_late_writers_end_does_not_free_the_next_writers_lease(
    catalog: MeterCatalog, database: Database
) -> None:
    late = catalog.writing(patience=AT_ONCE)
    late.__enter__()
    expire(database)

    with catalog.writing(patience=AT_ONCE) as next_writer:
        late.__exit__(None, None, None)

        with pytest.raises(ImportBusy), catalog.writing(patience=AT_ONCE):
            pass
        next_writer.check()


def test_a_catalogue_that_missed_a_version_is_made_anew(
    catalog: MeterCatalog, readings: Readings
) -> None:
    first = readings.merge(make.readings(1, 2, meter="A"), make.readings(3, meter="old"))
    catalog.add(first.added, version=first.version)
    catalog.add([summary("wrong")], version=first.version)
    missed = readings.merge(make.readings(4, 5, meter="B", start=FEB_1, interval_s=900))

    refreshed = refresh_meters(source=readings.source, catalog=catalog)

    a_minute = timedelta(minutes=1)
    assert refreshed
    assert list(catalog.all()) == [
        summary("A", JAN_1, JAN_1 + a_minute, interval_s=60, rows=2),
        summary("B", FEB_1, FEB_1 + 15 * a_minute, interval_s=900, rows=2),
        summary("old", JAN_1, JAN_1, interval_s=60, rows=1),
    ]
    assert catalog.version() == missed.version


def test_a_catalogue_of_the_newest_version_is_left_alone(
    catalog: MeterCatalog, readings: Readings
) -> None:
    merged = readings.merge(make.readings(1, 2, meter="A"))
    catalog.add([summary("kept")], version=merged.version)

    refreshed = refresh_meters(source=readings.source, catalog=catalog)

    assert not refreshed
    assert list(catalog.all()) == [summary("kept")]


def test_what_imports_add_is_what_a_catalogue_made_anew_would_hold(
    catalog: MeterCatalog, readings: Readings
) -> None:
    for frame in (
        make.readings(1, 2, 3, meter="A", start=FEB_1),
        make.readings(4, 5, meter="A", start=JAN_1, interval_s=900),
        make.readings(6, 7, meter="A", start=FEB_1, interval_s=120),
    ):
        merged = readings.merge(frame)
        catalog.add(merged.added, version=merged.version)

    assert list(catalog.all()) == list(readings.source.summaries())
