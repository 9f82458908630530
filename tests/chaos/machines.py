"""What the chaos tests of the distributed profile share: what must be at the end of each."""

from collections.abc import Collection
from contextlib import suppress

from meterport.domain.jobs import Job, JobStatus
from meterport.services.sweep import sweep
from tests.chaos.harness import Chaos, wait_until
from tests.e2e.machines import Machines


def job_of(at: Machines, job_id: str) -> Job:
    job = at.home.services.jobs.get(job_id)
    assert job is not None
    return job


def end_of_log(at: Machines) -> str:
    """What its processes said last: the cause of a failure that comes once in a hundred runs."""
    return at.log.read_text(errors="replace")[-20_000:]


def wait_for_ends(chaos: Chaos, at: Machines, job_ids: Collection[str]) -> None:
    """What has not ended when patience is at its end, the count of lost jobs will tell."""

    def all_ended() -> bool:
        jobs = [at.home.services.jobs.get(job_id) for job_id in job_ids]
        return all(job is None or job.status is not JobStatus.PENDING for job in jobs)

    with suppress(AssertionError):
        wait_until(all_ended, every_s=0.1, within_s=chaos.patience_s)


def content(at: Machines, job: Job) -> bytes:
    """What the store has under the key in the job's row; nothing if there is none."""
    if job.file is None or job.file.key not in at.files():
        return b""
    with at.home.services.objects.open(job.file.key) as opened:
        return opened.read()


def check_leftovers(chaos: Chaos, at: Machines) -> None:
    """After the sweep the store has the files that rows name, and no unfinished upload."""
    s = at.home.services
    sweep(archive=s.archive, objects=s.objects)
    named = {file.key: file.size_bytes for _, file in s.archive.kept_files()}
    files, uploads = at.files(), at.uploads()
    left = sorted(set(files) - set(named))
    chaos.expect(not left, f"left over: {left}")
    chaos.expect(not uploads, f"uploads that nobody finished: {uploads}")
    chaos.expect(named.items() <= files.items(), f"gone or cut: {set(named) - set(files)}")
    chaos.count(left_over=len(left), unfinished_uploads=len(uploads))
