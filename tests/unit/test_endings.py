"""How a job ends that meets an error, is called off, outruns its time or loses its database."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from meterport.adapters.sql_database import Database
from meterport.adapters.sql_jobs import SqlJobs
from meterport.adapters.sql_tables import jobs as jobs_table
from meterport.domain.completeness import Manifest
from meterport.domain.errors import (
    ExportCancelled,
    ExportTimeout,
    FileGenerationFailed,
    MeterportError,
    ServiceUnavailable,
    SourceDataInvalid,
    StorageFull,
)
from meterport.domain.exports import ExportFile
from meterport.domain.jobs import KEEP_FILES, Job, JobError, JobStatus, Lease, RetryPolicy
from meterport.services.heartbeat import Heartbeat, LeaseLost
from meterport.services.work_job import work_job
from tests import make
from tests.contracts.conftest import wait_until
from tests.unit.exports import (
    content,
    encode_with,
    error_code,
    files,
    now,
    submitted,
    workplace,
)

HOUR, NO_TIME = timedelta(hours=1), timedelta(0)
AT_ONCE = RetryPolicy(retries=2, first_delay=NO_TIME)
CSV = make.csv_lines("2024-01-01T00:00:00Z,123,0.5,2.1,230.1,9.1")
FULL = StorageFull("There is no space left for the file", "Free space")


@pytest.fixture
def job(home: make.Home) -> Job:
    """A job that waits, of one reading."""
    home.load(make.readings(0.5))
    return submitted(home)


def rewrite(home: make.Home, **values: object) -> None:
    with Database(home.settings.jobs_url).write() as connection:
        connection.execute(update(jobs_table).values(**values))


def failing_with(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail() -> None:
        raise error

    encode_with(monkeypatch, fail)


def test_an_error_that_may_pass_is_retried_and_counts_as_no_crash(
    job: Job, home: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        failing_with(patched, FULL)
        work_job(workplace(home, policy=AT_ONCE))
    meanwhile, left = now(home, job), files(home)

    work_job(workplace(home, policy=AT_ONCE))

    assert (meanwhile.status, meanwhile.retries, meanwhile.crashes) == (JobStatus.PENDING, 1, 0)
    assert left == []
    done = now(home, job)
    assert (done.attempt, done.retries, done.crashes) == (2, 1, 0)
    assert content(home, job) == CSV


@pytest.mark.parametrize(
    "error", [FULL, FileGenerationFailed("The file could not be written"), make.error()]
)
def test_an_error_that_does_not_pass_fails_the_job_with_its_own_code(
    error: MeterportError, job: Job, home: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_with(monkeypatch, error)
    at = workplace(home, policy=AT_ONCE)

    attempts = [work_job(at) for _ in range(4)]

    assert attempts == [True, True, True, False]
    failed = now(home, job)
    assert failed.error == JobError(error.code, error.message, error.details)
    assert (failed.status, failed.retries, failed.crashes) == (JobStatus.FAILED, 2, 0)
    assert files(home) == []


def test_a_retry_waits_and_lets_other_jobs_pass(
    job: Job, home: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = workplace(home, policy=RetryPolicy(first_delay=HOUR))
    with monkeypatch.context() as patched:
        failing_with(patched, FULL)
        work_job(patient)
    other = submitted(home)

    attempts = [work_job(patient), work_job(patient)]

    assert attempts == [True, False]
    assert now(home, other).status is JobStatus.COMPLETED
    assert now(home, job).attempt == 1
    rewrite(home, not_before=make.JANUARY)
    assert work_job(patient)
    assert content(home, job) == CSV


def test_the_wait_before_a_retry_is_the_policys_less_a_half_at_most(
    job: Job, home: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_with(monkeypatch, FULL)
    before = datetime.now(UTC)

    work_job(workplace(home, policy=RetryPolicy(first_delay=HOUR)))

    with Database(home.settings.jobs_url).read() as connection:
        not_before = connection.execute(jobs_table.select()).one().not_before
    assert before + HOUR / 2 - timedelta(seconds=1) <= not_before <= datetime.now(UTC) + HOUR


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SourceDataInvalid("more than one reading", "Import again"), "SOURCE_DATA_INVALID"),
        (ZeroDivisionError("a defect"), "INTERNAL_ERROR"),
    ],
)
def test_an_error_that_will_not_pass_fails_the_job_at_once(
    error: Exception, code: str, job: Job, home: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_with(monkeypatch, error)

    attempts = [work_job(workplace(home)), work_job(workplace(home))]

    assert attempts == [True, False]
    assert error_code(home, job) == code
    assert (now(home, job).attempt, now(home, job).retries) == (1, 0)
    assert files(home) == []


def test_a_policy_without_retries_fails_at_the_first_error(
    job: Job, home: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_with(monkeypatch, FULL)

    work_job(workplace(home, policy=RetryPolicy(retries=0)))

    assert error_code(home, job) == "STORAGE_FULL"


def test_a_job_that_is_called_off_while_it_is_written_leaves_no_file(
    job: Job, home: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode_with(monkeypatch, lambda: home.services.jobs.cancel(job.id))

    work_job(workplace(home))

    assert error_code(home, job) == "EXPORT_CANCELLED"
    assert files(home) == []


def test_a_job_that_is_called_off_hears_of_it_while_it_is_written(
    job: Job, home: make.Home
) -> None:
    claimed = home.services.jobs.claim(Lease("w", HOUR))
    assert claimed is not None
    running = heartbeat(home, claimed, threading.Event(), limit_s=3600)

    with running.beating():
        running.report(1)
        home.services.jobs.cancel(job.id)
        wait_until(lambda: raises(ExportCancelled, running))


def raises(error: type[Exception], running: Heartbeat) -> bool:
    try:
        running.report(1)
    except error:
        return True
    return False


class CancelledAtTheEnd(SqlJobs):
    """Somebody calls the job off when its file is published and its row is not yet written."""

    def complete(
        self,
        job: Job,
        file: ExportFile,
        manifest: Manifest | None = None,
        *,
        keep: timedelta = KEEP_FILES,
    ) -> bool:
        self.cancel(job.id)
        return super().complete(job, file, manifest, keep=keep)


def test_a_job_that_is_called_off_after_its_file_was_published_leaves_no_file(
    job: Job, home: make.Home
) -> None:
    jobs = CancelledAtTheEnd(Database(home.settings.jobs_url))

    work_job(workplace(home, jobs=jobs))

    assert error_code(home, job) == "EXPORT_CANCELLED"
    assert files(home) == []


def test_a_job_that_was_called_off_under_a_dead_worker_is_not_run_again(
    job: Job, home: make.Home
) -> None:
    assert home.services.jobs.claim(Lease("dead", HOUR))
    home.services.jobs.cancel(job.id)
    rewrite(home, lease_until=make.JANUARY)

    work_job(workplace(home))

    assert error_code(home, job) == "EXPORT_CANCELLED"
    assert files(home) == []


def test_a_job_that_outruns_its_time_ends_and_says_how_much_it_had(
    job: Job, home: make.Home
) -> None:
    work_job(workplace(home, time_limit=NO_TIME))

    assert now(home, job).error == JobError(
        "EXPORT_TIMEOUT",
        "The export was not finished within 0 seconds",
        "Ask for a shorter period, or raise METERPORT_JOB_TIME_LIMIT_S",
    )
    assert now(home, job).retries == 0
    assert files(home) == []


def heartbeat(home: make.Home, job: Job, abandoned: threading.Event, **given: float) -> Heartbeat:
    return Heartbeat(
        job,
        jobs=home.services.jobs,
        lease=Lease("w", HOUR),
        stopping=threading.Event(),
        time_limit=timedelta(seconds=given.get("limit_s", 0)),
        abandon=abandoned.set,
        grace_s=given.get("grace_s", 0),
    )


def test_an_attempt_that_never_reports_is_given_up_when_its_grace_is_over(
    job: Job, home: make.Home
) -> None:
    claimed = home.services.jobs.claim(Lease("w", HOUR))
    assert claimed is not None
    abandoned = threading.Event()
    hung = heartbeat(home, claimed, abandoned)

    with hung.beating():
        wait_until(abandoned.is_set)

    assert error_code(home, job) == "EXPORT_TIMEOUT"
    with pytest.raises(LeaseLost):
        hung.report(1)


def test_an_attempt_within_its_grace_is_not_given_up(job: Job, home: make.Home) -> None:
    claimed = home.services.jobs.claim(Lease("w", HOUR))
    assert claimed is not None
    abandoned = threading.Event()
    late = heartbeat(home, claimed, abandoned, grace_s=3600)

    with late.beating():
        seen = now(home, job).updated_at
        wait_until(lambda: now(home, job).updated_at > seen)

    assert not abandoned.is_set()
    assert now(home, job).status is JobStatus.PENDING
    with pytest.raises(ExportTimeout):
        late.report(1)


class Away(SqlJobs):
    """The database does not answer at these calls, each once."""

    def __init__(self, database: Database, *calls: str) -> None:
        super().__init__(database)
        self._calls = list(calls)

    def begin(self, job: Job, **given: Any) -> bool:
        self._answer("begin")
        return super().begin(job, **given)

    def complete(
        self,
        job: Job,
        file: ExportFile,
        manifest: Manifest | None = None,
        *,
        keep: timedelta = KEEP_FILES,
    ) -> bool:
        self._answer("complete")
        return super().complete(job, file, manifest, keep=keep)

    def fail(self, job: Job, error: MeterportError) -> bool:
        self._answer("fail")
        return super().fail(job, error)

    def hand_back(self, job: Job) -> bool:
        self._answer("hand_back")
        return super().hand_back(job)

    def _answer(self, call: str) -> None:
        if call in self._calls:
            self._calls.remove(call)
            raise ServiceUnavailable("the database does not answer; try again soon")


@pytest.mark.parametrize("calls", [["begin"], ["complete"], ["begin", "hand_back"]])
def test_a_database_that_goes_away_counts_as_no_crash(
    calls: list[str], job: Job, home: make.Home
) -> None:
    jobs = Away(Database(home.settings.jobs_url), *calls)

    work_job(workplace(home, jobs=jobs))

    assert now(home, job).status is JobStatus.PENDING
    home.work()
    done = now(home, job)
    assert (done.attempt, done.crashes, done.retries) == (2, 0, 0)
    assert content(home, job) == CSV


def test_a_database_that_goes_away_as_a_job_fails_counts_as_no_crash(home: make.Home) -> None:
    job = submitted(home, "unknown")
    jobs = Away(Database(home.settings.jobs_url), "fail")

    work_job(workplace(home, jobs=jobs))
    home.work()

    assert error_code(home, job) == "SMART_METER_NOT_FOUND"
    assert (now(home, job).attempt, now(home, job).crashes) == (2, 0)


def test_a_version_that_an_erasure_takes_away_under_an_attempt_is_replaced_by_the_newest(
    home: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.load(make.readings(0.5), make.readings(0.7, meter="other"))
    home.load(make.readings(0.75))
    job = submitted(home)

    class Erasing(SqlJobs):
        """Another meter is erased between the choice of the version and the first look at it."""

        def begin(self, job: Job, **given: Any) -> bool:
            begun = super().begin(job, **given)
            s = home.services
            s.erasures.begin("other")
            s.upkeep.erase("other", fence=lambda: None)
            s.upkeep.forget(
                older_than=NO_TIME, in_use=None, now=datetime.now(UTC), fence=lambda: None
            )
            return begun

    jobs = Erasing(Database(home.settings.jobs_url))
    work_job(workplace(home, jobs=jobs, policy=AT_ONCE))
    home.work()

    assert ",123,0.75," in content(home, job)
    assert (now(home, job).source_version, now(home, job).crashes) == (3, 0)


def test_a_job_whose_version_is_gone_before_it_begins_reads_the_newest(home: make.Home) -> None:
    home.load(make.readings(0.5))
    home.load(make.readings(0.75))
    s = home.services
    job = s.jobs.add(make.request(), owner="owner", source_version=1).job
    s.upkeep.forget(older_than=NO_TIME, in_use=None, now=datetime.now(UTC), fence=lambda: None)

    home.work()

    assert ",123,0.75," in content(home, job)
    assert (now(home, job).source_version, now(home, job).attempt) == (2, 1)


def test_a_file_is_kept_as_long_as_the_operator_says(job: Job, home: make.Home) -> None:
    work_job(workplace(home, keep_files=HOUR))

    done = now(home, job)
    assert done.expires_at is not None
    assert abs(done.expires_at - done.updated_at - HOUR) < timedelta(seconds=1)


def test_a_files_folder_that_is_gone_is_made_again(job: Job, home: make.Home) -> None:
    for folder in (home.settings.files / ".parts", home.settings.files):
        if folder.exists():
            folder.rmdir()
    again = submitted(home)

    home.work()

    assert content(home, job) == content(home, again) == CSV
