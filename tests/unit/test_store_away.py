"""A store of files that does not answer is an outage: no crash of a job, no defect of the API."""

from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient

from meterport.domain.errors import StorageUnavailable
from meterport.domain.jobs import Job, JobStatus, RetryPolicy
from meterport.services.work_job import work_job
from meterport.web.app import create_app
from tests import make
from tests.answers import assert_refused
from tests.unit.exports import error_code, now, submitted, workplace

AWAY = StorageUnavailable("The object store failed (GenericError)", "The log names the cause")


class Away:
    """The home's own files, but those calls fail."""

    def __init__(self, home: make.Home, *calls: str) -> None:
        self._files = home.services.objects
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        if name in self._calls:
            raise AWAY
        return getattr(self._files, name)


@pytest.fixture
def job(home: make.Home) -> Job:
    """A job that waits."""
    home.load(make.readings(0.5))
    return submitted(home)


def test_an_attempt_that_cannot_even_clean_up_is_retried_and_counts_as_no_crash(
    job: Job, home: make.Home
) -> None:
    work_job(workplace(home, objects=Away(home, "draft", "delete")))

    waiting = now(home, job)
    assert (waiting.status, waiting.retries, waiting.crashes) == (JobStatus.PENDING, 1, 0)


def test_a_store_that_stays_away_fails_the_job_with_its_own_code(job: Job, home: make.Home) -> None:
    policy = RetryPolicy(retries=0)

    work_job(workplace(home, objects=Away(home, "draft", "delete"), policy=policy))

    assert error_code(home, job) == "STORAGE_UNAVAILABLE"


def test_a_download_from_a_store_that_is_away_is_to_be_tried_again(
    job: Job, home: make.Home
) -> None:
    home.work()
    services = replace(home.services, objects=Away(home, "stat"))
    with TestClient(create_app(services, home.settings), base_url="http://localhost") as client:
        answer = client.get(f"/api/export/download/{job.id}")

    assert_refused(answer, 503, "STORAGE_UNAVAILABLE")
    assert answer.headers["Retry-After"] == "5"
