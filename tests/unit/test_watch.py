"""Waiting for a job: `Prefer: wait=20`, and one look for all who wait."""

import asyncio
import threading
from collections.abc import Collection, Mapping
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from meterport.domain.errors import ServiceUnavailable
from meterport.domain.jobs import Job, JobId, JobStatus
from meterport.web.watch import Watch, wait_asked_for
from tests import make


class Database:
    """Of which the job is `after` so many looks."""

    def __init__(self, job: Job, after: int, *, then: Job | None) -> None:
        self.looks = 0
        self._job, self._after, self._then = job, after, then

    def look(self, ids: Collection[JobId]) -> Mapping[JobId, Job]:
        self.looks += 1
        assert list(ids) == [self._job.id]
        found = self._job if self.looks <= self._after else self._then
        return {} if found is None else {found.id: found}


@pytest.fixture
def job(home: make.Home) -> Job:
    return home.submit(make.request())


def ended(job: Job) -> Job:
    return replace(job, status=JobStatus.COMPLETED)


def test_who_waits_gets_the_job_when_it_has_ended(job: Job) -> None:
    database = Database(job, 2, then=ended(job))
    watch = Watch(database.look, every_s=0)

    found = asyncio.run(watch.until(job, Job.has_ended, within_s=60))

    assert (found, database.looks) == (ended(job), 3)


def test_a_thousand_who_wait_take_one_look(job: Job) -> None:
    database = Database(job, 1, then=ended(job))
    watch = Watch(database.look, every_s=0.01)

    async def all_of_them() -> list[Job | None]:
        waits = (watch.until(job, Job.has_ended, within_s=60) for _ in range(1000))
        return await asyncio.gather(*waits)

    assert asyncio.run(all_of_them()) == [ended(job)] * 1000
    assert database.looks == 2


def test_when_the_time_is_over_the_job_is_told_as_it_was_last_seen(job: Job) -> None:
    running = replace(job, rows_written=7)
    watch = Watch(Database(job, 0, then=running).look, every_s=0)

    assert asyncio.run(watch.until(job, Job.has_ended, within_s=0.05)) == running


def test_a_job_that_has_ended_is_not_waited_for(job: Job) -> None:
    database = Database(job, 0, then=None)
    watch = Watch(database.look)

    assert asyncio.run(watch.until(ended(job), Job.has_ended, within_s=60)) == ended(job)
    assert database.looks == 0


def test_a_job_that_is_gone_is_told(job: Job) -> None:
    watch = Watch(Database(job, 1, then=None).look, every_s=0)

    assert asyncio.run(watch.until(job, Job.has_ended, within_s=60)) is None


def test_a_service_that_stops_sends_all_away(job: Job) -> None:
    database = Database(job, 10**9, then=None)
    watch = Watch(database.look, every_s=0)

    async def stopped_meanwhile() -> Job | None:
        wait = asyncio.create_task(watch.until(job, Job.has_ended, within_s=60))
        while database.looks < 3:
            await asyncio.sleep(0)
        watch.stop()
        return await wait

    assert asyncio.run(stopped_meanwhile()) == job


def test_there_are_as_many_places_as_were_given_and_they_are_given_back(job: Job) -> None:
    watch = Watch(Database(job, 0, then=None).look, most=2)

    with watch.place(), watch.place():
        with pytest.raises(ServiceUnavailable, match="too many clients wait"), watch.place():
            pass
        assert watch.taken == 2

    assert watch.taken == 0


def test_who_comes_when_all_places_are_taken_is_answered_at_once(
    client: TestClient, home: make.Home
) -> None:
    job_id = client.post("/api/export/csv", json=make.body()).json()["job_id"]
    client.app.state.watch = Watch(home.services.archive.some, most=0)  # type: ignore[attr-defined]

    answer = client.get(f"/api/export/status/{job_id}", headers={"Prefer": "wait=30"})

    assert (answer.status_code, answer.json()["status"]) == (200, "pending")
    assert "Preference-Applied" not in answer.headers


def test_a_database_that_is_away_for_a_while_ends_no_wait(job: Job) -> None:
    looks = iter(range(3))

    def look(_: Collection[JobId]) -> Mapping[JobId, Job]:
        if next(looks) < 2:
            raise ServiceUnavailable("the database is away")
        return {job.id: ended(job)}

    watch = Watch(look, every_s=0)

    assert asyncio.run(watch.until(job, Job.has_ended, within_s=60)) == ended(job)


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("wait=20", 20),
        ("wait=0", 0),
        ("WAIT = 5", 5),
        ('wait="5"', 5),
        ("respond-async, wait=10", 10),
        ("wait=10; x=y, wait=3", 10),
        ("wait=31", 30),
        ("wait=" + "9" * 10_000, 30),
        ("wait=-1", 0),
        ("wait=1.5", 0),
        ("wait=²", 0),
        ("waiting=5", 0),
    ],
)
def test_what_is_preferred_is_read_as_rfc_7240_has_it(prefer: str | None, seconds: int) -> None:
    assert wait_asked_for(prefer) == seconds


def test_a_status_is_answered_when_the_job_has_ended(client: TestClient, home: make.Home) -> None:
    home.load(make.readings(0.5))
    job_id = client.post("/api/export/csv", json=make.body()).json()["job_id"]
    worker = threading.Timer(0.2, home.work)
    worker.start()

    answer = client.get(f"/api/export/status/{job_id}", headers={"Prefer": "wait=30"})

    worker.join()
    assert answer.json()["status"] == "completed"
    assert answer.headers["Preference-Applied"] == "wait=30"
    assert "Retry-After" not in answer.headers
    assert answer.json() == client.get(f"/api/export/status/{job_id}").json()


def test_a_job_that_takes_longer_is_pending_after_the_wait(client: TestClient) -> None:
    job_id = client.post("/api/export/csv", json=make.body()).json()["job_id"]

    answer = client.get(f"/api/export/status/{job_id}", headers={"Prefer": "wait=1"})

    assert (answer.status_code, answer.json()["status"]) == (200, "pending")
    assert answer.headers["Retry-After"] == "1"


def test_nobody_waits_for_a_job_that_is_unknown(client: TestClient) -> None:
    answer = client.get("/api/export/status/nobody", headers={"Prefer": "wait=30"})

    assert answer.status_code == 404
    assert answer.json() == {
        "status": "not_found",
        "message": "Job with ID 'nobody' not found",
    }
