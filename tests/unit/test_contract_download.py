"""GET /api/export/download/{job_id}: the bytes, the headers, conditions, ranges, damage."""

import base64
import hashlib
import os
from email.utils import format_datetime
from pathlib import Path

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from meterport.adapters.sql_database import Database
from meterport.adapters.sql_tables import jobs
from tests import make
from tests.answers import assert_refused

CSV = make.csv_lines(
    "2024-01-01T00:00:00Z,123,0.5,2.1,230.1,9.1",
    "2024-01-01T00:01:00Z,123,,2.1,230.1,9.1",
    "2024-01-01T00:02:00Z,123,-0.25,2.1,230.1,9.1",
).encode()
SHA256 = hashlib.sha256(CSV).hexdigest()


@pytest.fixture
def url(client: TestClient, home: make.Home) -> str:
    """Where a finished export lies."""
    home.load(make.readings(0.5, None, -0.25))
    job_id = client.post("/api/export/csv", json=make.body()).json()["job_id"]
    home.work()
    return f"/api/export/download/{job_id}"


def file_of(home: make.Home) -> Path:
    return next(path for path in home.settings.files.glob("*/*") if path.is_file())


def test_the_whole_file_has_the_contracts_bytes_and_headers(client: TestClient, url: str) -> None:
    answer = client.get(url)

    assert answer.status_code == 200
    assert answer.content == CSV
    headers = answer.headers
    assert headers["Content-Type"] == "text/csv; charset=utf-8"
    assert (
        headers["Content-Disposition"]
        == 'attachment; filename="smart_meter_123_20240101_20240131.csv"'
    )
    assert headers["Content-Length"] == str(len(CSV))
    assert headers["ETag"] == f'"{SHA256}"'
    digest = base64.b64encode(hashlib.sha256(CSV).digest()).decode()
    assert headers["Repr-Digest"] == f"sha-256=:{digest}:"
    assert headers["Accept-Ranges"] == "bytes"
    assert headers["Last-Modified"].endswith(" GMT")
    assert headers["Cache-Control"] == "private, no-transform"
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("asked", "first", "end"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=10-", 10, len(CSV)),
        ("bytes=-5", len(CSV) - 5, len(CSV)),
        ("bytes=-99999", 0, len(CSV)),
        ("bytes=0-99999", 0, len(CSV)),
        (f"bytes={len(CSV) - 1}-", len(CSV) - 1, len(CSV)),
    ],
)
def test_one_range_is_served(
    client: TestClient, url: str, asked: str, first: int, end: int
) -> None:
    answer = client.get(url, headers={"Range": asked})

    assert answer.status_code == 206
    assert answer.content == CSV[first:end]
    assert answer.headers["Content-Range"] == f"bytes {first}-{end - 1}/{len(CSV)}"
    assert answer.headers["Content-Length"] == str(end - first)
    assert answer.headers["ETag"] == f'"{SHA256}"'


@pytest.mark.parametrize("asked", [f"bytes={len(CSV)}-", "bytes=-0", "bytes=999999-999999"])
def test_a_range_outside_the_file_is_a_416_that_names_the_size(
    client: TestClient, url: str, asked: str
) -> None:
    answer = client.get(url, headers={"Range": asked})

    assert_refused(answer, 416, "RANGE_NOT_SATISFIABLE")
    assert answer.headers["Content-Range"] == f"bytes */{len(CSV)}"


@pytest.mark.parametrize(
    "asked", ["bytes=0-1,3-4", "bytes=5-2", "bytes=-", "lines=1-2", "bytes=a-b", "bytes 1-2", ""]
)
def test_a_range_that_is_not_one_is_passed_over(client: TestClient, url: str, asked: str) -> None:
    answer = client.get(url, headers={"Range": asked})

    assert answer.status_code == 200
    assert answer.content == CSV


@pytest.mark.parametrize(
    ("if_range", "status"), [(f'"{SHA256}"', 206), ('"other"', 200), (f'W/"{SHA256}"', 200)]
)
def test_a_range_is_served_only_of_the_file_that_if_range_names(
    client: TestClient, url: str, if_range: str, status: int
) -> None:
    answer = client.get(url, headers={"Range": "bytes=0-9", "If-Range": if_range})

    assert answer.status_code == status


def test_if_range_also_takes_the_date(client: TestClient, url: str) -> None:
    modified = client.get(url).headers["Last-Modified"]

    answer = client.get(url, headers={"Range": "bytes=0-9", "If-Range": modified})

    assert answer.status_code == 206


@pytest.mark.parametrize("known", [f'"{SHA256}"', f'W/"{SHA256}"', f'"x", "{SHA256}"', "*"])
def test_a_known_etag_is_answered_with_304(client: TestClient, url: str, known: str) -> None:
    answer = client.get(url, headers={"If-None-Match": known, "Range": "bytes=0-9"})

    assert answer.status_code == 304
    assert answer.content == b""
    assert answer.headers["ETag"] == f'"{SHA256}"'
    assert "Content-Type" not in answer.headers


def test_an_unknown_etag_is_answered_with_the_file(client: TestClient, url: str) -> None:
    modified = client.get(url).headers["Last-Modified"]

    answer = client.get(url, headers={"If-None-Match": '"x"', "If-Modified-Since": modified})

    assert answer.status_code == 200


def test_the_date_alone_is_a_condition_too(client: TestClient, url: str) -> None:
    modified = client.get(url).headers["Last-Modified"]

    assert client.get(url, headers={"If-Modified-Since": modified}).status_code == 304


def test_an_unfinished_export_cannot_be_downloaded_yet(client: TestClient) -> None:
    job_id = client.post("/api/export/csv", json=make.body()).json()["job_id"]

    answer = client.get(f"/api/export/download/{job_id}")

    assert_refused(answer, 409, "EXPORT_NOT_READY")
    assert answer.headers["Retry-After"] == "1"


def test_a_failed_export_says_why_there_is_no_file(client: TestClient, home: make.Home) -> None:
    job_id = client.post("/api/export/csv", json=make.body()).json()["job_id"]
    home.work()

    answer = client.get(f"/api/export/download/{job_id}")

    assert_refused(answer, 409, "EXPORT_FAILED")
    assert "Smart meter with ID '123' not found" in answer.json()["message"]


def expire(home: make.Home) -> None:
    with Database(home.settings.jobs_url).write() as connection:
        connection.execute(update(jobs).values(expires_at=make.JANUARY))


@pytest.mark.parametrize("swept", [False, True])
@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=0-9"}, {"If-None-Match": f'"{SHA256}"'}])
def test_an_expired_export_is_gone_for_good(
    client: TestClient, home: make.Home, url: str, headers: dict[str, str], swept: bool
) -> None:
    expire(home)
    if swept:
        file_of(home).unlink()

    answer = client.get(url, headers=headers)

    assert_refused(answer, 410, "EXPORT_EXPIRED")
    assert answer.json()["error"] == {
        "code": "EXPORT_EXPIRED",
        "message": "the file is no longer kept; ask for the export again",
        "details": "METERPORT_KEEP_FILES_DAYS says how long a file is kept",
    }
    assert "Retry-After" not in answer.headers
    assert "Sunset" not in answer.headers


def test_head_is_told_of_an_expired_export_too(
    client: TestClient, home: make.Home, url: str
) -> None:
    expire(home)

    answer = client.head(url)

    assert answer.status_code == 410
    assert answer.headers["X-Error-Code"] == "EXPORT_EXPIRED"
    assert answer.content == b""


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=0-9"}, {"If-None-Match": "*"}])
def test_a_download_says_when_it_will_be_gone(
    client: TestClient, home: make.Home, url: str, headers: dict[str, str]
) -> None:
    (job,) = home.services.archive.recent(9)
    assert job.expires_at is not None

    answers = [client.get(url, headers=headers), client.head(url, headers=headers)]

    sunset = format_datetime(job.expires_at.replace(microsecond=0), usegmt=True)
    assert [answer.headers["Sunset"] for answer in answers] == [sunset, sunset]


@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "remove", "swap"])
def test_a_damaged_file_is_never_served(
    client: TestClient, home: make.Home, url: str, damage: str
) -> None:
    assert client.get(url).status_code == 200
    path = file_of(home)
    damaged = {
        "flip": CSV[:50] + bytes([CSV[50] ^ 1]) + CSV[51:],
        "cut": CSV[:-1],
        "grow": CSV + b"\n",
        "swap": bytes(len(CSV)),
    }
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(damaged[damage])

    for answer in (client.get(url), client.get(url, headers={"Range": "bytes=0-9"})):
        assert_refused(answer, 409, "EXPORT_DAMAGED")


def test_a_download_leaves_no_open_file(client: TestClient, home: make.Home, url: str) -> None:
    for headers in ({}, {"Range": "bytes=1-2"}, {"Range": "bytes=999-"}, {"If-None-Match": "*"}):
        client.get(url, headers=headers)
        client.head(url, headers=headers)

    open_files = [os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()]
    assert str(file_of(home)) not in open_files
