"""POST /api/readings with an Idempotency-Key: imported once, however often it is sent."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from anyio import to_thread
from sqlalchemy import select
from starlette.testclient import TestClient
from starlette.types import Message

from meterport.adapters.sql_database import Database
from meterport.adapters.sql_tables import import_keys
from meterport.domain.access import Access
from meterport.domain.errors import ImportBusy, ServiceUnavailable
from meterport.services.import_options import Said
from meterport.services.receive_readings import receive_readings
from meterport.web import import_once
from meterport.web.app import create_app
from meterport.web.readings import Inbox
from tests import make
from tests.answers import assert_refused
from tests.contracts.conftest import wait_until
from tests.unit import keyed

CSV = "timestamp,smart_meter_id,interval_s,energy_kwh\n2024-01-01T00:00:00Z,123,900,0.5\n"
OTHER = CSV.replace("0.5", "0.6")


class Reader:
    """Imports in this process, one file after the other; counts, and waits if it is told to."""

    def __init__(self, home: make.Home) -> None:
        self._home = home
        self.begun = 0
        self.go_on = threading.Event()
        self.go_on.set()

    async def __call__(self, path: Path, said: Said, access: Access) -> dict[str, object]:
        self.begun += 1

        def work() -> dict[str, object]:
            s = self._home.services
            assert self.go_on.wait(60)
            return receive_readings(
                path,
                said,
                access,
                source=s.source,
                store=s.readings,
                catalog=s.catalog,
                audit=s.audit,
            )

        return await to_thread.run_sync(work)


@pytest.fixture
def reader(home: make.Home) -> Reader:
    return Reader(home)


@pytest.fixture
def client(home: make.Home, reader: Reader) -> Iterator[TestClient]:
    app = create_app(home.services, home.settings)
    app.state.inbox = Inbox(reader)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as made:
        yield made


def post(
    client: TestClient,
    body: str = CSV,
    *,
    key: str = "one",
    query: str = "",
    kind: str = "text/csv",
    more: dict[str, str] | None = None,
) -> httpx2.Response:
    headers = {"Content-Type": kind, "Idempotency-Key": key} | (more or {})
    return client.post(f"/api/readings?{query}", content=body, headers=headers)


def stored(home: make.Home) -> list[tuple[str, str]]:
    with Database(home.settings.jobs_url).read() as connection:
        rows = connection.execute(select(import_keys.c.key, import_keys.c.state))
        return [(row.key, row.state) for row in rows]


def test_a_file_that_is_sent_again_is_told_of_again(client: TestClient, reader: Reader) -> None:
    first = post(client)

    again = post(client)

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json()["rows_new"] == 1
    assert again.json() == first.json()
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert reader.begun == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"body": OTHER},
        {"body": CSV + "\n"},
        {"query": "skip_bad_rows=true"},
        {"kind": "text/csv; charset=utf-8"},
        {"kind": "application/octet-stream", "query": "format=csv"},
    ],
)
def test_another_request_with_the_same_key_is_refused(
    client: TestClient, reader: Reader, changed: dict[str, str]
) -> None:
    post(client)

    answer = post(client, **changed)  # type: ignore[arg-type]

    assert_refused(answer, 422, "IDEMPOTENCY_KEY_REUSED")
    assert reader.begun == 1


def test_the_order_of_parameters_says_nothing(client: TestClient) -> None:
    post(client, query="meter=5&map=energy_kwh=energy_kwh&skip_bad_rows=false")

    again = post(client, query="skip_bad_rows=false&map=energy_kwh=energy_kwh&meter=5")

    assert again.headers["Idempotency-Replayed"] == "true"


def test_another_key_is_another_import(client: TestClient, reader: Reader) -> None:
    answers = [post(client, key=key) for key in ("one", "two")]

    assert [answer.json()["rows_new"] for answer in answers] == [1, 0]
    assert reader.begun == 2


def test_without_a_key_every_file_is_imported(client: TestClient, reader: Reader) -> None:
    for _ in range(2):
        client.post("/api/readings", content=CSV, headers={"Content-Type": "text/csv"})

    assert reader.begun == 2


@pytest.mark.parametrize("key", ["", "é", "x" * 256])
def test_a_key_that_is_none_is_refused(client: TestClient, reader: Reader, key: str) -> None:
    headers = {b"Content-Type": b"text/csv", b"Idempotency-Key": key.encode()}

    answer = client.post("/api/readings", content=CSV, headers=headers)

    assert_refused(answer, 400, "IDEMPOTENCY_KEY_INVALID")
    assert reader.begun == 0


def test_a_refused_file_leaves_its_key_for_a_better_one(client: TestClient) -> None:
    assert_refused(post(client, CSV + "yesterday,123,900,1\n"), 422, "IMPORT_REFUSED")

    answer = post(client)

    assert answer.status_code == 200
    assert "Idempotency-Replayed" not in answer.headers


def test_what_may_pass_leaves_the_key_too(
    client: TestClient, home: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(**_: object) -> None:
        raise ImportBusy("another process writes readings; try again when it is done")

    with monkeypatch.context() as patched:
        patched.setattr(home.services.catalog, "writing", busy)
        assert_refused(post(client), 409, "IMPORT_BUSY")

    assert stored(home) == []
    assert post(client).status_code == 200


def test_many_at_once_are_one_import(client: TestClient, home: make.Home, reader: Reader) -> None:
    reader.go_on.clear()
    with ThreadPoolExecutor(6) as threads:
        posts = [threads.submit(post, client) for _ in range(6)]
        wait_until(lambda: sum(each.done() for each in posts) == 5)
        reader.go_on.set()
    answers = [each.result() for each in posts]

    done = [answer for answer in answers if answer.status_code == 200]
    assert len(done) == 1
    for answer in answers:
        if answer is not done[0]:
            assert_refused(answer, 409, "IDEMPOTENCY_KEY_IN_USE")
            assert answer.headers["Retry-After"] == "5"
    assert reader.begun == 1
    assert stored(home) == [("one", "done")]
    assert post(client).json() == done[0].json()


def test_a_long_import_keeps_its_claim(
    client: TestClient, home: make.Home, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_once, "KEEP_EVERY_S", 0.01)
    renewed: list[object] = []
    monkeypatch.setattr(home.services.import_keys, "renew", renewed.append)
    reader.go_on.clear()
    with ThreadPoolExecutor(1) as threads:
        posting = threads.submit(post, client)
        wait_until(lambda: len(renewed) > 2)
        reader.go_on.set()

    assert posting.result().status_code == 200


def test_a_claim_that_cannot_be_renewed_now_is_renewed_later(
    client: TestClient, home: make.Home, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_once, "KEEP_EVERY_S", 0.01)
    tried: list[object] = []

    def away(claim: object) -> None:
        tried.append(claim)
        raise ServiceUnavailable("the database does not answer; try again soon")

    monkeypatch.setattr(home.services.import_keys, "renew", away)
    reader.go_on.clear()
    with ThreadPoolExecutor(1) as threads:
        posting = threads.submit(post, client)
        wait_until(lambda: len(tried) > 2)
        reader.go_on.set()

    assert posting.result().status_code == 200


def test_a_body_that_breaks_off_is_no_request_of_its_key(home: make.Home, reader: Reader) -> None:
    app = create_app(home.services, home.settings)
    app.state.inbox = Inbox(reader)
    messages: Iterator[Message] = iter(
        [
            {"type": "http.request", "body": CSV.encode(), "more_body": True},
            {"type": "http.disconnect"},
        ]
    )

    async def receive() -> Message:
        return next(messages)

    async def send(_: Message) -> None:
        pass

    named = {"host": "localhost", "content-type": "text/csv", "idempotency-key": "one"}
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/readings",
        "raw_path": b"/api/readings",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
    }

    asyncio.run(app(scope, receive, send))

    assert reader.begun == 0
    assert stored(home) == []


def test_a_key_stands_for_its_owners_request_and_for_its_meters(
    home: make.Home, reader: Reader
) -> None:
    one = keyed.key(home, scopes=["import"])
    owner = keyed.id_of(one)
    same = keyed.key(home, scopes=["import"], owner=owner)
    fewer = keyed.key(home, scopes=["import"], owner=owner, meters=["9*"])
    foreign = keyed.key(home, scopes=["import"])
    with keyed.client_of(home) as client:
        client.app.state.inbox = Inbox(reader)  # type: ignore[attr-defined]
        answers = [post(client, more=key) for key in (one, same, foreign, fewer)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 422]
    replayed = ["Idempotency-Replayed" in answer.headers for answer in answers]
    assert replayed == [False, True, False, False]
    assert_refused(answers[3], 422, "IDEMPOTENCY_KEY_REUSED")
