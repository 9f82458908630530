"""Jobs in PostgreSQL, messages through Celery, files in an S3 store: the same exports."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests import brokers, make, servers
from tests.brokers import Store, Valkey
from tests.e2e.machines import Machines, create, file_of
from tests.e2e.machines import machines as on_machines
from tests.e2e.service import csv_of, session, wait_until

ROWS = 2_000


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    """One of the test's own: it is killed."""
    with brokers.valkey() as server:
        yield server


@pytest.fixture
def machines(tmp_path: Path, postgres_url: str, s3: Store, valkey: Valkey) -> Iterator[Machines]:
    readings = make.many_readings(ROWS)
    given = {"broker_url": valkey.url, "job_lease_s": 2}
    with (
        servers.database(postgres_url) as url,
        on_machines(tmp_path, s3, url, readings, **given) as made,
    ):
        yield made


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_an_export_goes_through_celery_to_the_object_store(machines: Machines, pool: str) -> None:
    machines.celery(pool)
    first, second = machines.api(), machines.api()

    job_id = create(first, minutes=ROWS)

    assert file_of(second, job_id) == csv_of("123", first=0, rows=ROWS)
    part = second.get(f"/api/export/download/{job_id}", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, csv_of("123", first=0, rows=1)[10:20])
    job = machines.home.services.jobs.get(job_id)
    assert job is not None
    assert (job.attempt, job.crashes) == (1, 0)


def test_a_job_is_accepted_without_the_broker_and_runs_when_it_is_back(
    machines: Machines, valkey: Valkey
) -> None:
    api = machines.api()
    valkey.kill()

    job_id = create(api, minutes=ROWS)

    valkey.start()
    machines.celery("threads")
    machines.housekeeping()
    assert file_of(api, job_id) == csv_of("123", first=0, rows=ROWS)


def test_a_job_of_a_celery_worker_that_was_killed_runs_again(machines: Machines) -> None:
    worker = machines.celery("prefork")
    machines.housekeeping()
    api = machines.api()
    assert file_of(api, create(api, minutes=ROWS))
    jobs = machines.home.services.jobs

    def killed_at_work() -> str:
        job_id = create(api, minutes=ROWS)
        wait_until(lambda: (job := jobs.get(job_id)) and job.attempt, every_s=0.001)
        children = [one.pid for one in session(worker.pid) if one.pid != worker.pid]
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        job = jobs.get(job_id)
        return job_id if job is not None and job.status == "pending" else ""

    job_id = wait_until(killed_at_work)

    assert file_of(api, job_id) == csv_of("123", first=0, rows=ROWS)
    job = jobs.get(job_id)
    assert job is not None
    assert (job.attempt, job.crashes) == (2, 1)


def test_a_file_that_was_changed_in_the_store_is_cut_off(machines: Machines) -> None:
    machines.celery("threads")
    api = machines.api()
    job_id = create(api, minutes=ROWS)
    whole = file_of(api, job_id)
    objects = machines.home.services.objects
    with objects.draft(f"{job_id}/1") as draft:
        draft.write(whole[:-2] + b"0\n")
        draft.publish()

    with pytest.raises(httpx2.HTTPError):
        api.get(f"/api/export/download/{job_id}")
