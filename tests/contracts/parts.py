"""Jobs in parts for the contract tests of a JobStore: asked for, cut, finished."""

from meterport.domain.exports import ExportFile, ExportRequest
from meterport.domain.fleets import Part
from meterport.domain.jobs import Job, Lane
from meterport.ports import JobStore
from tests import make
from tests.contracts.jobs import LEASE, claim, get

METERS = ("A", "B", "C", "D")


def plan(*bounds: tuple[int, int]) -> list[Part]:
    return [
        Part(number, first, end, make.period(), rows_expected=60 * (end - first))
        for number, (first, end) in enumerate(bounds, start=1)
    ]


THREE = plan((0, 1), (1, 3), (3, 4))


def added(jobs: JobStore, owner: str = "owner", lane: Lane = Lane.SMALL) -> Job:
    return jobs.add(ExportRequest.of_fleet(METERS, make.period()), owner=owner, lane=lane).job


def split(jobs: JobStore, owner: str = "owner", lane: Lane = Lane.SMALL) -> Job:
    job = added(jobs, owner, lane)
    claimed = jobs.claim(LEASE)
    assert claimed is not None
    assert claimed.id == job.id
    assert jobs.split(claimed, THREE, source_version=7)
    return get(jobs, job)


def part_file(job: Job) -> ExportFile:
    assert job.part is not None
    return ExportFile(job.key, rows=10 * job.part.number, size_bytes=100, sha256="cd" * 32)


def finish_parts(jobs: JobStore, count: int) -> list[Job]:
    done = [claim(jobs) for _ in range(count)]
    assert all(jobs.complete(job, part_file(job)) for job in done)
    return done


def whole_file(job: Job) -> ExportFile:
    return ExportFile(job.key_of_parts, rows=60, size_bytes=300, sha256="ef" * 32)
