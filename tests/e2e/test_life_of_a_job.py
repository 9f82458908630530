"""The life of a job through HTTP: accepted, pending, completed or failed, downloaded."""

import base64
import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from meterport.client import Client
from tests import make
from tests.e2e.service import (
    Gate,
    Pending,
    Progress,
    Refused,
    Service,
    csv_of,
    running,
    wait_until,
)

HEADER_BYTES = 65
LONG_ROWS = 200_000
FLEET = [f"fleet-{number}" for number in range(10)]
FLEET_ROWS = 600


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> make.Home:
    return make.home(
        tmp_path_factory.mktemp("life"),
        make.readings(0.5, None, 12.25, meter="123"),
        make.many_readings(LONG_ROWS, meter="long"),
        *(make.many_readings(FLEET_ROWS, meter=meter) for meter in FLEET),
    )


@pytest.fixture(scope="module")
def service(home: make.Home) -> Iterator[Service]:
    with running(home.settings.data, workers=2, METERPORT_JOB_LEASE_S=3) as started:
        yield started


def status(service: Service, job_id: str) -> dict[str, Any]:
    read: dict[str, Any] = service.http.get(f"/api/export/status/{job_id}").json()
    return read


def times(answer: dict[str, Any]) -> dict[str, str]:
    """Its two times, after a look that they are instants in UTC and in order."""
    created, updated = answer["created_at"], answer["updated_at"]
    assert datetime.fromisoformat(created) <= datetime.fromisoformat(updated)
    assert created.endswith("Z")
    assert updated.endswith("Z")
    return {"created_at": created, "updated_at": updated}


def test_accepted_job_is_answered_with_its_id_and_where_to_ask(service: Service) -> None:
    answer = service.http.post("/api/export/csv", json=make.body())

    job_id = answer.json()["job_id"]
    assert answer.status_code == 202
    assert str(UUID(job_id)) == job_id
    assert answer.json() == {
        "job_id": job_id,
        "status": "pending",
        "message": "Export job created successfully",
    }
    assert answer.headers["Location"] == f"/api/export/status/{job_id}"
    assert answer.headers["Retry-After"] == "1"
    assert answer.headers["Content-Type"] == "application/json"


def test_job_that_nobody_works_on_is_pending_without_progress(service: Service) -> None:
    with service.paused():
        job_id = service.create()
        answer = service.http.get(f"/api/export/status/{job_id}")

    assert answer.status_code == 200
    assert answer.headers["Retry-After"] == "1"
    assert answer.json() == {
        "job_id": job_id,
        "status": "pending",
        "message": "Job is being processed",
        **times(answer.json()),
    }


def test_pending_job_has_no_file_yet(service: Service) -> None:
    with service.paused():
        job_id = service.create()
        answer = service.http.get(f"/api/export/download/{job_id}")

    refused = Refused.model_validate_json(answer.text)
    assert answer.status_code == 409
    assert answer.headers["Retry-After"] == "1"
    assert answer.headers["X-Error-Code"] == "EXPORT_NOT_READY"
    assert refused.error.code == "EXPORT_NOT_READY"
    assert refused.message == "the export is not finished; ask its status and try again"
    assert service.completed(job_id).file_info.record_count == 3


def test_completed_job_describes_its_file(service: Service) -> None:
    job_id = service.http.post("/api/export/csv", json=make.body()).json()["job_id"]
    service.completed(job_id)

    answer = service.http.get(f"/api/export/status/{job_id}")

    assert answer.status_code == 200
    assert "Retry-After" not in answer.headers
    assert answer.json() == {
        "job_id": job_id,
        "status": "completed",
        "message": "Export completed successfully",
        **times(answer.json()),
        "file_info": {
            "filename": "smart_meter_123_20240101_20240131.csv",
            "download_url": f"/api/export/download/{job_id}",
            "file_size_bytes": 193,
            "record_count": 3,
            "export_period": {"start": "2024-01-01T00:00:00Z", "end": "2024-01-31T23:59:59Z"},
        },
    }


def test_download_is_exactly_the_readings_as_csv(service: Service) -> None:
    job_id = service.create("123", minutes=60)
    service.completed(job_id)

    answer = service.http.get(f"/api/export/download/{job_id}")

    assert answer.content == (
        b"timestamp,smart_meter_id,energy_kwh,power_kw,voltage_v,current_a\n"
        b"2024-01-01T00:00:00Z,123,0.5,2.1,230.1,9.1\n"
        b"2024-01-01T00:01:00Z,123,,2.1,230.1,9.1\n"
        b"2024-01-01T00:02:00Z,123,12.25,2.1,230.1,9.1\n"
    )


def test_download_says_what_it_is_and_how_to_check_it(service: Service) -> None:
    job_id = service.http.post("/api/export/csv", json=make.body()).json()["job_id"]
    service.completed(job_id)

    answer = service.http.get(f"/api/export/download/{job_id}")

    digest = hashlib.sha256(answer.content)
    in_base64 = base64.b64encode(digest.digest()).decode()
    told = {name.title(): value for name, value in answer.headers.items()}
    assert answer.status_code == 200
    assert told["Content-Type"] == "text/csv; charset=utf-8"
    assert told["Content-Disposition"] == (
        'attachment; filename="smart_meter_123_20240101_20240131.csv"'
    )
    assert told["Content-Length"] == "193"
    assert told["Etag"] == f'"{digest.hexdigest()}"'
    assert told["Repr-Digest"] == f"sha-256=:{in_base64}:"
    assert told["Accept-Ranges"] == "bytes"
    assert told["Cache-Control"] == "private, no-transform"
    assert told["X-Content-Type-Options"] == "nosniff"
    assert told["Last-Modified"].endswith(" GMT")
    assert parsedate_to_datetime(told["Last-Modified"]) == datetime.fromisoformat(
        status(service, job_id)["updated_at"]
    )


@pytest.mark.parametrize("resource", ["status", "download"])
def test_head_tells_the_same_without_a_body(service: Service, resource: str) -> None:
    job_id = service.create()
    service.completed(job_id)

    head = service.http.head(f"/api/export/{resource}/{job_id}")

    get = service.http.get(f"/api/export/{resource}/{job_id}")
    own = {"date", "x-request-id"}
    assert head.status_code == 200
    assert head.content == b""
    assert [h for h in head.headers.items() if h[0] not in own] == [
        h for h in get.headers.items() if h[0] not in own
    ]


def test_known_meter_without_rows_in_the_period_gives_the_header_alone(service: Service) -> None:
    job_id = service.create("123", first=1_000, minutes=60)

    completed = service.completed(job_id)

    assert completed.file_info.record_count == 0
    assert completed.file_info.file_size_bytes == 65
    assert service.download(job_id) == (
        b"timestamp,smart_meter_id,energy_kwh,power_kw,voltage_v,current_a\n"
    )


def test_unknown_meter_fails_the_job(service: Service) -> None:
    job_id = service.create("999")
    service.failed(job_id)

    answer = service.http.get(f"/api/export/status/{job_id}")

    assert answer.status_code == 200
    assert "Retry-After" not in answer.headers
    assert answer.json() == {
        "job_id": job_id,
        "status": "failed",
        "message": "Export failed",
        **times(answer.json()),
        "error": {
            "code": "SMART_METER_NOT_FOUND",
            "message": "Smart meter with ID '999' not found",
            "details": "The specified smart meter does not exist in the system",
        },
    }


def test_failed_job_has_no_file(service: Service) -> None:
    job_id = service.create("999")
    service.failed(job_id)

    answer = service.http.get(f"/api/export/download/{job_id}")

    refused = Refused.model_validate_json(answer.text)
    assert answer.status_code == 409
    assert "Retry-After" not in answer.headers
    assert refused.error.code == "EXPORT_FAILED"
    assert refused.message == "the export failed: Smart meter with ID '999' not found"


def test_job_that_never_was_is_not_found(service: Service) -> None:
    job_id = "00000000-0000-4000-8000-000000000000"

    answers = [
        service.http.get(f"/api/export/{resource}/{job_id}") for resource in ("status", "download")
    ]

    for answer in answers:
        assert answer.status_code == 404
        assert answer.json() == {
            "status": "not_found",
            "message": "Job with ID '00000000-0000-4000-8000-000000000000' not found",
        }


def test_our_client_saves_the_file_under_the_name_it_is_given(
    service: Service, tmp_path: Path
) -> None:
    client = Client(service.url)

    job_id = client.create("123", "2024-01-01T00:00:00Z", "2024-01-01T00:02:00Z")
    heard: list[str] = []
    client.wait(job_id, told=lambda answer: heard.append(answer["status"]))
    client.download(job_id, tmp_path / "mine.csv")

    assert (tmp_path / "mine.csv").read_text() == make.csv_lines(
        "2024-01-01T00:00:00Z,123,0.5,2.1,230.1,9.1", "2024-01-01T00:01:00Z,123,,2.1,230.1,9.1"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]
    assert heard[-1] == "completed"


def test_fifty_exports_at_once_each_get_their_own_file(service: Service, home: make.Home) -> None:
    wanted = [(meter, 30 * part, 60 + part) for meter in FLEET for part in range(5)]

    with ThreadPoolExecutor(50) as threads:
        job_ids = list(threads.map(lambda job: create(service, *job), wanted))
        completed = list(threads.map(service.completed, job_ids))
        files = list(threads.map(service.download, job_ids))

    assert len(set(job_ids)) == 50
    assert len({key_of(home, job_id) for job_id in job_ids}) == 50
    for (meter, first, minutes), answer, file in zip(wanted, completed, files, strict=True):
        assert answer.file_info.record_count == minutes
        assert file == csv_of(meter, first=first, rows=minutes)


def create(service: Service, meter: str, first: int, minutes: int) -> str:
    return service.create(meter, first=first, minutes=minutes)


def key_of(home: make.Home, job_id: str) -> str:
    job = home.services.jobs.get(job_id)
    assert job is not None
    assert job.file is not None
    return job.file.key


def test_progress_is_told_once_rows_are_written_and_not_before(
    service: Service, home: make.Home
) -> None:
    job_id, (gate,) = gated(service, attempts=1)
    with gate:
        gate.let_through(HEADER_BYTES)
        beat(home, job_id, attempt=1)
        before = service.http.get(f"/api/export/status/{job_id}").json()
        gate.let_through(len(csv_of("long", first=0, rows=100_000)) - HEADER_BYTES)
        wait_until(lambda: progress(service, job_id))
        after = service.http.get(f"/api/export/status/{job_id}").json()
        service.kill(holders(service, f"{job_id}.1"))

    assert list(before) == ["job_id", "status", "message", "created_at", "updated_at"]
    assert list(after) == [*before, "progress"]
    rows = after["progress"]["records_written"]
    assert 0 < rows <= 100_000
    assert after["progress"] == {
        "percent": rows * 100 // 200_000,
        "records_written": rows,
        "records_expected": 200_000,
    }


def test_progress_never_falls_though_a_second_attempt_begins_anew(
    service: Service, home: make.Home
) -> None:
    job_id, gates = gated(service, attempts=2)
    with gates[0], gates[1]:
        gates[0].let_through(len(csv_of("long", first=0, rows=150_000)))
        first = wait_until(lambda: progress(service, job_id, more_than=50_000))
        service.kill(holders(service, f"{job_id}.1"))
        between = progress(service, job_id)
        gates[1].let_through(len(csv_of("long", first=0, rows=50_000)))
        beat(home, job_id, attempt=2)
        second = progress(service, job_id)
        service.kill(holders(service, f"{job_id}.2"))

    assert between is not None
    assert second is not None
    assert 25 < first.percent <= between.percent == second.percent <= 75
    assert first.records_written <= between.records_written == second.records_written


def gated(service: Service, *, attempts: int) -> tuple[str, list[Gate]]:
    """A job of LONG_ROWS whose first attempts write only what is let through."""
    with service.paused():
        job_id = service.create("long", minutes=LONG_ROWS)
        return job_id, [Gate(service.data, job_id, attempt=n + 1) for n in range(attempts)]


def progress(service: Service, job_id: str, *, more_than: int = 0) -> Progress | None:
    answer = service.status(job_id)
    assert isinstance(answer, Pending), answer
    told = answer.progress
    return told if told and told.records_written > more_than else None


def beat(home: make.Home, job_id: str, *, attempt: int) -> None:
    """Wait for a heartbeat of the attempt that began after this call."""
    beats: set[datetime] = set()

    def beaten() -> bool:
        job = home.services.jobs.get(job_id)
        assert job is not None
        if job.attempt == attempt:
            beats.add(job.updated_at)
        return len(beats) > 2

    wait_until(beaten)


def holders(service: Service, part: str) -> set[int]:
    """The worker that has the part open."""
    return {pid for pid in service.workers() if part in open_files(pid)}


def open_files(pid: int) -> set[str]:
    return {os.path.realpath(link).rpartition("/")[2] for link in Path(f"/proc/{pid}/fd").iterdir()}
