"""GET /api/export/status/{job_id}: golden bodies for every state, and the 404."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from meterport.domain.jobs import Job, JobStatus, Lease
from meterport.web.contract import status_body
from tests import make

NOBODY = "6f1e9d3c-8a55-4c1b-9f0e-2b7c1d4e5a60"
TIME = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ"


def created(client: TestClient, **changes: object) -> str:
    return str(client.post("/api/export/csv", json=make.body(**changes)).json()["job_id"])


def without_times(body: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in body.items() if name not in ("created_at", "updated_at")}


def test_a_waiting_job_is_pending(client: TestClient) -> None:
    job_id = created(client)

    answer = client.get(f"/api/export/status/{job_id}")

    assert answer.status_code == 200
    assert answer.headers["Retry-After"] == "1"
    assert list(answer.json()) == ["job_id", "status", "message", "created_at", "updated_at"]
    assert without_times(answer.json()) == {
        "job_id": job_id,
        "status": "pending",
        "message": "Job is being processed",
    }


def test_times_are_whole_seconds_in_utc(client: TestClient) -> None:
    body = client.get(f"/api/export/status/{created(client)}").json()

    assert re.fullmatch(TIME, body["created_at"])
    assert re.fullmatch(TIME, body["updated_at"])


def test_a_finished_job_names_its_file(client: TestClient, home: make.Home) -> None:
    home.load(make.readings(0.5, 0.6))
    job_id = created(client)
    home.work()

    answer = client.get(f"/api/export/status/{job_id}")

    assert "Retry-After" not in answer.headers
    assert without_times(answer.json()) == {
        "job_id": job_id,
        "status": "completed",
        "message": "Export completed successfully",
        "file_info": {
            "filename": "smart_meter_123_20240101_20240131.csv",
            "download_url": f"/api/export/download/{job_id}",
            "file_size_bytes": len(
                make.HEADER
                + "\n2024-01-01T00:00:00Z,123,0.5,2.1,230.1,9.1"
                + "\n2024-01-01T00:01:00Z,123,0.6,2.1,230.1,9.1\n"
            ),
            "record_count": 2,
            "export_period": {"start": "2024-01-01T00:00:00Z", "end": "2024-01-31T23:59:59Z"},
        },
    }


def test_a_job_for_an_unknown_meter_fails_as_the_contract_says(
    client: TestClient, home: make.Home
) -> None:
    job_id = created(client, smart_meter_id="999")
    home.work()

    answer = client.get(f"/api/export/status/{job_id}")

    assert answer.status_code == 200
    assert without_times(answer.json()) == {
        "job_id": job_id,
        "status": "failed",
        "message": "Export failed",
        "error": {
            "code": "SMART_METER_NOT_FOUND",
            "message": "Smart meter with ID '999' not found",
            "details": "The specified smart meter does not exist in the system",
        },
    }


def test_a_known_meter_without_rows_completes_with_a_header_only(
    client: TestClient, home: make.Home
) -> None:
    home.load(make.readings(0.5))
    job_id = created(
        client, start_datetime="2023-01-01T00:00:00Z", end_datetime="2023-02-01T00:00:00Z"
    )
    home.work()

    status = client.get(f"/api/export/status/{job_id}").json()
    file = client.get(f"/api/export/download/{job_id}")

    assert status["file_info"]["record_count"] == 0
    assert file.text == make.HEADER + "\n"


def test_a_running_job_tells_its_progress(client: TestClient, home: make.Home) -> None:
    job_id = created(client)
    lease = Lease("w")
    job = home.services.jobs.claim(lease)
    assert job is not None
    home.services.jobs.begin(job, source_version=1, rows_expected=44_640)

    before = client.get(f"/api/export/status/{job_id}").json()
    home.services.jobs.renew(job, lease, rows_written=18_700)
    during = client.get(f"/api/export/status/{job_id}").json()

    assert "progress" not in before
    assert during["progress"] == {
        "percent": 41,
        "records_written": 18_700,
        "records_expected": 44_640,
    }


def test_progress_is_never_100_percent_before_the_end(client: TestClient, home: make.Home) -> None:
    job_id = created(client)
    lease = Lease("w")
    job = home.services.jobs.claim(lease)
    assert job is not None
    home.services.jobs.begin(job, source_version=1, rows_expected=10)
    home.services.jobs.renew(job, lease, rows_written=12)

    progress = client.get(f"/api/export/status/{job_id}").json()["progress"]

    assert progress == {"percent": 99, "records_written": 12, "records_expected": 12}


@pytest.mark.parametrize("path", ["/api/export/status/", "/api/export/download/"])
@pytest.mark.parametrize("shown", [NOBODY, "17", "no-such-job", "x" * 64, "a b", NOBODY.upper()])
def test_an_unknown_or_malformed_id_is_a_404_with_two_keys(
    client: TestClient, path: str, shown: str
) -> None:
    answer = client.get(path + shown)

    assert answer.status_code == 404
    assert answer.json() == {"status": "not_found", "message": f"Job with ID '{shown}' not found"}


@pytest.mark.parametrize("hidden", ["x" * 65, "é", "%00", "%7f", "%ff", "%0d%0aX:1"])
def test_a_long_or_unprintable_id_is_not_repeated(client: TestClient, hidden: str) -> None:
    answer = client.get("/api/export/status/" + hidden)

    assert answer.status_code == 404
    assert answer.json() == {"status": "not_found", "message": "Job with ID '…' not found"}


def test_an_id_is_found_in_either_case_and_with_a_trailing_slash(client: TestClient) -> None:
    job_id = created(client)

    for spelling in (job_id.upper(), f"{job_id}/"):
        assert client.get(f"/api/export/status/{spelling}").json()["job_id"] == job_id


def test_other_spellings_of_the_uuid_are_unknown(client: TestClient) -> None:
    job_id = created(client)

    for spelling in (f"{{{job_id}}}", job_id.replace("-", ""), f"urn:uuid:{job_id}"):
        assert client.get(f"/api/export/status/{spelling}").status_code == 404


@pytest.mark.parametrize("path", ["/api/export/status/", "/api/export/download/"])
def test_head_answers_as_get_without_a_body(client: TestClient, home: make.Home, path: str) -> None:
    home.load(make.readings(0.5))
    job_id = created(client)
    home.work()

    get, head = client.get(path + job_id), client.head(path + job_id)

    assert head.status_code == get.status_code == 200
    assert head.content == b""
    assert head.headers["Content-Length"] == str(len(get.content))
    assert head.headers["Content-Type"] == get.headers["Content-Type"]


def test_percent_never_falls_when_a_later_attempt_begins_anew(tmp_path: Path) -> None:
    jobs = make.home(tmp_path).services.jobs
    submitted = jobs.add(make.request(), owner="anonymous").job
    first = jobs.claim(Lease("a"))
    assert first is not None
    jobs.begin(first, source_version=1, rows_expected=100)
    jobs.renew(first, Lease("a"), rows_written=60)
    jobs.hand_back(first)
    second = jobs.claim(Lease("b"))
    assert second is not None
    jobs.renew(second, Lease("b"), rows_written=10)

    job = jobs.get(submitted.id)

    assert job is not None
    assert job.progress is not None
    assert job.progress.percent == 60


def test_no_key_is_ever_null(home: make.Home) -> None:
    job = home.services.jobs.add(make.request(), owner="anonymous").job
    running: Job = replace(job, rows_written=1, rows_expected=None)

    assert running.status is JobStatus.PENDING
    assert None not in status_body(running).values()
    assert status_body(running)["progress"]["records_expected"] == 1
