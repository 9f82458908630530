"""What holds for every request: the envelope, headers, hosts, cross-site writes, odd routes."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from meterport.domain.errors import ServiceUnavailable
from meterport.web.app import create_app
from tests import make
from tests.answers import assert_refused


@pytest.mark.parametrize("path", ["/nothing", "/api/export", "/api/export/csv/x", "/docs/../x"])
def test_an_unknown_route_gets_the_envelope(client: TestClient, path: str) -> None:
    assert_refused(client.get(path), 404, "ROUTE_NOT_FOUND")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_another_method_gets_the_envelope_and_the_allowed_ones(
    client: TestClient, method: str
) -> None:
    answer = client.request(method, "/api/export/csv")

    assert_refused(answer, 405, "METHOD_NOT_ALLOWED")
    assert answer.headers["Allow"] == "POST"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/exports", "GET, HEAD, POST"),
        ("/api/exports/1", "DELETE, GET, HEAD"),
        ("/api/export/status/1", "GET, HEAD"),
        ("/docs", "GET, HEAD"),
    ],
)
def test_all_methods_of_a_path_are_told_also_those_of_other_routes(
    client: TestClient, path: str, allowed: str
) -> None:
    answer = client.options(path)

    assert_refused(answer, 405, "METHOD_NOT_ALLOWED")
    assert answer.headers["Allow"] == allowed


def test_posting_to_a_status_is_refused(client: TestClient) -> None:
    assert_refused(client.post("/api/export/status/1"), 405, "METHOD_NOT_ALLOWED")


def test_a_trailing_slash_is_no_redirect(client: TestClient) -> None:
    answer = client.post("/api/export/csv/", json=make.body(), follow_redirects=False)

    assert answer.status_code == 202


def test_the_clients_request_id_comes_back(client: TestClient) -> None:
    assert client.get("/livez", headers={"X-Request-Id": "a-1"}).headers["X-Request-Id"] == "a-1"


@pytest.mark.parametrize("given", ["a b", "x" * 65, "<script>"])
def test_an_unfit_request_id_is_replaced(client: TestClient, given: str) -> None:
    answer = client.get("/livez", headers={"X-Request-Id": given})

    assert len(answer.headers["X-Request-Id"]) == 32


@pytest.mark.parametrize("path", ["/livez", "/nothing", "/api/export/status/1", "/openapi.json"])
def test_every_answer_carries_the_security_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers

    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "[::1]:8000"])
def test_loopback_names_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/livez", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.x", ""])
def test_a_foreign_host_name_is_refused_on_loopback(client: TestClient, host: str) -> None:
    assert_refused(client.get("/livez", headers={"Host": host}), 403, "FORBIDDEN")


def test_an_allowed_host_is_answered(tmp_path: Path) -> None:
    home = make.home(tmp_path, allowed_hosts="meters.example, other.example")
    client = TestClient(create_app(home.services, home.settings), base_url="http://x")

    assert client.get("/livez", headers={"Host": "meters.example:8000"}).status_code == 200
    assert client.get("/livez", headers={"Host": "third.example"}).status_code == 403


def test_without_any_guard_every_host_is_answered(tmp_path: Path) -> None:
    home = make.home(tmp_path, auth="insecure-off")
    client = TestClient(create_app(home.services, home.settings), base_url="http://any.example")

    assert client.get("/livez").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://[localhost"},
        {"Origin": "http://localhost:9999"},
    ],
)
def test_a_page_of_another_site_cannot_write(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.post("/api/export/csv", json=make.body(), headers=headers)

    assert_refused(answer, 403, "FORBIDDEN")


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://localhost"}]
)
def test_our_own_pages_can_write(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post("/api/export/csv", json=make.body(), headers=headers).status_code == 202


def test_what_nobody_foresaw_is_a_500_without_a_trace_of_it(
    client: TestClient, home: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(job_id: str) -> None:
        raise KeyError("inner secret")

    monkeypatch.setattr(home.services.jobs, "get", broken)

    answer = client.get("/api/export/status/6f1e9d3c-8a55-4c1b-9f0e-2b7c1d4e5a60")

    assert_refused(answer, 500, "INTERNAL_ERROR")
    assert "secret" not in answer.text


def test_a_database_that_does_not_answer_is_a_503_to_try_again(
    client: TestClient, home: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*args: object, **kwargs: object) -> None:
        raise ServiceUnavailable("the database does not answer; try again soon")

    monkeypatch.setattr(home.services.jobs, "add", gone)

    answer = client.post("/api/export/csv", json=make.body())

    assert_refused(answer, 503, "SERVICE_UNAVAILABLE")
    assert answer.headers["Retry-After"] == "5"


def test_docs_need_no_other_server(client: TestClient) -> None:
    page = client.get("/docs")

    assert page.status_code == 200
    assert "//" not in page.text.replace("</", "<")
    for asset in ("swagger-ui-bundle.js", "swagger-ui.css", "start.js"):
        assert f"/docs/{asset}" in page.text
        assert client.get(f"/docs/{asset}").status_code == 200
    assert_refused(client.get("/docs/other.js"), 404, "ROUTE_NOT_FOUND")


@pytest.mark.parametrize("path", ["/", "/openapi.json", "/docs", "/docs/start.js"])
def test_whatever_can_be_got_can_be_asked_for_its_headers(client: TestClient, path: str) -> None:
    head = client.head(path)

    assert head.status_code == 200
    assert head.headers["Content-Type"] == client.get(path).headers["Content-Type"]


def test_the_front_door_points_to_the_docs(client: TestClient) -> None:
    assert client.get("/").json()["docs"] == "/docs"
