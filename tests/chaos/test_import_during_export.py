"""R27: readings corrected while they are exported. Each export is one version, and that whole.

Between the corrections small files are joined, and all versions are removed that no unfinished
job reads; those that one reads stay.
"""

import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from meterport.adapters.sql_job_archive import SqlJobArchive
from meterport.adapters.sql_jobs import SqlJobs
from meterport.domain.jobs import Job, Lease, RetryPolicy
from tests import make
from tests.chaos.harness import Chaos, Zygote, wait_until, zygote
from tests.chaos.load import Exports, Writer, keep, submitted

pytestmark = pytest.mark.promise("R27")

ROWS = 60_000
FRAME_ROWS = 10_000
"""So that an export reads the table several times, in two months' files."""

WORKERS = 2
WARM = {"job_lease_s": 5, "job_retry_s": 0.01}


def export_while_writing(chaos: Chaos, home: make.Home, processes: Zygote, *, exports: int) -> None:
    writer = Writer(home, random.Random(chaos.random.random()), rows=ROWS)  # noqa: S311
    wanted = Exports(home, wanted=exports, rows=ROWS)
    with writer.writing():
        for _ in range(WORKERS):
            processes.start("worker", home.settings.data, settings=WARM, frame_rows=FRAME_ROWS)
        wait_until(wanted.all_ended, every_s=0.02, within_s=10 * chaos.patience_s)
    chaos.found.extend(writer.accidents)
    for job in wanted.ended:
        check(chaos, home, job, writer)
    chaos.count(
        exports=len(wanted.ended),
        versions_exported=len({job.source_version for job in wanted.ended}),
        corrections=len(writer.corrections),
        upkeeps=writer.upkeeps,
    )


def check(chaos: Chaos, home: make.Home, job: Job, writer: Writer, *, rows: int = ROWS) -> None:
    if job.file is None or job.source_version is None:
        chaos.found.append(f"{job.id} ended as {job.status}: {job.error}")
        return
    with home.services.objects.open(job.file.key) as opened:
        right = opened.read() == writer.csv_at(job.source_version)
    chaos.expect(right, f"{job.id} is not version {job.source_version}, or not whole")
    chaos.expect(job.file.rows == rows, f"{job.id} has {job.file.rows} rows")


@pytest.fixture
def home(tmp_path: Path) -> make.Home:
    return make.home(tmp_path)


def test_each_export_is_one_version(chaos: Chaos, home: make.Home, tmp_path: Path) -> None:
    with zygote(tmp_path) as processes:
        export_while_writing(chaos, home, processes, exports=chaos.size(60, full=600))

    assert chaos.found == []


def test_an_export_that_reads_what_is_newest_is_caught(
    chaos: Chaos, home: make.Home, tmp_path: Path
) -> None:
    broken = chaos.toothless("reads_the_newest")

    with zygote(tmp_path, "reads_the_newest") as processes:
        for _ in range(5):
            export_while_writing(broken, home, processes, exports=20)
            if broken.found:
                break

    assert any("is not version" in accident for accident in broken.found)


def correct_under_a_slow_job(chaos: Chaos, home: make.Home, *, corrections: int) -> None:
    """It began on the first version, and goes on when many are written and cleaned up."""
    writer = Writer(home, chaos.random, rows=60)
    writer.correct()
    s = home.services
    first = writer.acknowledged
    submitted(home, minutes=60)
    job = s.jobs.claim(Lease("a slow worker", timedelta(hours=1)))
    assert job is not None
    assert s.jobs.begin(job, source_version=first, rows_expected=60)
    for _ in range(corrections):
        writer.correct()
        keep(home)
    chaos.expect(s.source.keeps(first), f"version {first} was removed while it was read")
    s.jobs.hand_back(job)
    home.work()
    ended = s.jobs.get(job.id)
    assert ended is not None
    check(chaos, home, ended, writer, rows=60)
    chaos.expect(ended.source_version == first, "another version was read in the end")
    keep(home)
    chaos.expect(not s.source.keeps(first), "a version is kept that nobody reads")


def test_a_version_is_kept_as_long_as_a_job_reads_it(chaos: Chaos, home: make.Home) -> None:
    correct_under_a_slow_job(chaos, home, corrections=chaos.size(10, full=200))

    assert chaos.found == []


def test_an_upkeep_that_forgets_versions_in_use_is_caught(
    chaos: Chaos, home: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = chaos.toothless("versions_in_use_are_unknown")
    monkeypatch.setattr(SqlJobArchive, "oldest_version_in_use", lambda self: None)

    correct_under_a_slow_job(broken, home, corrections=2)

    assert any("was removed while it was read" in accident for accident in broken.found)


def test_a_version_that_goes_before_it_is_pinned_costs_an_attempt_and_not_the_job(
    home: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.load(make.readings(1.0))
    jobs = home.services.jobs
    job_id = submitted(home, minutes=60)

    with monkeypatch.context() as patched:
        patched.setattr(SqlJobs, "begin", superseded_before(home, SqlJobs.begin))
        home.work(RetryPolicy(first_delay=timedelta(0)))
    job = jobs.get(job_id)

    assert job is not None
    assert job.file is not None, job.error
    with home.services.objects.open(job.file.key) as opened:
        assert b",123,2.0," in opened.read()
    assert (job.attempt, job.retries) == (2, 1)


def superseded_before(home: make.Home, begin: Callable[..., bool]) -> Callable[..., bool]:
    """An import and an upkeep come between the look at the newest version and its pinning."""
    once = iter([2.0])

    def late(self: SqlJobs, job: Job, **how: Any) -> bool:
        for value in once:
            home.load(make.readings(value))
            keep(home)
        return begin(self, job, **how)

    return late
