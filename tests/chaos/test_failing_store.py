"""R15: the object store fails: errors, refusals, resets, answers that are lost."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import httpx2
import pytest

from meterport.adapters.s3_uploads import S3Uploads
from meterport.domain.jobs import Job, JobStatus
from tests import make, servers
from tests.brokers import Store
from tests.chaos.harness import WITHIN_S, Chaos, spoilt
from tests.chaos.machines import check_leftovers, content, job_of, wait_for_ends
from tests.chaos.proxy import FAULTS, Proxy, proxy
from tests.e2e.machines import Machines, machines
from tests.e2e.service import Service, csv_of, running

pytestmark = pytest.mark.promise("R15")

ROWS = 150_000
"""More than one part of an upload."""

RETRIES = 3
READABLE = {"STORAGE_UNAVAILABLE", "FILE_GENERATION_FAILED"}
SOON = {"METERPORT_JOB_RETRY_S": "0.05", "METERPORT_JOB_LEASE_S": "5"}


@cache
def expected(minutes: int) -> bytes:
    return csv_of("123", first=0, rows=minutes)


@dataclass
class Weather:
    """Which requests of a round fail: a part of them by chance, or all; some may be the last."""

    chaos: Chaos
    part: float
    kinds: tuple[str, ...]
    requests: int = 1_000_000

    def __call__(self, method: str, path: str) -> str:
        self.requests -= 1
        bad = self.requests >= 0 and self.chaos.random.random() < self.part
        return self.chaos.random.choice(self.kinds) if bad else ""


def bad_day(chaos: Chaos) -> Weather:
    return Weather(chaos, 0.15, tuple(FAULTS))


def lost_answers(chaos: Chaos) -> Weather:
    return Weather(chaos, 0.3, ("reply_lost",))


def no_access(chaos: Chaos) -> Weather:
    return Weather(chaos, 1.0, ("forbidden",))


def outage(chaos: Chaos) -> Weather:
    return Weather(chaos, 1.0, ("reset", "internal_error", "slow_down"), requests=8)


WEATHERS = (bad_day, lost_answers, no_access, outage)


@dataclass
class Exports:
    chaos: Chaos
    at: Machines
    service: Service
    jobs: int
    wanted: dict[str, int] = field(default_factory=dict)

    def post(self) -> set[str]:
        """A round's jobs."""
        minutes = [self.chaos.random.choice([1, 1440, ROWS]) for _ in range(self.jobs)]
        posted = {self.service.create("123", minutes=some): some for some in minutes}
        self.wanted |= posted
        return set(posted)

    def download(self, job_id: str) -> None:
        """Whole, or cut off, or to be tried again; never anything else."""
        try:
            answer = self.service.http.get(f"/api/export/download/{job_id}")
        except httpx2.HTTPError:
            self.chaos.count(downloads_cut=1)
            return
        later = answer.status_code in (409, 503) and "Retry-After" in answer.headers
        failed = answer.headers.get("X-Error-Code") == "EXPORT_FAILED"
        whole = answer.status_code == 200 and answer.content == expected(self.wanted[job_id])
        self.chaos.expect(whole or later or failed, f"download: {answer.status_code} {answer.text}")
        self.chaos.count(downloads=1)


def fail_store(
    chaos: Chaos, at: Machines, store: Proxy, service: Service, rounds: Iterable[Weather]
) -> None:
    exports = Exports(chaos, at, service, jobs=chaos.size(4, full=10))
    for weather in rounds:
        store.choose = weather
        posted = exports.post()
        wait_for_ends(chaos, at, posted)
        for job_id in posted:
            exports.download(job_id)
    store.choose = lambda method, path: ""
    last = exports.post()
    wait_for_ends(chaos, at, exports.wanted)
    chaos.count(requests_failed=store.faults.total(), jobs=len(exports.wanted))
    for job_id, minutes in exports.wanted.items():
        check(chaos, at, job_of(at, job_id), minutes, must_complete=job_id in last)
    check_leftovers(chaos, at)


def check(chaos: Chaos, at: Machines, job: Job, minutes: int, *, must_complete: bool) -> None:
    completed = job.status is JobStatus.COMPLETED
    code = "" if job.error is None else job.error.code
    if completed:
        whole = content(at, job) == expected(minutes)
        chaos.expect(whole, f"{job.id} is completed, and its file is another")
    else:
        gave_up = code in READABLE and job.retries == RETRIES and not must_complete
        chaos.expect(gave_up, f"{job.id}: {job.status} {code} after {job.retries} retries")
    chaos.expect(job.crashes == 0, f"{job.id} took an outage for a crash")
    lost = job.status is JobStatus.PENDING
    chaos.count(completed=completed, failed=bool(code), lost=lost, retries=job.retries)


@pytest.fixture
def store(s3: Store) -> Iterator[Proxy]:
    with proxy(s3.endpoint) as started:
        yield started


@pytest.fixture
def at(tmp_path: Path, postgres_url: str, s3: Store) -> Iterator[Machines]:
    readings = make.many_readings(ROWS)
    with servers.database(postgres_url) as url, machines(tmp_path, s3, url, readings) as made:
        yield made


@contextmanager
def serving(at: Machines, store: Proxy, *variants: str) -> Iterator[Service]:
    given = at.variables | SOON | {"METERPORT_STORE_ENDPOINT": store.endpoint}
    if variants:
        given |= spoilt(*variants)
    with running(at.home.settings.data, workers=2, **given) as service:
        yield service


def test_a_store_that_fails_costs_no_job(chaos: Chaos, at: Machines, store: Proxy) -> None:
    with serving(at, store) as service:
        rounds = chaos.size(1, full=12) * WEATHERS
        fail_store(chaos, at, store, service, [weather(chaos) for weather in rounds])

    assert chaos.found == []


def patient(broken: Chaos) -> Chaos:
    """Its jobs end, though wrongly."""
    broken.patience_s = WITHIN_S
    return broken


def test_a_product_that_overlooks_a_failed_upload_is_caught(
    chaos: Chaos, at: Machines, store: Proxy
) -> None:
    broken = patient(chaos.toothless("failed_uploads_overlooked"))

    with serving(at, store, "failed_uploads_overlooked") as service:
        fail_store(broken, at, store, service, [no_access(broken)])

    assert any("its file is another" in accident for accident in broken.found)


def test_a_sweep_that_overlooks_uploads_is_caught(
    chaos: Chaos, at: Machines, store: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = patient(chaos.toothless("uploads_left_behind"))
    monkeypatch.setattr(S3Uploads, "keys", lambda self: iter(()))  # the sweep is done here

    with serving(at, store, "uploads_left_behind") as service:
        # The first requests of all are those that begin an upload.
        fail_store(broken, at, store, service, [Weather(broken, 1.0, ("reply_lost",), requests=2)])

    assert any("nobody finished" in accident for accident in broken.found)
