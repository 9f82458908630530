"""Requests that read readings in the API: few at a time, and the next ones are told so."""

import pytest
from starlette.testclient import TestClient

from meterport.domain.errors import ServiceUnavailable
from meterport.web.reading_places import ReadingPlaces
from tests import make
from tests.answers import assert_refused

READING = ("/api/meters/123/coverage", "/api/meters/123/preview", "/api/meters/123/preview/")


@pytest.fixture
def client_of(client: TestClient, home: make.Home) -> TestClient:
    """Of a service with readings and one place."""
    home.load(make.readings(0.5, 0.6))
    client.app.state.reading_places = ReadingPlaces(1)  # type: ignore[attr-defined]
    return client


@pytest.mark.parametrize("path", READING)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_who_comes_when_all_places_are_taken_is_told_when_to_come_again(
    client_of: TestClient, method: str, path: str
) -> None:
    with client_of.app.state.reading_places.place():  # type: ignore[attr-defined]
        answer = client_of.request(method, path)

    assert (answer.status_code, answer.headers["X-Error-Code"]) == (503, "SERVICE_UNAVAILABLE")
    assert answer.headers["Retry-After"] == "5"
    assert client_of.request(method, path).status_code == 200


def test_the_answer_says_how_many_there_are(client_of: TestClient) -> None:
    with client_of.app.state.reading_places.place():  # type: ignore[attr-defined]
        answer = client_of.get(READING[0])

    assert_refused(answer, 503, "SERVICE_UNAVAILABLE")
    assert answer.json()["message"].startswith("1 requests read readings now")


def test_what_reads_none_needs_no_place(client_of: TestClient) -> None:
    with client_of.app.state.reading_places.place():  # type: ignore[attr-defined]
        answers = [client_of.get(path).status_code for path in ("/api/meters", "/api/meters/123")]

    assert answers == [200, 200]


@pytest.mark.parametrize("query", ["?points=no", "?start=2030-01-01T00:00:00Z", "?column=x"])
def test_a_request_that_fails_gives_its_place_back(client_of: TestClient, query: str) -> None:
    refused = [client_of.get(f"{READING[1]}{query}").status_code for _ in range(3)]

    assert 503 not in refused
    assert client_of.get(READING[1]).status_code == 200


def test_there_are_as_many_places_as_were_given() -> None:
    places = ReadingPlaces(2)

    with places.place(), places.place(), pytest.raises(ServiceUnavailable), places.place():
        pass
    with places.place(), places.place():
        pass
