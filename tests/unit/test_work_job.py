"""How an attempt ends: done, failed, handed back, lost; and what a later attempt reads."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from meterport.adapters.sql_database import Database
from meterport.adapters.sql_tables import jobs as jobs_table
from meterport.domain.jobs import Job, JobStatus, Lease
from meterport.domain.readings import MeterSummary
from meterport.services.work_job import Workplace, work_job
from tests import make
from tests.unit.exports import encode_with

LEASE = Lease("w")


def workplace(home: make.Home, stopping: threading.Event | None = None) -> Workplace:
    s = home.services
    stop = stopping or threading.Event()
    return Workplace(s.jobs, s.source, s.catalog, s.objects, LEASE, stop)


def submitted(home: make.Home, meter: str = "123") -> str:
    return home.submit(make.request(meter)).id


def ended(home: make.Home, job_id: str) -> Job:
    job = home.services.jobs.get(job_id)
    assert job is not None
    return job


def files(home: make.Home) -> list[str]:
    return list(home.services.objects.keys())


def content(home: make.Home, job: Job) -> str:
    assert job.file is not None
    with home.services.objects.open(job.file.key) as file:
        return file.read().decode()


def test_nothing_to_do_is_said(home: make.Home) -> None:
    assert work_job(workplace(home)) is False


def test_a_defect_of_ours_fails_the_job_without_its_text(
    home: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect() -> None:
        raise ZeroDivisionError("an inner secret")

    home.load(make.readings(0.5))
    job_id = submitted(home)
    encode_with(monkeypatch, defect)

    work_job(workplace(home))

    job = ended(home, job_id)
    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert job.error.code == "INTERNAL_ERROR"
    assert "secret" not in job.error.message + job.error.details
    assert files(home) == []


def test_a_completed_job_keeps_its_file_though_nobody_can_write_it_to_the_log(
    home: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullDisk:
        def info(self, event: str, **fields: object) -> None:
            if event == "export_completed":
                raise OSError(28, "No space left on device")

    home.load(make.readings(0.5))
    job_id = submitted(home)
    monkeypatch.setattr("meterport.services.work_job.log", FullDisk())

    with pytest.raises(OSError, match="No space left"):
        work_job(workplace(home))

    job = ended(home, job_id)
    assert job.status is JobStatus.COMPLETED
    assert content(home, job) == make.csv_lines("2024-01-01T00:00:00Z,123,0.5,2.1,230.1,9.1")


def test_a_stopping_worker_hands_its_job_back(
    home: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.load(make.readings(0.5))
    job_id = submitted(home)
    stopping = threading.Event()
    at = workplace(home, stopping)
    with monkeypatch.context() as patched:
        encode_with(patched, stopping.set)
        work_job(at)

    assert ended(home, job_id).status is JobStatus.PENDING
    assert files(home) == []
    home.work()
    job = ended(home, job_id)
    assert (job.status, job.attempt, job.crashes) == (JobStatus.COMPLETED, 2, 0)


def test_an_attempt_whose_lease_is_gone_leaves_no_file_and_no_mark(
    home: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def let_the_lease_run_out() -> None:
        past = datetime.now(UTC) - timedelta(minutes=1)
        with Database(home.settings.jobs_url).write() as connection:
            connection.execute(update(jobs_table).values(lease_until=past))

    home.load(make.readings(0.5))
    job_id = submitted(home)
    with monkeypatch.context() as patched:
        encode_with(patched, let_the_lease_run_out)
        work_job(workplace(home))

    assert ended(home, job_id).status is JobStatus.PENDING
    assert files(home) == []
    home.work()
    job = ended(home, job_id)
    assert (job.status, job.attempt, job.crashes) == (JobStatus.COMPLETED, 2, 1)
    assert content(home, job) == make.csv_lines("2024-01-01T00:00:00Z,123,0.5,2.1,230.1,9.1")


def test_a_job_that_took_five_workers_down_is_given_up(home: make.Home) -> None:
    home.load(make.readings(0.5))
    job_id = submitted(home)
    with Database(home.settings.jobs_url).write() as connection:
        connection.execute(update(jobs_table).values(crashes=5))

    work_job(workplace(home))

    job = ended(home, job_id)
    assert job.error is not None
    assert job.error.code == "EXPORT_CRASHED"


def test_a_later_attempt_reads_the_version_that_the_first_one_read(
    home: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.load(make.readings(0.5))
    job_id = submitted(home)
    stopping = threading.Event()
    at = workplace(home, stopping)
    with monkeypatch.context() as patched:
        encode_with(patched, stopping.set)
        work_job(at)
    home.load(make.readings(0.75))

    home.work()

    assert ",123,0.5," in content(home, ended(home, job_id))
    again = submitted(home)
    home.work()
    assert ",123,0.75," in content(home, ended(home, again))


def test_a_meter_that_the_catalogue_missed_is_found(home: make.Home) -> None:
    def nothing_known(meters: object) -> dict[str, int]:
        return {}

    home.services.readings.merge(
        [make.readings(0.5)], known_intervals=nothing_known, fence=lambda: None
    )
    job_id = submitted(home)

    home.work()

    assert ended(home, job_id).status is JobStatus.COMPLETED


@pytest.mark.parametrize(
    ("start_minute", "minutes", "rows"),
    [
        (0, 60, 60),
        (0, 10_000, 100),
        (-60, 60, 0),
        (-60, 61, 1),
        (99, 60, 1),
        (100, 60, 0),
        (5_000, 60, 0),
    ],
)
def test_the_rows_to_expect_are_those_of_the_period_within_the_meters_life(
    start_minute: int, minutes: int, rows: int
) -> None:
    last = make.JANUARY + timedelta(minutes=99)
    meter = MeterSummary("123", make.JANUARY, last, interval_s=60, rows=90)
    start = make.JANUARY + timedelta(minutes=start_minute)

    assert meter.expected_rows(make.period(start, minutes=minutes)) == rows


def test_a_part_of_an_interval_counts_as_one() -> None:
    meter = MeterSummary("123", make.JANUARY, make.JANUARY + timedelta(days=1), 900, rows=97)

    assert meter.expected_rows(make.period(minutes=16)) == 2
