"""Jobs in PostgreSQL, messages through Celery, files in an S3 store: the same exports."""

import os
import re
import select
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from tests import make, servers
from tests.brokers import Store, Valkey, valkey
from tests.e2e.service import COMMAND, ENVIRONMENT, WITHIN_S, body, csv_of, session, wait_until

ROWS = 2_000
CELERY = (sys.executable, "-m", "celery", "-A", "meterport.celery_app", "worker", "-c", "2")
QUEUES = ("-Q", "meterport-small,meterport-large", "--without-mingle", "--without-gossip")


@dataclass(frozen=True)
class Machines:
    """Processes on one home's settings; each `start` is another machine."""

    home: make.Home
    broker: Valkey
    environment: dict[str, str]
    folder: Path
    stack: ExitStack

    def start(self, *command: str, stdout: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self.stack.callback(_end, process)
        return process

    def api(self) -> httpx2.Client:
        process = self.start(*COMMAND, "api", "--port", "0", stdout=subprocess.PIPE)
        assert process.stdout is not None
        select.select([process.stdout], [], [], WITHIN_S)
        said = process.stdout.readline()
        url = re.search(r" on (http://\S+)", said)
        assert url, (self.folder / "log").read_text()[-2000:]
        client = httpx2.Client(base_url=url[1], trust_env=False, timeout=WITHIN_S)
        return self.stack.enter_context(client)

    def celery(self, pool: str) -> subprocess.Popen[str]:
        return self.start(*CELERY, "-P", pool, *QUEUES)


def _end(process: subprocess.Popen[str]) -> None:
    for one in session(process.pid):
        os.kill(one.pid, signal.SIGKILL)
    process.kill()
    process.wait(WITHIN_S)
    if process.stdout is not None:
        process.stdout.close()


@pytest.fixture
def machines(tmp_path: Path, postgres_url: str, s3: Store) -> Iterator[Machines]:
    with ExitStack() as stack:
        broker = stack.enter_context(valkey())
        url = stack.enter_context(servers.database(postgres_url))
        given = {
            "database_url": url,
            "broker_url": broker.url,
            "files_url": f"s3://exports/{uuid.uuid4().hex}",
            "job_lease_s": 2,
        }
        home = make.home(tmp_path, make.many_readings(ROWS), **given, **s3.settings())
        variables = given | {"data": home.settings.data, "log_format": "json"}
        environment = ENVIRONMENT | s3.variables()
        environment |= {f"METERPORT_{name.upper()}": str(v) for name, v in variables.items()}
        yield Machines(home, broker, environment, tmp_path, stack)


def create(api: httpx2.Client) -> str:
    answer = api.post("/api/export/csv", json=body("123", 0, ROWS))
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job_id"])


def file_of(api: httpx2.Client, job_id: str) -> bytes:
    def ended() -> bool:
        return bool(api.get(f"/api/export/status/{job_id}").json()["status"] != "pending")

    wait_until(ended)
    return api.get(f"/api/export/download/{job_id}").content


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_an_export_goes_through_celery_to_the_object_store(machines: Machines, pool: str) -> None:
    machines.celery(pool)
    first, second = machines.api(), machines.api()

    job_id = create(first)

    assert file_of(second, job_id) == csv_of("123", first=0, rows=ROWS)
    part = second.get(f"/api/export/download/{job_id}", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, csv_of("123", first=0, rows=1)[10:20])
    job = machines.home.services.jobs.get(job_id)
    assert job is not None
    assert (job.attempt, job.crashes) == (1, 0)


def test_a_job_is_accepted_without_the_broker_and_runs_when_it_is_back(
    machines: Machines,
) -> None:
    api = machines.api()
    machines.broker.kill()

    job_id = create(api)

    machines.broker.start()
    machines.celery("threads")
    machines.start(*COMMAND, "housekeeping")
    assert file_of(api, job_id) == csv_of("123", first=0, rows=ROWS)


def test_a_job_of_a_celery_worker_that_was_killed_runs_again(machines: Machines) -> None:
    worker = machines.celery("prefork")
    machines.start(*COMMAND, "housekeeping")
    api = machines.api()
    assert file_of(api, create(api))
    jobs = machines.home.services.jobs

    def killed_at_work() -> str:
        job_id = create(api)
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
    job_id = create(api)
    whole = file_of(api, job_id)
    objects = machines.home.services.objects
    with objects.draft(f"{job_id}/1") as draft:
        draft.write(whole[:-2] + b"0\n")
        draft.publish()

    with pytest.raises(httpx2.HTTPError):
        api.get(f"/api/export/download/{job_id}")
