"""METERPORT_DOWNLOADS=redirect: the S3 store sends the files, by links that soon end."""

import base64
import hashlib
import logging
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from meterport.adapters.sql_audit import SqlAudit
from meterport.adapters.sql_database import Database
from meterport.adapters.sql_tables import jobs
from meterport.bootstrap import prepare
from meterport.domain.audit import Deed, Head, Sought
from meterport.domain.errors import ServiceUnavailable, StartRefused
from meterport.web.app import create_app
from tests import make
from tests.answers import assert_refused
from tests.brokers import Store
from tests.contracts.conftest import wait_until

CSV = make.csv_lines(
    "2024-01-01T00:00:00Z,123,0.5,2.1,230.1,9.1",
    "2024-01-01T00:01:00Z,123,,2.1,230.1,9.1",
).encode()
SHA256 = hashlib.sha256(CSV).digest()
ETAG = f'"{SHA256.hex()}"'
DIGEST = f"sha-256=:{base64.b64encode(SHA256).decode()}:"
DISPOSITION = 'attachment; filename="smart_meter_123_20240101_20240131.csv"'


@dataclass(frozen=True)
class Export:
    """A finished export, the service that has it, and a client that knows nothing of us."""

    home: make.Home
    service: TestClient
    plain: httpx2.Client
    url: str
    key: str

    def location(self, **headers: str) -> str:
        answer = self.service.get(self.url, headers=headers, follow_redirects=False)
        assert answer.status_code == 307, answer.text
        return answer.headers["Location"]

    def replace(self, content: bytes) -> None:
        self.home.services.objects.delete(self.key)
        with self.home.services.objects.draft(self.key) as draft:
            draft.write(content)
            draft.publish()


@pytest.fixture
def given(s3: Store) -> dict[str, object]:
    files = f"s3://exports/{uuid.uuid4().hex}"
    return {"files_url": files, "downloads": "redirect", **s3.settings()}


@pytest.fixture
def export(tmp_path: Path, given: dict[str, object]) -> Iterator[Export]:
    home = make.home(tmp_path, make.readings(0.5, None), **given)
    app = create_app(home.services, home.settings)
    with (
        TestClient(app, base_url="http://localhost") as service,
        httpx2.Client(trust_env=False) as plain,
    ):
        job_id = service.post("/api/export/csv", json=make.body()).json()["job_id"]
        home.work()
        url = f"/api/export/download/{job_id}"
        yield Export(home, service, plain, url, f"{job_id}/1")


def test_a_download_leads_to_the_store_and_tells_what_has_to_come(
    export: Export, s3: Store
) -> None:
    answer = export.service.get(export.url, follow_redirects=False)

    assert answer.status_code == 307
    assert answer.content == b""
    assert answer.headers["Location"].startswith(f"{s3.endpoint}/exports/")
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert answer.headers["ETag"] == ETAG
    assert answer.headers["Repr-Digest"] == DIGEST
    (job,) = export.home.services.archive.recent(9)
    assert job.expires_at is not None
    gone = format_datetime(job.expires_at.replace(microsecond=0), usegmt=True)
    assert answer.headers["Sunset"] == gone


def test_a_client_that_knows_nothing_of_us_gets_file_name_and_type(export: Export) -> None:
    answer = export.plain.get(export.location())

    assert answer.status_code == 200
    assert answer.content == CSV
    assert answer.headers["Content-Disposition"] == DISPOSITION
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Cache-Control"] == "private, no-store"


def test_a_range_of_the_link_is_served(export: Export) -> None:
    answer = export.plain.get(
        export.location(Range="bytes=10-19"), headers={"Range": "bytes=10-19"}
    )

    assert answer.status_code == 206
    assert answer.content == CSV[10:20]
    assert answer.headers["Content-Range"] == f"bytes 10-19/{len(CSV)}"


def test_a_link_is_good_for_that_file_alone(export: Export) -> None:
    stranger = export.location().replace(f"{export.key}?", f"{export.key[:-1]}2?")

    assert export.plain.get(stranger).status_code == 403


def test_a_link_lasts_five_minutes_unless_told_otherwise(export: Export) -> None:
    assert parse_qs(urlsplit(export.location()).query)["X-Amz-Expires"] == ["300"]


def test_a_link_that_has_expired_is_refused_by_the_store(
    tmp_path: Path, given: dict[str, object]
) -> None:
    home = make.home(tmp_path, **given, download_link_s=1)
    with home.services.objects.draft("job/1") as draft:
        draft.write(CSV)
        draft.publish()

    link = home.services.objects.link("job/1", filename="a.csv", media_type="text/csv")

    assert link is not None
    with httpx2.Client(trust_env=False) as plain:
        wait_until(lambda: plain.get(link).status_code == 403)
        assert "Request has expired" in plain.get(link).text


def test_links_can_name_the_store_as_clients_reach_it(
    tmp_path: Path, given: dict[str, object]
) -> None:
    home = make.home(tmp_path, **given, store_public_endpoint="https://files.example")

    link = home.services.objects.link("job/1", filename="a.csv", media_type="text/csv")

    assert link is not None
    assert link.startswith("https://files.example/exports/")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-None-Match": ETAG}, 304),
        ({"If-None-Match": '"other"'}, 200),
        ({"If-Modified-Since": "Mon, 01 Jan 2024 00:00:00 GMT"}, 200),
        ({"Range": "bytes=0-9", "If-Range": ETAG}, 206),
        ({"Range": "bytes=0-9", "If-Range": '"other"'}, 200),
    ],
)
def test_conditions_are_judged_by_us(export: Export, headers: dict[str, str], status: int) -> None:
    answer = export.service.get(export.url, headers=headers, follow_redirects=False)

    assert answer.status_code == status
    assert answer.headers["ETag"] == ETAG


def test_head_is_answered_by_us(export: Export) -> None:
    answer = export.service.head(export.url, follow_redirects=False)

    assert answer.status_code == 200
    assert answer.headers["Content-Length"] == str(len(CSV))
    assert answer.headers["Content-Disposition"] == DISPOSITION


@pytest.mark.parametrize("damage", [CSV[:-1], CSV + b"\n", None])
def test_a_file_that_is_missing_or_has_another_size_is_damaged_and_no_redirect(
    export: Export, damage: bytes | None
) -> None:
    if damage is None:
        export.home.services.objects.delete(export.key)
    else:
        export.replace(damage)

    answer = export.service.get(export.url, follow_redirects=False)

    assert_refused(answer, 409, "EXPORT_DAMAGED")


def test_an_expired_file_is_gone_and_no_redirect(export: Export) -> None:
    with Database(export.home.settings.jobs_url).write() as connection:
        connection.execute(update(jobs).values(expires_at=make.JANUARY))

    answer = export.service.get(export.url, follow_redirects=False)

    assert_refused(answer, 410, "EXPORT_EXPIRED")


def test_a_file_in_the_store_is_sent_by_us_unless_told_otherwise(
    tmp_path: Path, given: dict[str, object]
) -> None:
    home = make.home(tmp_path, **(given | {"downloads": "proxy"}))

    assert home.services.objects.link("job/1", filename="a.csv", media_type="text/csv") is None


@pytest.mark.parametrize("files_url", ["", "gs://bucket/exports", "az://container/exports"])
def test_a_start_without_an_s3_store_is_refused_with_the_remedy(
    tmp_path: Path, files_url: str
) -> None:
    with pytest.raises(StartRefused) as refused:
        prepare(make.settings(tmp_path / "data", files_url=files_url, downloads="redirect"))

    assert refused.value.message == (
        "METERPORT_DOWNLOADS=redirect needs the files in an S3 store; set METERPORT_FILES_URL to "
        "one such as s3://bucket/exports, or METERPORT_DOWNLOADS=proxy"
    )


def test_making_a_link_logs_nothing_of_it(
    export: Export, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO):
        secret = parse_qs(urlsplit(export.location()).query)["X-Amz-Signature"][0]

    out, err = capfd.readouterr()
    assert secret not in caplog.text + out + err


def test_a_redirect_is_recorded_before_the_link_is_given(export: Export) -> None:
    export.location()

    (seen,) = export.home.services.audit.page(Sought(smart_meter_id="123"), limit=1).entries
    told = seen.as_json()
    assert (told["action"], told["rows"], told["bytes"]) == ("file_downloaded", 2, len(CSV))
    assert told["details"] == {"format": "csv", "redirected": "true"}


def test_without_a_record_no_link_is_given(export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    def unwritable(audit: SqlAudit, deed: Deed) -> Head:
        raise ServiceUnavailable("the database does not answer; try again soon")

    monkeypatch.setattr(SqlAudit, "record", unwritable)
    answer = export.service.get(export.url, follow_redirects=False)

    assert answer.status_code == 503
    assert "Location" not in answer.headers
