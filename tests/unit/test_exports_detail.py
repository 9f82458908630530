"""GET /api/exports/{id}: every phase of an export's life, and what can be done in it."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from starlette.testclient import TestClient

from meterport.domain.jobs import Job, JobStatus, Lease, Phase
from tests import make
from tests.answers import assert_refused
from tests.unit.fleets import work_once
from tests.unit.rich import NOBODYS, body, created, echo, shown, without_times

TIME = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ"


def test_a_finished_export_tells_of_its_file_and_gaps(client: TestClient, home: make.Home) -> None:
    home.load(make.readings(0.5), make.readings(0.7, start=make.JANUARY + timedelta(minutes=3)))
    job_id = created(client)
    home.work()

    said = shown(client, job_id)

    assert re.fullmatch(TIME, said["file"].pop("expires_at"))
    assert re.fullmatch("[0-9a-f]{64}", said["file"].pop("sha256"))
    assert without_times(said) == {
        "id": job_id,
        "phase": "completed",
        "attempt": 1,
        "request": echo(),
        "meters": 1,
        "source_version": 1,
        "file": {
            "filename": "smart_meter_123_20240101_20240201.csv",
            "media_type": "text/csv; charset=utf-8",
            "rows": 2,
            "size_bytes": len(client.get(f"/api/export/download/{job_id}").content),
            "download_url": f"/api/export/download/{job_id}",
        },
        "gaps": {"intervals_expected": 4, "intervals_present": 2},
        "links": {
            "self": f"/api/exports/{job_id}",
            "rerun": f"/api/exports/{job_id}/rerun",
            "manifest": f"/api/exports/{job_id}/manifest",
            "download": f"/api/export/download/{job_id}",
            "links": f"/api/exports/{job_id}/links",
        },
    }


def test_a_failed_export_says_why(client: TestClient, home: make.Home) -> None:
    job_id = created(client, smart_meter_id="999")
    home.work()

    said = shown(client, job_id)

    assert without_times(said) == {
        "id": job_id,
        "phase": "failed",
        "attempt": 1,
        "request": echo(smart_meter_id="999"),
        "meters": 1,
        "error": {
            "code": "SMART_METER_NOT_FOUND",
            "message": "Smart meter with ID '999' not found",
            "details": "The specified smart meter does not exist in the system",
        },
        "links": {"self": f"/api/exports/{job_id}", "rerun": f"/api/exports/{job_id}/rerun"},
    }


def test_a_running_export_tells_how_far_it_is(client: TestClient, home: make.Home) -> None:
    job_id = created(client)
    jobs, lease = home.services.jobs, Lease("w")
    job = jobs.claim(lease)
    assert job is not None
    jobs.begin(job, source_version=1, rows_expected=44_640)

    before = shown(client, job_id)
    jobs.renew(job, lease, rows_written=18_700)
    answer = client.get(f"/api/exports/{job_id}")

    said = answer.json()
    assert before["phase"] == said["phase"] == "running"
    assert "progress" not in before
    assert said["progress"].pop("eta_seconds") >= 0
    assert said["progress"] == {"percent": 41, "rows_written": 18_700, "rows_expected": 44_640}
    assert said["source_version"] == 1
    assert answer.headers["Retry-After"] == "1"


def test_an_export_that_was_handed_back_is_queued_again(
    client: TestClient, home: make.Home
) -> None:
    job_id = created(client)
    job = home.services.jobs.claim(Lease("w"))
    assert job is not None
    home.services.jobs.hand_back(job)

    said = shown(client, job_id)

    assert (said["phase"], said["attempt"]) == ("queued", 1)


def test_a_fleet_is_running_until_its_parts_are_written_and_then_joined(
    client: TestClient, loaded: make.Home
) -> None:
    job_id = created(client, smart_meter_id=None, smart_meter_ids="all")
    phases = [shown(client, job_id)["phase"]]

    for _ in range(5):
        work_once(loaded)
        phases.append(shown(client, job_id)["phase"])

    assert phases == ["queued", "running", "running", "running", "finalizing", "completed"]


def test_an_expired_export_has_a_file_that_is_no_longer_kept(
    client: TestClient, home: make.Home
) -> None:
    home.load(make.readings(0.5))
    job_id = created(client)
    home.work()
    home.services.history.expire(job_id)

    said = shown(client, job_id)

    assert said["phase"] == "expired"
    assert said["file"]["rows"] == 1
    assert "download_url" not in said["file"]
    assert said["links"] == {
        "self": f"/api/exports/{job_id}",
        "rerun": f"/api/exports/{job_id}/rerun",
    }


@pytest.mark.parametrize("end", ["", "/cancel", "/rerun", "/manifest"])
@pytest.mark.parametrize("unknown", [NOBODYS, "17", "%00", "x" * 65])
def test_an_unknown_export_is_a_404_with_its_code(
    client: TestClient, unknown: str, end: str
) -> None:
    method = "POST" if end in ("/cancel", "/rerun") else "GET"

    answer = client.request(method, f"/api/exports/{unknown}{end}")

    assert_refused(answer, 404, "JOB_NOT_FOUND")


def test_an_unknown_id_is_quoted_where_that_does_no_harm(client: TestClient) -> None:
    harmless, long = (client.get(f"/api/exports/{id_}") for id_ in ("17", "x" * 65))

    assert harmless.json()["message"] == "there is no job '17'; GET /api/exports lists them"
    assert long.json()["message"] == (
        "there is no job a string of 65 characters; GET /api/exports lists them"
    )


def test_an_id_is_found_in_either_case_and_with_a_slash_behind_it(client: TestClient) -> None:
    job_id = created(client)

    for spelling in (job_id.upper(), f"{job_id}/"):
        assert shown(client, spelling)["id"] == job_id


def test_head_answers_as_get_without_a_body(client: TestClient) -> None:
    job_id = created(client)

    get, head = client.get(f"/api/exports/{job_id}"), client.head(f"/api/exports/{job_id}")

    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["Content-Length"] == str(len(get.content))


def test_another_method_is_a_405(client: TestClient) -> None:
    assert_refused(client.put(f"/api/exports/{NOBODYS}", json={}), 405, "METHOD_NOT_ALLOWED")


def running(**given: object) -> Job:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    job = Job(
        id="x",  # type: ignore[arg-type]
        request=make.request(),
        status=JobStatus.PENDING,
        created_at=began,
        updated_at=began,
        phase=Phase.RUNNING,
        attempt=1,
        started_at=began,
        rows_written=250,
        rows_expected=1000,
    )
    return replace(job, **given)  # type: ignore[arg-type]


def test_what_is_left_takes_as_long_as_what_is_done() -> None:
    now = datetime(2026, 1, 1, 0, 0, 20, tzinfo=UTC)

    assert running().time_left(now) == timedelta(seconds=60)


@pytest.mark.parametrize(
    "given",
    [
        {"attempt": 2},
        {"crashes": 1},
        {"retries": 1},
        {"rows_written": 0},
        {"rows_written": 9},
        {"started_at": None},
        {"started_at": datetime(2027, 1, 1, tzinfo=UTC)},
        {"phase": Phase.CANCELLED},
        {"phase": Phase.FINALIZING},
    ],
)
def test_where_the_rows_tell_nothing_no_time_is_told(given: dict[str, object]) -> None:
    now = datetime(2026, 1, 1, 0, 0, 20, tzinfo=UTC)

    assert running(**given).time_left(now) is None


def test_no_key_is_ever_null(client: TestClient, home: make.Home) -> None:
    home.load(make.readings(0.5))
    ids = [created(client), created(client, smart_meter_id="999")]

    home.work()

    for job_id in [*ids, str(client.post("/api/exports", json=body()).json()["id"])]:
        assert "null" not in client.get(f"/api/exports/{job_id}").text
