"""A fleet of three meters: loaded, asked for, worked on step by step, downloaded."""

from starlette.testclient import TestClient

from meterport.domain.exports import ExportRequest
from meterport.domain.jobs import Job
from meterport.services.work_job import work_job
from tests import make
from tests.unit.exports import workplace

METERS = ("A", "B", "C")
WHOLE = make.csv_lines(
    "2024-01-01T00:00:00Z,A,0.5,2.1,230.1,9.1",
    "2024-01-01T00:01:00Z,A,0.6,2.1,230.1,9.1",
    "2024-01-01T00:00:00Z,B,,2.1,230.1,9.1",
    "2024-01-01T00:01:00Z,B,0.8,2.1,230.1,9.1",
    "2024-01-01T00:00:00Z,C,0.9,2.1,230.1,9.1",
    "2024-01-01T00:01:00Z,C,1.0,2.1,230.1,9.1",
)


def asked(home: make.Home, *meters: str) -> Job:
    return home.submit(ExportRequest.of_fleet(meters or METERS, make.period()))


def work(home: make.Home, part_rows: int = 2) -> None:
    while work_job(workplace(home, part_rows=part_rows)):
        pass


def work_once(home: make.Home, part_rows: int = 2) -> Job:
    assert work_job(workplace(home, part_rows=part_rows))
    return home.services.archive.recent(1)[0]


def get(client: TestClient, job: Job, **headers: str) -> bytes:
    return client.get(f"/api/export/download/{job.id}", headers=headers).content
