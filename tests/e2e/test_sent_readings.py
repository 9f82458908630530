"""POST /api/readings to a service: the file is read by a process of its own."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import select, update

from meterport.adapters.sql_database import Database
from meterport.adapters.sql_tables import import_keys
from tests import make
from tests.answers import assert_refused
from tests.contracts.conftest import wait_until
from tests.e2e.service import Service, running

CSV = make.csv_lines("2024-01-01T00:00:00Z,sent,0.5,2.1,230.1,9.1")


@pytest.fixture
def service(tmp_path: Path):  # type: ignore[no-untyped-def]
    with running(tmp_path / "data") as started:
        yield started


def post(service: Service, body: str, kind: str = "text/csv", query: str = "") -> tuple[int, str]:
    answer = service.http.post(
        f"/api/readings?{query}", content=body.encode(), headers={"Content-Type": kind}
    )
    return answer.status_code, answer.text


def test_what_was_sent_can_be_exported(service: Service) -> None:
    status, text = post(service, CSV, query="interval=60")

    assert status == 200, text
    assert service.completed(service.create("sent")).file_info.record_count == 1


def test_what_is_wrong_with_a_file_is_told_by_its_line(service: Service) -> None:
    status, text = post(service, f"{CSV}2024-01-01,sent,,,,\n")

    assert status == 422
    assert "IMPORT_REFUSED" in text
    assert "body: line 3: " in text
    assert list((service.data / "uploads").glob("*")) == []


def sent(service: Service, body: bytes) -> httpx2.Response:
    headers = {"Content-Type": "text/csv", "Idempotency-Key": "the file of today"}
    return service.http.post("/api/readings?interval=60", content=body, headers=headers)


def is_claimed(database: Database) -> bool:
    with database.read() as connection:
        return connection.execute(select(import_keys.c.state)).scalar() == "claimed"


def test_a_file_whose_service_was_killed_is_taken_again(tmp_path: Path) -> None:
    data, rows = tmp_path / "data", 20_000
    body = make.csv_bytes([make.many_readings(rows, meter="sent")])
    database = Database(make.settings(data).jobs_url)
    with running(data) as service, ThreadPoolExecutor(1) as threads:
        posting = threads.submit(sent, service, body)
        wait_until(lambda: is_claimed(database))
        service.process.kill()
        with suppress(httpx2.HTTPError):
            raise AssertionError(f"it was answered before: {posting.result()}")

    with running(data) as service:
        in_use = sent(service, body)
        with database.write() as connection:
            ended = {"lease_until": make.JANUARY}
            connection.execute(update(import_keys).values(**ended))
        first, again = sent(service, body), sent(service, body)

        assert_refused(in_use, 409, "IDEMPOTENCY_KEY_IN_USE")
        assert (first.status_code, again.status_code) == (200, 200)
        assert again.json() == first.json()
        assert again.headers["Idempotency-Replayed"] == "true"
        job = service.completed(service.create("sent", minutes=rows))
        assert job.file_info.record_count == rows
    database.engine.dispose()
