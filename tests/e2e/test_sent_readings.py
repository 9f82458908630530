"""POST /api/readings to a service: the file is read by a process of its own."""

from pathlib import Path

import pytest

from tests import make
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
