"""GET /api/meters and /api/meters/{id}: pages of meters, and one of them."""

import pytest
from starlette.testclient import TestClient

from meterport.domain.errors import SourceUnavailable
from tests import make
from tests.answers import assert_refused

QUARTERS = {
    "smart_meter_id": "123",
    "first": "2024-01-01T00:00:00Z",
    "last": "2024-01-01T00:15:00Z",
    "end": "2024-01-01T00:30:00Z",
    "interval_s": 900,
    "rows": 2,
}


@pytest.fixture
def meters(home: make.Home) -> None:
    home.load(
        make.readings(1, 2, meter="123", interval_s=900),
        *(make.readings(0.5, meter=meter) for meter in ("A-1", "A-2", "A-3", "a-1", "B")),
    )


def ids(client: TestClient, path: str) -> list[str]:
    return [entry["smart_meter_id"] for entry in client.get(path).json()["items"]]


def test_without_any_meter_the_list_is_empty(client: TestClient) -> None:
    answer = client.get("/api/meters")

    assert answer.status_code == 200
    assert answer.json() == {"items": []}


@pytest.mark.usefixtures("meters")
def test_all_meters_are_listed_by_their_ids(client: TestClient) -> None:
    answer = client.get("/api/meters")

    assert answer.json()["items"][0] == QUARTERS
    assert ids(client, "/api/meters") == ["123", "A-1", "A-2", "A-3", "B", "a-1"]
    assert "Link" not in answer.headers
    assert "next_cursor" not in answer.json()


@pytest.mark.usefixtures("meters")
def test_search_finds_what_begins_so(client: TestClient) -> None:
    assert ids(client, "/api/meters?search=A-") == ["A-1", "A-2", "A-3"]
    assert ids(client, "/api/meters?search=23") == []
    assert ids(client, "/api/meters?search=") == ["123", "A-1", "A-2", "A-3", "B", "a-1"]


@pytest.mark.usefixtures("meters")
def test_pages_follow_one_another_by_their_links(client: TestClient) -> None:
    path: str | None = "/api/meters?search=A&limit=2"
    pages = []
    while path is not None:
        answer = client.get(path)
        pages.append([entry["smart_meter_id"] for entry in answer.json()["items"]])
        path = answer.links["next"]["url"] if "Link" in answer.headers else None

    assert pages == [["A-1", "A-2"], ["A-3"]]


@pytest.mark.usefixtures("meters")
def test_a_meter_that_comes_meanwhile_shifts_nothing(client: TestClient, home: make.Home) -> None:
    cursor = client.get("/api/meters?limit=2").json()["next_cursor"]

    home.load(make.readings(0.5, meter="0"))

    assert ids(client, f"/api/meters?limit=2&cursor={cursor}") == ["A-2", "A-3"]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "cursor=x",
        "cursor=WyJcdTAwMDAiXQ",  # a NUL
        "cursor=WyJcdWQ4MDAiXQ",  # half a character
        "search=%25",
        "search=%00",
        "search=x%27;--",
        "serch=A",
        "search=A&search=B",
    ],
)
def test_what_cannot_be_meant_is_refused(client: TestClient, query: str) -> None:
    assert_refused(client.get(f"/api/meters?{query}"), 422, "INVALID_REQUEST")


@pytest.mark.usefixtures("meters")
def test_a_meter_is_shown_with_the_version_of_its_readings(client: TestClient) -> None:
    answer = client.get("/api/meters/123")

    assert answer.status_code == 200
    assert answer.json() == QUARTERS | {"source_version": 1}


@pytest.mark.parametrize("below", ["", "/coverage", "/preview"])
def test_an_unknown_meter_is_not_found(client: TestClient, below: str) -> None:
    answer = client.get(f"/api/meters/999{below}")

    assert_refused(answer, 404, "SMART_METER_NOT_FOUND")
    assert answer.json()["message"] == "Smart meter with ID '999' not found"


@pytest.mark.parametrize("below", ["", "/coverage", "/preview"])
def test_what_is_no_id_is_refused(client: TestClient, below: str) -> None:
    assert_refused(client.get(f"/api/meters/%3D1{below}"), 422, "INVALID_SMART_METER_ID")


@pytest.mark.usefixtures("meters")
def test_a_meter_has_no_parameters(client: TestClient) -> None:
    assert_refused(client.get("/api/meters/123?columns=all"), 422, "INVALID_REQUEST")


@pytest.mark.usefixtures("meters")
@pytest.mark.parametrize("path", ["/api/meters", "/api/meters/123", "/api/meters/123/coverage"])
def test_a_head_request_and_a_slash_are_no_other_place(client: TestClient, path: str) -> None:
    head = client.head(path)

    assert head.status_code == 200
    assert client.get(f"{path}/").json() == client.get(path).json()


@pytest.mark.usefixtures("meters")
@pytest.mark.parametrize("path", ["/api/meters", "/api/meters/123/coverage"])
def test_readings_that_cannot_be_read_are_a_503_to_try_again(
    client: TestClient, home: make.Home, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def gone(*args: object, **kwargs: object) -> None:
        raise SourceUnavailable("The readings store cannot be read")

    for source in (home.services.source, home.services.source_in_small_frames):
        monkeypatch.setattr(source, "version", gone)
        monkeypatch.setattr(source, "scan", gone)

    answer = client.get(path)

    assert_refused(answer, 503, "SOURCE_UNAVAILABLE")
    assert answer.headers["Retry-After"] == "5"
