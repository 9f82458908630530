"""How much one key may ask for: so many creates a minute, so many unfinished exports."""

import re
from collections.abc import Iterator
from contextlib import ExitStack

import httpx2
import pytest
from starlette.testclient import TestClient

from meterport.domain.access_errors import RateLimited
from meterport.web.app import create_app
from meterport.web.limits import WAITS_AT_ONCE, KeyLimits, Places, Rate
from tests import make
from tests.answers import assert_refused
from tests.contracts.conftest import wait_until
from tests.unit import keyed, rich

EXPORT = rich.body(smart_meter_id="A")
VALIDATED = rich.body(smart_meter_id="A", validate_only=True)


@pytest.fixture
def key(loaded: make.Home) -> dict[str, str]:
    return keyed.key(loaded)


@pytest.fixture
def client(loaded: make.Home) -> Iterator[TestClient]:
    with keyed.client_of(loaded, creates_per_minute=3, max_active_exports=2) as made:
        yield made


def post(client: TestClient, key: dict[str, str], **headers: str) -> httpx2.Response:
    return client.post("/api/exports", json=EXPORT, headers=key | headers)


def left(answer: httpx2.Response) -> int:
    """What the headers say of the key's creates, in the one form that they may have."""
    assert answer.headers["RateLimit-Policy"] == '"creates";q=3;w=60'
    said = re.fullmatch(r'"creates";r=(\d+);t=(\d+)', answer.headers["RateLimit"])
    assert said is not None
    assert 1 <= int(said[2]) <= 60
    return int(said[1])


def test_a_key_asks_for_so_many_exports_a_minute(
    client: TestClient, loaded: make.Home, key: dict[str, str]
) -> None:
    answers = []
    for _ in range(3):
        answers.append(post(client, key))
        loaded.work()

    refused = post(client, key)

    assert [answer.status_code for answer in answers] == [202] * 3
    assert [left(answer) for answer in answers] == [2, 1, 0]
    assert_refused(refused, 429, "RATE_LIMITED")
    assert left(refused) == 0
    assert refused.headers["RateLimit"].endswith(f";t={refused.headers['Retry-After']}")
    assert refused.json()["message"].startswith("this key may ask for 3 exports and links in 60 ")
    assert post(client, keyed.key(loaded, owner=keyed.id_of(key))).status_code == 202


def test_every_route_that_creates_counts_together(
    client: TestClient, loaded: make.Home, key: dict[str, str]
) -> None:
    path = post(client, key).headers["Location"]
    loaded.work()
    rerun = client.post(f"{path}/rerun", headers=key)
    link = client.post(f"{path}/links", headers=key)

    frozen = client.post("/api/export/csv", json=make.body(smart_meter_id="A"), headers=key)

    assert [left(rerun), left(link)] == [1, 0]
    assert_refused(frozen, 429, "RATE_LIMITED")
    for again in (f"{path}/rerun", f"{path}/links", "/api/exports/", "/api/export/csv/"):
        assert_refused(client.post(again, headers=key), 429, "RATE_LIMITED")


def test_every_answer_tells_how_many_are_left(client: TestClient, loaded: make.Home) -> None:
    def first(path: str, scopes: tuple[str, ...] = keyed.USUAL, **body: object) -> httpx2.Response:
        return client.post(path, json=body, headers=keyed.key(loaded, scopes=scopes))

    answers = [
        (202, client.post("/api/exports", json=EXPORT, headers=keyed.key(loaded))),
        (200, client.post("/api/exports", json=VALIDATED, headers=keyed.key(loaded))),
        (422, first("/api/exports", formt="csv")),
        (422, first("/api/export/csv")),
        (404, first("/api/exports/nobody/rerun")),
        (404, first("/api/exports/nobody/links")),
        (403, first("/api/exports", ("read",))),
        (415, client.post("/api/exports", content="{}", headers=keyed.key(loaded))),
    ]

    for status, answer in answers:
        assert (answer.status_code, left(answer)) == (status, 2)


def test_what_creates_nothing_is_not_counted(client: TestClient, key: dict[str, str]) -> None:
    answers = [client.get("/api/exports", headers=key) for _ in range(5)]
    answers.append(client.post("/api/exports", json=EXPORT))

    assert not any("RateLimit" in answer.headers for answer in answers)
    assert [answer.status_code for answer in answers] == [200] * 5 + [401]
    assert left(post(client, key)) == 2


def test_the_window_moves_on() -> None:
    rate = Rate(1, window_s=1)
    rate.take("key", {})
    with pytest.raises(RateLimited) as refused:
        rate.take("key", {})
    assert refused.value.retry_after_s == 1

    def allowed() -> bool:
        try:
            rate.take("key", {})
        except RateLimited:
            return False
        return True

    assert wait_until(allowed)


def test_zero_is_no_limit(loaded: make.Home, key: dict[str, str]) -> None:
    none = {"creates_per_minute": 0, "max_active_exports": 0, "max_queued": 0}
    with keyed.client_of(loaded, **none) as client:
        answers = [post(client, key) for _ in range(5)]

    assert [answer.status_code for answer in answers] == [202] * 5
    assert "RateLimit" not in answers[0].headers


def test_without_keys_nobody_is_limited_but_by_the_queue(loaded: make.Home) -> None:
    given = {"creates_per_minute": 1, "max_active_exports": 1, "max_queued": 4, "auth": "auto"}
    with keyed.client_of(loaded, **given) as client:
        answers = [post(client, {}) for _ in range(5)]
        limits = client.get("/api/capabilities").json()["limits"]

    assert [answer.status_code for answer in answers] == [202] * 4 + [503]
    assert "RateLimit" not in answers[0].headers
    assert_refused(answers[4], 503, "QUEUE_FULL")
    assert answers[4].headers["Retry-After"] == "30"
    of_keys = ("creates_per_minute", "active_exports", "downloads_at_once", "streams_at_once")
    assert [limits[name] for name in of_keys] == [0, 0, 0, 0]
    assert limits["queued_exports"] == 4


def test_the_limits_are_told(loaded: make.Home, key: dict[str, str]) -> None:
    with keyed.client_of(loaded) as client:
        limits = client.get("/api/capabilities", headers=key).json()["limits"]

    assert limits["creates_per_minute"] == 60
    assert limits["active_exports"] == 100
    assert limits["downloads_at_once"] == 8
    assert limits["streams_at_once"] == 5
    assert limits["queued_exports"] == 10_000


def test_an_owner_has_so_many_unfinished_exports_with_all_keys_together(
    client: TestClient, loaded: make.Home, key: dict[str, str]
) -> None:
    other = keyed.key(loaded, owner=keyed.id_of(key))
    assert [post(client, each).status_code for each in (key, other)] == [202, 202]

    refused = post(client, key)

    assert_refused(refused, 429, "TOO_MANY_ACTIVE_EXPORTS")
    assert refused.headers["Retry-After"] == "10"
    assert left(refused) == 1
    assert post(client, keyed.key(loaded)).status_code == 202
    loaded.work()
    assert post(client, key).status_code == 202


def test_a_replay_needs_no_room(client: TestClient, key: dict[str, str]) -> None:
    first = post(client, key, **{"Idempotency-Key": "one"})
    post(client, key)

    again = post(client, key, **{"Idempotency-Key": "one"})

    assert again.status_code == 202
    assert again.json()["id"] == first.json()["id"]


def held(client: TestClient, what: str, key: dict[str, str], count: int) -> ExitStack:
    """So many requests of the key that do not come to an end."""
    limits: KeyLimits = client.app.state.key_limits  # type: ignore[attr-defined]
    stack = ExitStack()
    for _ in range(count):
        stack.enter_context(getattr(limits, what).taken(keyed.id_of(key)))
    return stack


def test_a_key_downloads_so_many_files_at_the_same_time(
    loaded: make.Home, key: dict[str, str]
) -> None:
    with keyed.client_of(loaded, downloads_at_once=2) as client:
        path = post(client, key).headers["Location"]
        loaded.work()
        link = client.post(f"{path}/links", headers=key).json()["url"]
        own = path.replace("exports", "export/download")
        other = keyed.key(loaded, owner=keyed.id_of(key))

        with held(client, "downloads", key, 2):
            refused = [
                client.request(method, address, headers=header)
                for method in ("GET", "HEAD")
                for address, header in ((own, key), (f"{own}/", key), (link, {}))
            ]
            assert client.get(own, headers=other).status_code == 200
            assert client.get(path, headers=key).status_code == 200
        with held(client, "downloads", key, 1):
            answers = [client.get(own, headers=key), client.get(link)]

    assert [answer.status_code for answer in refused] == [429] * 6
    assert_refused(refused[0], 429, "RATE_LIMITED")
    assert_refused(refused[2], 429, "RATE_LIMITED")
    assert refused[0].headers["Retry-After"] == "5"
    assert [answer.status_code for answer in answers] == [200, 200]
    assert client.app.state.key_limits.downloads._taken == {}  # type: ignore[attr-defined]


def test_a_key_has_so_many_event_streams_at_the_same_time(
    loaded: make.Home, key: dict[str, str]
) -> None:
    with keyed.client_of(loaded, streams_at_once=1) as client:
        path = post(client, key).headers["Location"]
        loaded.work()

        with held(client, "streams", key, 1):
            refused = client.get(f"{path}/events", headers=key)
        answer = client.get(f"{path}/events", headers=key)

    assert_refused(refused, 429, "RATE_LIMITED")
    assert refused.headers["Retry-After"] == "5"
    assert "event: completed" in answer.text


@pytest.mark.parametrize("missing", ["/api/export/download/x", "/api/exports/x/events"])
def test_a_request_that_is_refused_gives_its_place_back(
    missing: str, loaded: make.Home, key: dict[str, str]
) -> None:
    with keyed.client_of(loaded, downloads_at_once=1, streams_at_once=1) as client:
        answers = [client.get(missing, headers=key) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [404] * 3


def test_a_key_is_limited_also_where_the_answer_is_a_defect(
    loaded: make.Home, key: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    app = create_app(keyed.home_of(loaded, downloads_at_once=1).services, loaded.settings)
    app.state.keys = loaded.services.keys
    monkeypatch.setattr(loaded.services.jobs, "get", broken)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        path = f"/api/export/download/{rich.NOBODYS}"
        answers = [client.get(path, headers=key) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [500, 500]


def test_a_key_waits_for_so_many_exports_at_the_same_time_and_is_answered_at_once_beyond(
    client: TestClient, key: dict[str, str], loaded: make.Home
) -> None:
    other = keyed.key(loaded)
    waits: Places = client.app.state.key_limits.waits  # type: ignore[attr-defined]

    def applied(header: dict[str, str]) -> str | None:
        job_id = post(client, header).json()["id"]
        answer = client.get(f"/api/exports/{job_id}", headers={"Prefer": "wait=1"} | header)
        assert answer.status_code == 200
        return answer.headers.get("Preference-Applied")

    with ExitStack() as held:
        for _ in range(WAITS_AT_ONCE):
            held.enter_context(waits.taken(keyed.id_of(key)))

        assert applied(key) is None
        assert applied(other) == "wait=1"

    assert applied(key) == "wait=1"
