"""Links: whoever has one gets the file, as long as its key may read it, and nothing else."""

import asyncio
import io
import json
import re
from collections.abc import Iterator
from contextlib import redirect_stderr
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
import structlog
from sqlalchemy import update
from starlette.testclient import TestClient

from meterport.adapters.sql_database import Database
from meterport.adapters.sql_tables import api_keys, jobs, links
from meterport.bootstrap import erase
from meterport.domain.access import EVERYTHING
from meterport.services.delete_export import delete_export
from meterport.telemetry import configure_logs
from meterport.web.app import create_app
from tests import make
from tests.answers import assert_refused
from tests.asgi import Raw, call
from tests.unit import backups, keyed, rich

CSV = make.csv_lines(
    "2024-01-01T00:00:00Z,A,0.5,2.1,230.1,9.1", "2024-01-01T00:01:00Z,A,0.6,2.1,230.1,9.1"
).encode()
TOKEN = re.compile(r"/api/links/mpl_[a-z0-9]{12}_[A-Za-z0-9_-]{43}")
A_MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture
def client(loaded: make.Home) -> Iterator[TestClient]:
    with keyed.client_of(loaded) as made:
        yield made


@pytest.fixture
def key(loaded: make.Home) -> dict[str, str]:
    return keyed.key(loaded)


@pytest.fixture
def export(client: TestClient, loaded: make.Home, key: dict[str, str]) -> str:
    """The path of a finished one."""
    return exported(client, loaded, key)


def exported(client: TestClient, home: make.Home, key: dict[str, str], **asked: object) -> str:
    body = rich.body(smart_meter_id=None, smart_meter_ids=["A"]) | asked
    path = client.post("/api/exports", json=body, headers=key).headers["Location"]
    home.work()
    return str(path)


def linked(client: TestClient, export: str, key: dict[str, str], **asked: object) -> str:
    answer = client.post(f"{export}/links", json=asked, headers=key)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["url"])


def change(home: make.Home, table: object, **values: object) -> None:
    with Database(home.settings.jobs_url).write() as connection:
        connection.execute(update(table).values(**values))  # type: ignore[arg-type]


def test_a_link_downloads_the_file_without_a_key(
    client: TestClient, export: str, key: dict[str, str]
) -> None:
    before = datetime.now(UTC).replace(microsecond=0)

    made = client.post(f"{export}/links", json={"expires_in_s": 3600}, headers=key)

    said = made.json()
    assert made.status_code == 201
    assert said.keys() == {"id", "url", "expires_at"}
    assert TOKEN.fullmatch(said["url"])
    assert said["id"] in said["url"]
    assert made.headers["Location"] == said["url"]
    expires_at = datetime.fromisoformat(said["expires_at"])
    assert before <= expires_at - timedelta(hours=1) <= datetime.now(UTC)
    answer = client.get(said["url"])
    assert (answer.status_code, answer.content) == (200, CSV)
    for told in (made, answer, client.get("/api/links/none")):
        assert told.headers["Cache-Control"] == "no-store, private"
        assert told.headers["Referrer-Policy"] == "no-referrer"


def test_a_link_downloads_as_the_export_itself_does(
    client: TestClient, export: str, key: dict[str, str]
) -> None:
    url, own = linked(client, export, key), export.replace("exports", "export/download")
    etag = client.get(own, headers=key).headers["ETag"]
    asked: list[dict[str, str]] = [
        {},
        {"Range": "bytes=0-9"},
        {"Range": "bytes=9999-"},
        {"Range": "bytes=0-9", "If-Range": etag},
        {"If-None-Match": etag},
    ]

    for headers in asked:
        for method in ("GET", "HEAD"):
            by_link = client.request(method, url, headers=headers)
            by_key = client.request(method, own, headers=key | headers)
            assert by_link.status_code == by_key.status_code
            different = {"x-request-id", "cache-control"}
            assert _without(by_link, different) == _without(by_key, different)
            assert by_link.headers["Cache-Control"] == "no-store, private"
            assert by_link.status_code == 416 or by_link.content == by_key.content


def _without(answer: httpx2.Response, names: set[str]) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in names}


def test_a_damaged_file_is_not_served_by_link_either(
    client: TestClient, loaded: make.Home, export: str, key: dict[str, str]
) -> None:
    url = linked(client, export, key)
    (file,) = (path for path in loaded.settings.files.glob("*/*") if path.is_file())
    file.write_bytes(CSV[:-1])

    assert_refused(client.get(url), 409, "EXPORT_DAMAGED")


def test_an_expired_file_is_gone_by_link_too(
    client: TestClient, loaded: make.Home, export: str, key: dict[str, str]
) -> None:
    url = linked(client, export, key)
    change(loaded, jobs, expires_at=make.JANUARY)

    assert_refused(client.get(url), 410, "EXPORT_EXPIRED")


def test_a_link_ends_with_the_file_at_the_latest(
    client: TestClient, loaded: make.Home, export: str, key: dict[str, str]
) -> None:
    soon = (datetime.now(UTC) + 2 * A_MINUTE).replace(microsecond=0)
    change(loaded, jobs, expires_at=soon)

    said = client.post(f"{export}/links", headers=key).json()

    assert datetime.fromisoformat(said["expires_at"]) == soon


def test_a_link_is_good_for_a_day_unless_it_is_said(
    client: TestClient, export: str, key: dict[str, str]
) -> None:
    said = client.post(f"{export}/links", headers=key).json()

    left = datetime.fromisoformat(said["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=1) - A_MINUTE < left <= timedelta(days=1)


def test_links_are_listed_without_their_secrets(
    client: TestClient, export: str, key: dict[str, str]
) -> None:
    urls = [linked(client, export, key) for _ in range(2)]

    answer = client.get(f"{export}/links", headers=key)

    items = answer.json()["items"]
    assert {item["id"] for item in items} == {url.split("_")[1] for url in urls}
    assert all(item.keys() == {"id", "created_at", "expires_at"} for item in items)
    assert not any(url.split("_", 2)[2] in answer.text for url in urls)


def test_a_revoked_link_leads_nowhere_however_often_it_is_revoked(
    client: TestClient, export: str, key: dict[str, str]
) -> None:
    url, other = linked(client, export, key), linked(client, export, key)
    own = f"{export}/links/{url.split('_')[1]}"

    answers = [client.delete(path, headers=key) for path in (own, own, f"{export}/links/none")]

    assert [answer.status_code for answer in answers] == [204] * 3
    assert_refused(client.get(url), 404, "LINK_INVALID")
    assert client.get(other).status_code == 200
    assert len(client.get(f"{export}/links", headers=key).json()["items"]) == 1


def test_an_id_of_any_bytes_is_that_of_no_link(
    loaded: make.Home, client: TestClient, export: str, key: dict[str, str]
) -> None:
    app = create_app(loaded.services, loaded.settings)
    for link_id in ("%AF", "%00", "%ED%A0%80"):
        path = f"{export}/links/{link_id}".encode()

        answer = asyncio.run(call(app, Raw("DELETE", path, headers=((b"host", b"localhost"),))))

        assert answer.status == 204


def test_an_expired_link_says_so(
    client: TestClient, loaded: make.Home, export: str, key: dict[str, str]
) -> None:
    url = linked(client, export, key)
    change(loaded, links, expires_at=datetime.now(UTC))

    assert_refused(client.get(url), 410, "LINK_EXPIRED")
    assert client.head(url).headers["X-Error-Code"] == "LINK_EXPIRED"
    assert_refused(client.get(url[:-1] + "-"), 404, "LINK_INVALID")


WRONG: dict[str, dict[str, object]] = {
    "revoked": {"revoked_at": make.JANUARY},
    "expired": {"expires_at": make.JANUARY},
    "of another owner": {"owner": "other"},
    "for other meters": {"meters": '["B*"]'},
    "for fewer meters": {"meters": '["A"]'},
    "read only": {"scopes": '["read"]'},
    "export only": {"scopes": '["export"]'},
}


@pytest.mark.parametrize("change_of_key", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("link_expired", [False, True])
def test_a_link_may_no_more_than_its_key_may_now(
    client: TestClient,
    loaded: make.Home,
    key: dict[str, str],
    change_of_key: dict[str, object],
    link_expired: bool,
) -> None:
    url = linked(client, exported(client, loaded, key, smart_meter_ids=["A", "B"]), key)
    assert client.get(url).status_code == 200
    if link_expired:
        change(loaded, links, expires_at=make.JANUARY)

    change(loaded, api_keys, **change_of_key)

    answer = client.get(url)
    assert_refused(answer, 404, "LINK_INVALID")
    assert answer.json()["message"] == client.get("/api/links/none").json()["message"]


@pytest.mark.parametrize(
    "token", ["none", "mpl_", "mp_000000000000_" + "x" * 43, "mpl_000000000000_" + "x" * 43, "%00"]
)
def test_a_link_that_is_none_is_told_nothing_else(client: TestClient, token: str) -> None:
    assert_refused(client.get(f"/api/links/{token}"), 404, "LINK_INVALID")


def test_every_wrong_link_costs_the_same_look_ups(
    loaded: make.Home, key: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What differs in time is a statement more or less, so these are counted."""
    with keyed.client_of(loaded) as client:
        url = linked(client, exported(client, loaded, key), key)
        asked: list[str] = []
        for port, name in (("links", "find"), ("keys", "find"), ("jobs", "get")):
            _note(monkeypatch, getattr(loaded.services, port), name, asked)
        wrong = ["/api/links/none", "/api/links/mpl_000000000000_" + "x" * 43, url[:-1] + "-"]
        counts = []
        for path in wrong:
            asked.clear()
            assert client.get(path).status_code == 404
            counts.append(list(asked))
        change(loaded, api_keys, revoked_at=make.JANUARY)
        asked.clear()
        assert client.get(url).status_code == 404
        counts.append(list(asked))

    assert counts == [["SqlLinks.find", "SqlKeys.find", "SqlJobs.get"]] * 4


def _note(monkeypatch: pytest.MonkeyPatch, port: object, name: str, asked: list[str]) -> None:
    real = getattr(port, name)

    def noted(*given: object) -> object:
        asked.append(f"{type(port).__name__}.{name}")
        return real(*given)

    monkeypatch.setattr(port, name, noted)


def test_a_link_goes_with_its_export(
    client: TestClient, loaded: make.Home, export: str, key: dict[str, str]
) -> None:
    url = linked(client, export, key)

    assert client.delete(export, headers=key).status_code == 204

    assert_refused(client.get(url), 404, "LINK_INVALID")
    assert client.get(f"{export}/links", headers=key).json() == {"items": []}
    assert_refused(client.post(f"{export}/links", headers=key), 410, "EXPORT_EXPIRED")


def test_a_link_goes_with_its_meters_readings(
    client: TestClient, loaded: make.Home, export: str, key: dict[str, str]
) -> None:
    url = linked(client, export, key)

    erase(loaded.services, "A")

    assert_refused(client.get(url), 404, "LINK_INVALID")


def test_without_keys_a_link_works_as_long_as_none_are_asked_for(loaded: make.Home) -> None:
    app = create_app(loaded.services, loaded.settings)
    with TestClient(app, base_url="http://localhost") as open_:
        url = linked(open_, exported(open_, loaded, {}), {})
        assert open_.get(url).content == CSV

    with keyed.client_of(loaded) as asking:
        assert_refused(asking.get(url), 404, "LINK_INVALID")


def test_a_keys_link_is_judged_by_it_also_where_none_is_asked_for(
    client: TestClient, loaded: make.Home, export: str, key: dict[str, str]
) -> None:
    url = linked(client, export, key)
    app = create_app(loaded.services, loaded.settings)
    with TestClient(app, base_url="http://localhost") as open_:
        assert open_.get(url).content == CSV

        change(loaded, api_keys, revoked_at=make.JANUARY)

        assert_refused(open_.get(url), 404, "LINK_INVALID")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"expires_in_s": 59}, "expires_in_s must be a whole number from 60 to 2592000, not 59"),
        ({"expires_in_s": 2_592_001}, "expires_in_s must be a whole number from 60 to 2592000, "),
        ({"expires_in_s": 10**4000}, "expires_in_s must be a whole number from 60 to 2592000, "),
        ({"expires_in_s": 60.0}, "expires_in_s must be a whole number from 60 to 2592000, not a "),
        ({"expires_in_s": True}, "expires_in_s must be a whole number from 60 to 2592000, not tr"),
        ({"expires_in_s": None}, "expires_in_s must be a whole number from 60 to 2592000, not nu"),
        ({"expires_in": 60}, "unknown field 'expires_in'; did you mean expires_in_s?"),
    ],
)
def test_a_lifetime_that_is_none_is_refused(
    client: TestClient, export: str, key: dict[str, str], body: dict[str, object], said: str
) -> None:
    answer = client.post(f"{export}/links", json=body, headers=key)

    assert_refused(answer, 422, "INVALID_REQUEST")
    assert answer.json()["message"].startswith(said)


def test_an_export_without_a_file_has_no_link_yet(
    client: TestClient, loaded: make.Home, key: dict[str, str]
) -> None:
    pending = client.post("/api/exports", json=rich.body(), headers=key).headers["Location"]

    answer = client.post(f"{pending}/links", headers=key)

    assert_refused(answer, 409, "EXPORT_NOT_READY")
    loaded.work()
    assert_refused(client.post(f"{pending}/links", headers=key), 409, "EXPORT_FAILED")


def test_who_may_not_share_gets_no_link(
    client: TestClient, loaded: make.Home, export: str, key: dict[str, str]
) -> None:
    path, owner = f"{export}/links", keyed.id_of(key)
    reader = keyed.key(loaded, scopes=["read"], owner=owner)
    exporter = keyed.key(loaded, scopes=["export"], owner=owner)
    foreign = keyed.key(loaded)

    assert_refused(client.post(path), 401, "UNAUTHENTICATED")
    for lesser in (reader, exporter):
        assert_refused(client.post(path, headers=lesser), 403, "FORBIDDEN")
    assert_refused(client.delete(f"{path}/x", headers=reader), 403, "FORBIDDEN")
    for method in ("POST", "GET"):
        assert_refused(client.request(method, path, headers=foreign), 404, "JOB_NOT_FOUND")
    assert_refused(client.delete(f"{path}/x", headers=foreign), 404, "JOB_NOT_FOUND")


def test_no_token_is_in_the_log(
    loaded: make.Home, key: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.StringIO()
    with keyed.client_of(loaded) as client, redirect_stderr(written):
        url = linked(client, exported(client, loaded, key), key)
        configure_logs("json", "info")
        client.get(url)
        client.get(f"{url}/")
        client.get(f"{url}/beside")

        def broken(*_: object) -> None:
            raise RuntimeError("a defect")

        monkeypatch.setattr(loaded.services.jobs, "get", broken)
        assert client.get(url).status_code == 500

    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    routes = [line["route"] for line in lines if line["event"] == "request"]
    assert routes == [
        "/api/links/{token}",
        "/api/links/{token}/",
        "unmatched",
        "/api/links/{token}",
    ]
    assert any(line["event"] == "request_crashed" for line in lines)
    assert "mpl_" not in written.getvalue()
    assert url.split("_", 2)[2] not in written.getvalue()


def test_the_database_has_no_secret(
    client: TestClient, loaded: make.Home, export: str, key: dict[str, str]
) -> None:
    url = linked(client, export, key)

    stored = b"".join(
        path.read_bytes() for path in Path(loaded.settings.data).glob("meterport.db*")
    )

    assert url.split("_")[1].encode() in stored
    assert url.split("_", 2)[2].encode() not in stored


def test_deleting_an_export_that_a_link_was_just_made_for_leaves_none(
    client: TestClient, loaded: make.Home, export: str, key: dict[str, str]
) -> None:
    s = loaded.services
    url = linked(client, export, key)

    delete_export(
        export.split("/")[-1],
        EVERYTHING,
        jobs=s.jobs,
        history=s.history,
        objects=s.objects,
        audit=s.audit,
    )

    assert client.get(url).status_code == 404


def test_a_restored_backup_has_the_links_but_of_meters_that_were_erased_since(
    client: TestClient, loaded: make.Home, export: str, key: dict[str, str], tmp_path: Path
) -> None:
    other = exported(client, loaded, key, smart_meter_ids=["B"])
    kept, gone = linked(client, export, key), linked(client, other, key)
    backups.backed_up(loaded, tmp_path / "backup")
    erase(loaded.services, "B")

    backups.put_back(loaded, tmp_path / "backup")

    with keyed.client_of(backups.opened(loaded.settings)) as again:
        assert again.get(kept).content == CSV
        assert_refused(again.get(gone), 404, "LINK_INVALID")
