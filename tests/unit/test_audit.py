"""What is recorded of all that is done with readings; and without a record there is no data."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from starlette.testclient import TestClient

from meterport.adapters.sql_audit import SqlAudit
from meterport.bootstrap import erase
from meterport.cli_jobs import cancelled, manifest, run_again
from meterport.domain.audit import Deed, Head, Sought
from meterport.domain.errors import ServiceUnavailable
from meterport.services.keys import create_key, revoke_key, rotate_key
from meterport.services.verify_audit import verify_audit
from meterport.web.app import create_app
from tests import make
from tests.unit import rich
from tests.unit.exports import submitted
from tests.unit.keyed import key

FLEET = {"start": "2024-01-01", "end": "2024-01-02", "smart_meter_id": None}
NOW = datetime(2024, 6, 1, tzinfo=UTC)
ASKED = {"X-Request-Id": "asked-1"}


def log(home: make.Home, **sought: object) -> list[dict[str, object]]:
    """The entries, the oldest first."""
    page = home.services.audit.page(Sought(**sought), limit=100)  # type: ignore[arg-type]
    return [seen.as_json() for seen in reversed(page.entries)]


def told(entry: dict[str, object], *names: str) -> tuple[object, ...]:
    return tuple(entry.get(name) for name in names)


def newest(home: make.Home, *names: str) -> tuple[object, ...]:
    return told(log(home)[-1], *names)


def done(home: make.Home, *, meter: str = "A") -> str:
    """The id of an export that has a file."""
    job = submitted(home, meter)
    home.work()
    return job.id


@pytest.fixture
def export(loaded: make.Home) -> str:
    return done(loaded)


def download(client: TestClient, job_id: str, **headers: str) -> int:
    sent = client.get(f"/api/export/download/{job_id}", headers=ASKED | headers)
    return sent.status_code


def test_a_download_is_recorded_with_who_and_how_much(
    client: TestClient, loaded: make.Home, export: str
) -> None:
    sent = client.get(f"/api/export/download/{export}", headers=ASKED)

    assert newest(loaded, "action", "owner", "job_id", "smart_meter_id", "rows", "bytes") == (
        "file_downloaded",
        "anonymous",
        export,
        "A",
        2,
        len(sent.content),
    )
    assert newest(loaded, "request_id", "details") == ("asked-1", {"format": "csv"})


def test_a_part_is_recorded_with_the_bytes_that_were_sent(
    client: TestClient, loaded: make.Home, export: str
) -> None:
    assert download(client, export, Range="bytes=10-29") == 206

    assert newest(loaded, "action", "rows", "bytes") == ("file_downloaded", None, 20)
    assert newest(loaded, "details") == ({"format": "csv", "first_byte": "10", "last_byte": "29"},)


@pytest.mark.parametrize("tier", ["/api/export/download/{}", "/api/exports/{}/manifest"])
def test_a_head_is_not_recorded(
    client: TestClient, loaded: make.Home, export: str, tier: str
) -> None:
    before = log(loaded)

    assert client.head(tier.format(export)).status_code == 200
    assert log(loaded) == before


@pytest.mark.parametrize("path", ["coverage", "preview", "audit"])
def test_a_head_of_a_meter_is_not_recorded(
    client: TestClient, loaded: make.Home, path: str
) -> None:
    before = log(loaded)

    assert client.head(f"/api/meters/A/{path}").status_code == 200
    assert log(loaded) == before


def test_what_sends_no_bytes_is_not_recorded(
    client: TestClient, loaded: make.Home, export: str
) -> None:
    etag = client.head(f"/api/export/download/{export}").headers["ETag"]
    before = log(loaded)

    assert download(client, export, **{"If-None-Match": etag}) == 304
    assert download(client, export, Range="bytes=1000000-") == 416
    assert download(client, rich.NOBODYS) == 404
    assert log(loaded) == before


@pytest.mark.parametrize("path", ["/api/export/csv", "/api/exports"])
def test_an_accepted_export_is_recorded_also_where_it_is_repeated(
    client: TestClient, loaded: make.Home, path: str
) -> None:
    body = make.body(smart_meter_id="A") if path.endswith("csv") else rich.body(smart_meter_id="A")
    before = len(log(loaded))
    for _ in range(2):
        answer = client.post(path, json=body, headers=ASKED | {"Idempotency-Key": "k"})
    job_id = answer.json().get("id") or answer.json()["job_id"]

    entries = log(loaded)[before:]
    names = ("action", "job_id", "smart_meter_id", "request_id", "details")
    assert [told(entry, *names) for entry in entries] == [
        ("export_created", job_id, "A", "asked-1", None),
        ("export_created", job_id, "A", "asked-1", {"replayed": "true"}),
    ]


def test_a_fleet_is_in_the_list_of_each_of_its_meters(
    client: TestClient, loaded: make.Home
) -> None:
    client.post("/api/exports", json=rich.body(**FLEET, smart_meter_ids=["A", "B"]))

    for meter, count in (("A", 1), ("B", 1), ("C", 0)):
        of_it = log(loaded, smart_meter_id=meter)
        assert [e["meters"] for e in of_it if e["action"] == "export_created"] == [2] * count


def test_cancel_rerun_and_delete_are_recorded(client: TestClient, loaded: make.Home) -> None:
    job_id = rich.created(client, smart_meter_id="A")
    client.post(f"/api/exports/{job_id}/cancel")
    again = client.post(f"/api/exports/{job_id}/rerun").json()["id"]
    client.delete(f"/api/exports/{again}")

    entries = log(loaded)[-4:]
    assert [told(entry, "action", "job_id", "smart_meter_id") for entry in entries] == [
        ("export_created", job_id, "A"),
        ("export_cancelled", job_id, "A"),
        ("export_created", again, "A"),
        ("export_deleted", again, "A"),
    ]
    assert entries[2]["details"] == {"purpose": f"rerun {job_id}"}


def test_manifest_coverage_and_preview_are_recorded(
    client: TestClient, loaded: make.Home, export: str
) -> None:
    for path in (f"exports/{export}/manifest", "meters/A/coverage", "meters/A/preview"):
        assert client.get(f"/api/{path}").status_code == 200

    assert [told(entry, "action", "smart_meter_id", "rows") for entry in log(loaded)[-3:]] == [
        ("manifest_read", "A", None),
        ("coverage_read", "A", 2),
        ("preview_read", "A", 2),
    ]


def test_an_import_is_recorded_with_its_meters_and_rows(home: make.Home) -> None:
    home.load(make.readings(0.5, 0.6, meter="A"), make.readings(0.7, meter="B"))

    (entry,) = log(home)
    assert told(entry, "action", "meters", "rows", "details") == (
        "readings_imported",
        2,
        3,
        {"by": "command line", "version": "1"},
    )


def test_a_file_that_is_sent_is_recorded_with_its_request(
    client: TestClient, home: make.Home
) -> None:
    lines = make.csv_lines("2024-01-01T00:00:00Z,A,0.5,2.1,230.1,9.1")

    sent = client.post(
        "/api/readings?interval=60", content=lines, headers=ASKED | {"Content-Type": "text/csv"}
    )

    assert sent.status_code == 200, sent.text
    names = ("action", "smart_meter_id", "rows", "request_id")
    assert newest(home, *names) == ("readings_imported", "A", 1, "asked-1")


def test_an_erasure_is_recorded_and_its_meter_stays_in_the_list(
    client: TestClient, loaded: make.Home, export: str
) -> None:
    download(client, export)
    erase(loaded.services, "A")

    items = client.get("/api/meters/A/audit").json()["items"]
    assert [entry["action"] for entry in items] == [
        "meter_erased",
        "file_downloaded",
        "export_created",
        "readings_imported",
    ]
    assert told(items[0], "smart_meter_id", "rows") == ("A", 2)
    assert verify_audit(loaded.services.audit).fault is None


def test_the_command_line_is_recorded_as_such(loaded: make.Home, export: str) -> None:
    list(manifest(loaded.settings, export))
    cancelled(loaded.settings, run_again(loaded.settings, export))

    entries = log(loaded)[-3:]
    assert [entry["action"] for entry in entries] == [
        "manifest_read",
        "export_created",
        "export_cancelled",
    ]
    said = {"by": "command line"}
    assert [entry["details"] for entry in entries] == [
        said,
        said | {"purpose": f"rerun {export}"},
        said,
    ]


def test_keys_are_recorded_without_their_secrets(home: make.Home) -> None:
    s = home.services
    made = create_key(
        scopes=["read"], meters=["*"], keys=s.keys, audit=s.audit, now=NOW, owner="acme"
    )
    turned = rotate_key(made.key.id, keys=s.keys, audit=s.audit, now=NOW)
    revoke_key(turned.key.id, keys=s.keys, audit=s.audit)

    said = {"by": "command line", "owner": "acme", "scopes": "read"}
    assert [told(entry, "action", "details") for entry in log(home)] == [
        ("key_created", said | {"key": made.key.id}),
        ("key_rotated", said | {"key": turned.key.id, "of": made.key.id}),
        ("key_revoked", said | {"key": turned.key.id}),
    ]
    for text in (made.text, turned.text):
        assert text.split("_", 2)[2] not in str(log(home))


def test_what_a_key_may_not_is_recorded_as_refused(keyed: TestClient, loaded: make.Home) -> None:
    headers = key(loaded, scopes=["export"], meters=["A"], owner="acme")
    before = len(log(loaded))

    body = rich.body(smart_meter_id="B")
    assert keyed.post("/api/exports", json=body, headers=headers).status_code == 403
    assert keyed.get("/api/meters/A/preview", headers=headers).status_code == 403
    assert keyed.get("/api/meters/A/preview").status_code == 401

    entries = log(loaded)[before:]
    names = ("action", "result", "owner", "smart_meter_id", "details")
    assert [told(entry, *names) for entry in entries] == [
        ("request", "refused", "acme", "B", {"method": "POST", "route": "/api/exports"}),
        (
            "request",
            "refused",
            "acme",
            None,
            {"method": "GET", "route": "/api/meters/{smart_meter_id}/preview"},
        ),
    ]


def test_a_foreign_export_is_as_if_it_were_not_there_and_not_recorded(
    keyed: TestClient, loaded: make.Home, export: str
) -> None:
    headers = key(loaded, scopes=["read"], meters=["*"], owner="acme")
    before = log(loaded)

    assert keyed.get(f"/api/export/download/{export}", headers=headers).status_code == 404
    assert log(loaded) == before


def test_only_an_administrator_reads_the_list(keyed: TestClient, loaded: make.Home) -> None:
    reader = key(loaded, scopes=["read", "export", "import"], meters=["*"])
    admin = key(loaded, scopes=["admin"], meters=["A"])

    assert keyed.get("/api/meters/A/audit", headers=reader).status_code == 403
    assert keyed.get("/api/meters/A/audit", headers=admin).status_code == 200
    assert keyed.get("/api/meters/B/audit", headers=admin).status_code == 404


def test_the_list_is_told_in_pages(client: TestClient, loaded: make.Home) -> None:
    for _ in range(4):
        submitted(loaded, "A")

    first = client.get("/api/meters/A/audit?limit=3")
    second = client.get(first.links["next"]["url"])

    assert [entry["seq"] for entry in first.json()["items"]] == [5, 4, 3]
    assert [entry["seq"] for entry in second.json()["items"]] == [2, 1]
    assert "next_cursor" not in second.json()
    assert client.get("/api/meters/A/audit?cursor=WyJ4Il0").status_code == 422
    assert client.get("/api/meters/never-seen/audit").json() == {"items": []}


def test_neither_reading_nor_label_is_in_it(client: TestClient, loaded: make.Home) -> None:
    rich.created(client, smart_meter_id="A", label="Mrs Miller")
    loaded.work()

    assert "Miller" not in str(log(loaded))
    assert "0.6" not in str(log(loaded))


def unwritable(audit: SqlAudit, deed: Deed) -> Head:
    raise ServiceUnavailable("the database does not answer; try again soon")


DISCLOSING: dict[str, Callable[[str], tuple[str, str]]] = {
    "download": lambda job: ("GET", f"/api/export/download/{job}"),
    "part": lambda job: ("GET", f"/api/export/download/{job}"),
    "manifest": lambda job: ("GET", f"/api/exports/{job}/manifest"),
    "coverage": lambda _: ("GET", "/api/meters/A/coverage"),
    "preview": lambda _: ("GET", "/api/meters/A/preview"),
    "export": lambda _: ("POST", "/api/exports"),
}


@pytest.mark.parametrize("what", DISCLOSING)
def test_without_a_record_there_is_no_data(
    client: TestClient,
    loaded: make.Home,
    export: str,
    what: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(SqlAudit, "record", unwritable)
    method, path = DISCLOSING[what](export)
    body = rich.body(smart_meter_id="A") if method == "POST" else None
    headers = {"Range": "bytes=0-9"} if what == "part" else {}

    answer = client.request(method, path, json=body, headers=headers)

    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "SERVICE_UNAVAILABLE"
    assert "0.6" not in answer.text


def test_a_refusal_that_cannot_be_recorded_is_a_503(
    keyed: TestClient, loaded: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = key(loaded, scopes=["export"], meters=["A"])
    monkeypatch.setattr(SqlAudit, "record", unwritable)

    assert keyed.get("/api/meters/A/preview", headers=headers).status_code == 503


@pytest.fixture
def keyed(loaded: make.Home) -> Iterator[TestClient]:
    """The application as it is where others reach it: it asks for keys."""
    settings = loaded.settings.model_copy(update={"auth": "keys"})
    app = create_app(loaded.services, settings)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as made:
        yield made


def test_the_unfinished_erasure_of_an_unwritable_log_is_repeated(
    loaded: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(SqlAudit, "record", unwritable)
        with pytest.raises(ServiceUnavailable):
            erase(loaded.services, "A")

    assert loaded.services.erasures.unfinished() == ["A"]
    erase(loaded.services, "A")
    assert newest(loaded, "action") == ("meter_erased",)
    assert loaded.services.erasures.unfinished() == []
