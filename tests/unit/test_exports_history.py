"""GET /api/exports: what was asked for, newest first, a page at a time."""

import pytest
from starlette.testclient import TestClient

from tests import make
from tests.answers import assert_refused
from tests.unit.rich import created, echo, shown


def ids(client: TestClient, **parameters: str) -> list[str]:
    answer = client.get("/api/exports", params=parameters)
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


def test_without_any_export_the_list_is_empty(client: TestClient) -> None:
    answer = client.get("/api/exports")

    assert answer.json() == {"items": []}
    assert "Link" not in answer.headers


def test_the_newest_comes_first_as_its_own_page_shows_it(client: TestClient) -> None:
    first, second = created(client), created(client, label="x")

    items = client.get("/api/exports").json()["items"]

    assert items == [shown(client, second), shown(client, first)]


def test_a_meter_has_its_own_exports_and_those_of_its_fleets(
    client: TestClient, loaded: make.Home
) -> None:
    own, fleet = created(client), created(client, smart_meter_id=None, smart_meter_ids=["123", "A"])
    created(client, smart_meter_id="A")

    answer = client.get("/api/meters/123/exports", params={"limit": 1})
    rest = client.get(answer.headers["Link"].partition(">")[0].removeprefix("<"))

    assert [item["id"] for item in answer.json()["items"]] == [fleet]
    assert [item["id"] for item in rest.json()["items"]] == [own]
    assert_refused(client.get("/api/meters/-/exports"), 422, "INVALID_SMART_METER_ID")
    assert_refused(client.get("/api/meters/123/exports?smart_meter_id=A"), 422, "INVALID_REQUEST")


def test_a_fleet_in_a_list_tells_how_many_meters_it_has(
    client: TestClient, loaded: make.Home
) -> None:
    created(client, smart_meter_id=None, smart_meter_ids="all")

    (item,) = client.get("/api/exports").json()["items"]

    assert item["meters"] == 3
    assert item["request"] == echo(smart_meter_id=None)


def test_pages_go_on_behind_one_another_whatever_comes_meanwhile(client: TestClient) -> None:
    made = [created(client) for _ in range(5)][::-1]
    first = client.get("/api/exports?limit=2")
    created(client)

    second = client.get(first.headers["Link"].partition(">")[0].removeprefix("<"))
    third = client.get("/api/exports", params={"cursor": second.json()["next_cursor"]})

    pages = [[item["id"] for item in page.json()["items"]] for page in (first, second, third)]
    assert pages == [made[:2], made[2:4], made[4:]]
    assert first.headers["Link"].endswith('>; rel="next"')
    assert "next_cursor" not in third.json()


def test_an_export_is_found_by_its_meter_also_within_a_fleet(
    client: TestClient, loaded: make.Home
) -> None:
    one = created(client, smart_meter_id="A")
    created(client, smart_meter_id="B")
    fleet = created(client, smart_meter_id=None, smart_meter_ids=["A", "C"])

    assert ids(client, smart_meter_id="A") == [fleet, one]
    assert ids(client, smart_meter_id="D") == []


def test_an_export_is_found_by_its_phase(client: TestClient, home: make.Home) -> None:
    home.load(make.readings(0.5))
    completed, expired = created(client), created(client)
    failed = created(client, smart_meter_id="999")
    home.work()
    home.services.history.expire(expired)
    cancelled = created(client)
    client.post(f"/api/exports/{cancelled}/cancel")
    queued = created(client)

    found = {
        phase: ids(client, status=phase)
        for phase in ("queued", "running", "finalizing", "completed", "failed", "cancelled")
    }

    assert found == {
        "queued": [queued],
        "running": [],
        "finalizing": [],
        "completed": [completed],
        "failed": [failed],
        "cancelled": [cancelled],
    }
    assert ids(client, status="expired") == [expired]


def test_an_export_is_found_by_format_and_label(client: TestClient) -> None:
    csv = created(client, label="Zähler 7, Januar")
    json = created(client, format="json")

    assert ids(client, format="json") == [json]
    assert ids(client, label="Zähler 7, Januar") == [csv]
    assert ids(client, label="Zähler 7, Januar", format="json") == []
    assert ids(client, label="Zähler") == []


def test_an_export_is_found_by_its_time(client: TestClient) -> None:
    job_id = created(client)
    second = shown(client, job_id)["created_at"]

    assert ids(client, created_after=second, created_before="2999-01-01") == [job_id]
    assert ids(client, created_before=second) == []
    assert ids(client, created_after="2999-01-01T00:00:00+02:00") == []


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            "stauts=queued",
            "unknown parameter 'stauts'; did you mean status? known: smart_meter_id, status, "
            "format, label, created_after, created_before, limit, cursor",
        ),
        (
            "status=pending",
            "status 'pending' is not known; known: queued, running, finalizing, completed, "
            "failed, cancelled, expired",
        ),
        ("limit=201", "limit must be a whole number from 1 to 200, not '201'"),
        (
            "created_after=yesterday",
            "created_after must be a date such as 2024-03-31 or a date-time such as "
            "2024-03-31T00:00:00Z, not 'yesterday'",
        ),
        ("label=", "label must be 1 to 100 printable characters, not ''"),
        *(
            (
                f"cursor={cursor}",
                "cursor is none that this list gave; leave it out to begin with the first page",
            )
            for cursor in (
                "x",
                "WyJhIiwiYiJd",  # ["a","b"]
                # ["2026-13-01 00:00:00", and an id]
                "WyIyMDI2LTEzLTAxIDAwOjAwOjAwIiwiMDAwMDAwMDAtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDAwIl0",
            )
        ),
    ],
)
def test_a_parameter_that_cannot_be_is_refused(
    client: TestClient, query: str, message: str
) -> None:
    answer = client.get(f"/api/exports?{query}")

    assert_refused(answer, 422, "INVALID_REQUEST")
    assert answer.json()["message"] == message


def test_a_meter_and_a_format_have_codes_of_their_own(client: TestClient) -> None:
    assert_refused(client.get("/api/exports?smart_meter_id==1"), 422, "INVALID_SMART_METER_ID")
    assert_refused(client.get("/api/exports?format=doc"), 422, "UNSUPPORTED_FORMAT")
