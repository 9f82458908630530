"""How a file shall look, kept with its job and its parts; over every database that there is."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from meterport.adapters import sql_tables
from meterport.adapters.sql_database import Database
from meterport.adapters.sql_erasures import SqlErasures
from meterport.adapters.sql_job_archive import SqlJobArchive
from meterport.adapters.sql_jobs import SqlJobs
from meterport.domain.exports import ExportRequest
from meterport.domain.fleets import parts
from meterport.domain.jobs import Job
from meterport.domain.options import Compression, CsvDialect, ExportOptions, Layout
from meterport.domain.readings import MeterSummary
from meterport.domain.shapes import Gaps, Label, Resolution, Shape
from meterport.ports import JobStore
from tests import make
from tests.contracts.conftest import wait_until
from tests.contracts.jobs import BRIEF, LEASE, OTHERS, claim, get

UNUSUAL = ExportOptions(
    Shape(
        Resolution.MINUTES_15,
        "Australia/Lord_Howe",
        Gaps.FLAG,
        Label.BOTH,
        ("energy_kwh", "timestamp", "smart_meter_id"),
        with_count=True,
    ),
    CsvDialect("\t", ",", bom=True, header=False, line_end="\r\n"),
    Layout.FILE_PER_METER,
    as_of=0,
)
AUTO = Compression.AUTO


@pytest.fixture
def jobs(database: Database) -> JobStore:
    return SqlJobs(database)


def of_one(compression: Compression = AUTO, options: ExportOptions = UNUSUAL) -> ExportRequest:
    return ExportRequest("123", make.period(), "csv", compression=compression, options=options)


def of_three(compression: Compression = AUTO, options: ExportOptions = UNUSUAL) -> ExportRequest:
    return ExportRequest.of_fleet("ABC", make.period(), compression=compression, options=options)


def one_part_each() -> list[MeterSummary]:
    last = make.JANUARY + timedelta(minutes=59)
    return [MeterSummary(name, make.JANUARY, last, 60, 60) for name in "ABC"]


THREE = parts(one_part_each(), make.period(), part_rows=60)


@pytest.mark.parametrize("compression", Compression)
@pytest.mark.parametrize("request_of", [of_one, of_three])
def test_a_job_keeps_how_its_file_shall_look(
    request_of: Callable[[Compression], ExportRequest], compression: Compression, jobs: JobStore
) -> None:
    request = request_of(compression)

    added = jobs.add(request, owner="owner", source_version=0).job

    for job in (added, get(jobs, added), claim(jobs)):
        assert (job.request.compression, job.request.options) == (compression, UNUSUAL)
        assert job.source_version == 0


def test_a_job_of_defaults_reads_as_the_contracts(jobs: JobStore) -> None:
    added = jobs.add(make.request(), owner="owner").job

    assert get(jobs, added).request == make.request()
    assert get(jobs, added).request.options == ExportOptions()


def test_the_newest_jobs_come_with_their_options(jobs: JobStore, database: Database) -> None:
    jobs.add(of_one(), owner="owner")

    (job,) = SqlJobArchive(database).recent(5)

    assert job.request == of_one()


def test_a_zone_that_nobody_knows_here_is_its_own_jobs_business(
    jobs: JobStore, database: Database
) -> None:
    """Another machine, or another release of the zones, took it."""
    strange = jobs.add(of_one(), owner="owner").job
    words = json.dumps({**UNUSUAL.words(), "timezone": "Mars/Phobos"})
    with database.write() as connection:
        connection.execute(update(sql_tables.jobs).values(options=words))
    jobs.add(make.request(), owner="owner")

    assert get(jobs, strange).request.options.shape.zone == "Mars/Phobos"
    assert replace(get(jobs, strange).request.options, shape=UNUSUAL.shape) == UNUSUAL
    assert len(SqlJobArchive(database).recent(5)) == 2
    taken = [claim(jobs).request.options.shape.zone for _ in range(2)]
    assert sorted(taken) == ["Mars/Phobos", "UTC"]


def test_what_auto_came_to_stays_in_later_attempts(jobs: JobStore) -> None:
    added = jobs.add(of_one(AUTO), owner="owner").job
    first = claim(jobs)

    assert jobs.begin(first, source_version=3, rows_expected=9, compression=Compression.GZIP)

    assert get(jobs, added).request.compression is Compression.GZIP
    jobs.hand_back(first)
    second = claim(jobs)
    assert second.request.compression is Compression.GZIP
    assert jobs.begin(second, source_version=3, rows_expected=9)
    assert get(jobs, added).request == of_one(Compression.GZIP)


def test_what_auto_came_to_is_known_to_every_part(jobs: JobStore) -> None:
    added = jobs.add(of_three(AUTO), owner="owner").job

    assert jobs.split(claim(jobs), THREE, source_version=3, compression=Compression.NONE)

    taken = [claim(jobs) for _ in THREE]
    assert {job.request.compression for job in taken} == {Compression.NONE}
    assert {job.request.options for job in taken} == {UNUSUAL}
    assert get(jobs, added).request.compression is Compression.NONE


def test_what_auto_came_to_stays_when_an_erasure_elsewhere_undoes_the_plan(
    jobs: JobStore, database: Database
) -> None:
    jobs.add(of_three(AUTO), owner="owner")
    jobs.split(claim(jobs), THREE, source_version=3, compression=Compression.GZIP)

    SqlErasures(database).begin("elsewhere", version=4)

    again = claim(jobs)
    assert (again.part, again.request.compression) == (None, Compression.GZIP)
    assert again.request.options == UNUSUAL


def test_an_attempt_that_lost_its_lease_does_not_say_what_auto_came_to(jobs: JobStore) -> None:
    added = jobs.add(of_one(AUTO), owner="owner").job
    stale = claim(jobs, BRIEF)
    wait_until(lambda: jobs.claim(OTHERS))

    assert not jobs.begin(stale, source_version=3, rows_expected=9, compression=Compression.GZIP)
    assert not jobs.split(stale, THREE, source_version=3, compression=Compression.GZIP)

    assert get(jobs, added).request.compression is AUTO


def test_the_last_part_knows_that_it_is_and_so_does_a_later_attempt_at_it(jobs: JobStore) -> None:
    jobs.add(of_three(), owner="owner")
    jobs.split(claim(jobs), THREE, source_version=3)

    taken = [claim(jobs), claim(jobs), claim(jobs, BRIEF)]
    again = wait_until(lambda: jobs.claim(OTHERS))

    assert [is_last(job) for job in taken] == [False, False, True]
    assert (again.part, again.attempt) == (THREE[2], 2)


def is_last(job: Job) -> bool:
    assert job.part is not None
    return job.part.is_last


def test_the_rows_that_were_expected_first_stay_expected(jobs: JobStore) -> None:
    """Else a percentage would go back where an import comes between two attempts."""
    added = jobs.add(of_one(), owner="owner").job
    first = claim(jobs)
    jobs.begin(first, source_version=3, rows_expected=100)
    jobs.renew(first, LEASE, rows_written=90)
    jobs.hand_back(first)

    jobs.begin(claim(jobs), source_version=3, rows_expected=1_000)

    progress = get(jobs, added).progress
    assert progress is not None
    assert (progress.percent, progress.records_expected) == (90, 100)


def test_the_rows_expected_of_a_fleet_stay_when_it_is_planned_anew(
    jobs: JobStore, database: Database
) -> None:
    added = jobs.add(of_three(), owner="owner").job
    jobs.split(claim(jobs), THREE, source_version=3)
    part = claim(jobs)
    jobs.renew(part, LEASE, rows_written=45)
    SqlErasures(database).begin("elsewhere", version=4)

    twice = parts(one_part_each() * 2, make.period(), part_rows=60)
    assert jobs.split(claim(jobs), twice, source_version=4)

    progress = get(jobs, added).progress
    assert progress is not None
    assert (progress.percent, progress.records_expected) == (25, 180)


def test_a_key_tells_a_compression_from_a_meter_of_that_name(jobs: JobStore) -> None:
    named = ExportRequest.of_fleet(["gzip", "m"], make.period())
    packed = ExportRequest.of_fleet(["m"], make.period(), compression=Compression.GZIP)
    jobs.add(named, owner="owner", idempotency_key="k")

    with pytest.raises(Exception, match="came with another request"):
        jobs.add(packed, owner="owner", idempotency_key="k")


@pytest.mark.parametrize(
    "other",
    [
        of_one(Compression.ZSTD),
        of_one(options=ExportOptions()),
        of_one(options=ExportOptions(as_of=1)),
        of_one(options=ExportOptions(csv=CsvDialect(";"))),
    ],
)
def test_a_key_stands_for_one_look_of_the_file(other: ExportRequest, jobs: JobStore) -> None:
    first = jobs.add(of_one(), owner="owner", idempotency_key="k").job
    jobs.begin(claim(jobs), source_version=0, rows_expected=1, compression=Compression.GZIP)

    again = jobs.add(of_one(), owner="owner", idempotency_key="k")

    assert (again.job.id, again.replayed) == (first.id, True)
    with pytest.raises(Exception, match="came with another request"):
        jobs.add(other, owner="owner", idempotency_key="k")
