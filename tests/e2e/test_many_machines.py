"""Jobs in PostgreSQL, messages through Celery, files in an S3 store: the same exports."""

import hashlib
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen

import httpx2
import pytest

from meterport.domain.exports import ExportRequest
from meterport.services.sweep import sweep
from tests import brokers, make, servers
from tests.brokers import Store, Valkey
from tests.e2e.machines import BUCKET, Machines, create, file_of
from tests.e2e.machines import machines as on_machines
from tests.e2e.service import csv_of, session, wait_until

ROWS = 2_000
FLEET = [f"F{number:03}" for number in range(200)]


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    """One of the test's own: it is killed."""
    with brokers.valkey() as server:
        yield server


@pytest.fixture
def machines(tmp_path: Path, postgres_url: str, s3: Store, valkey: Valkey) -> Iterator[Machines]:
    readings = make.many_readings(ROWS)
    readings_url = f"s3://{BUCKET}/readings-{uuid.uuid4().hex}"
    urls = {"broker_url": valkey.url, "readings_url": readings_url}
    given = urls | {"job_lease_s": "2", "part_rows": "600"}
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


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_celery_worker_shows_that_it_is_there_before_its_first_job(
    machines: Machines, pool: str
) -> None:
    api = machines.api()
    before = api.get("/readyz")

    machines.celery(pool)

    wait_until(lambda: api.get("/readyz").status_code == 200)
    assert before.status_code == 503
    assert before.json()["checks"]["workers"] == "no worker"


def test_a_machine_begins_without_a_data_folder(machines: Machines, valkey: Valkey) -> None:
    own = {"METERPORT_DATA": str(machines.folder / "own")}
    api = machines.api()
    valkey.kill()
    job_id = create(api, minutes=ROWS)
    valkey.start()

    machines.celery("prefork", own)
    machines.housekeeping(own)

    assert file_of(api, job_id) == csv_of("123", first=0, rows=ROWS)
    assert sorted(path.name for path in (machines.folder / "own").iterdir()) == []


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
        for pid in children_of(worker):
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


def test_a_fleet_is_one_file_though_a_worker_is_killed_in_the_middle(machines: Machines) -> None:
    home = machines.home
    home.load(*(make.readings(*values_of(meter), meter=meter) for meter in FLEET))
    workers = [machines.celery(pool) for pool in ("prefork", "prefork", "threads")]
    machines.housekeeping()
    first, second = machines.api(), machines.api()
    jobs = home.services.jobs

    job = home.submit(ExportRequest.of_fleet(FLEET, make.period()))
    wait_until(lambda: at_part(home, job.id), every_s=0.001)
    for pid in [*children_of(workers[0]), workers[0].pid]:
        os.kill(pid, signal.SIGKILL)

    whole = file_of(first, job.id)
    assert whole.decode() == make.csv_lines(*(row for meter in FLEET for row in rows_of(meter)))
    part = second.get(f"/api/export/download/{job.id}", headers={"Range": "bytes=1000-99999"})
    assert (part.status_code, part.content) == (206, whole[1000:100_000])
    ended = jobs.get(job.id)
    assert ended is not None
    assert ended.file is not None
    assert ended.file.sha256 == hashlib.sha256(whole).hexdigest()
    assert len(jobs.pieces(ended)) > 10
    assert sweep(archive=home.services.archive, objects=home.services.objects) <= 2
    assert len(list(home.services.objects.keys())) == len(jobs.pieces(ended))


def children_of(worker: Popen[str]) -> list[int]:
    return [one.pid for one in session(worker.pid) if one.pid != worker.pid]


def values_of(meter: str) -> list[float]:
    number = int(meter[1:])
    return [number + minute / 100 for minute in range(60)]


def rows_of(meter: str) -> list[str]:
    return [
        f"2024-01-01T00:{minute:02}:00Z,{meter},{kwh},2.1,230.1,9.1"
        for minute, kwh in enumerate(values_of(meter))
    ]


def at_part(home: make.Home, job_id: str) -> bool:
    job = home.services.jobs.get(job_id)
    return job is not None and job.parts_left not in (None, 0) and job.rows_written > 0
