"""Files that are sent with a key: revoked while it waits, and one key beside others."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest
from anyio import to_thread
from starlette.testclient import TestClient

from meterport.domain.access import Access
from meterport.domain.audit import Sought
from meterport.domain.errors import ImportBusy
from meterport.ports.overview import Upload
from meterport.services.import_options import Said
from meterport.services.keys import authenticate, revoke_key
from meterport.web.readings import AT_ONCE_OF_OWNER, Inbox
from tests import make
from tests.answers import assert_refused
from tests.contracts.conftest import wait_until
from tests.unit import keyed

CSV = "timestamp,smart_meter_id,interval_s,energy_kwh\n2024-01-01T00:00:00Z,123,900,0.5\n"


class Reader:
    """Takes a file when it is told to, and reads nothing of it."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.go_on = threading.Event()

    async def __call__(self, path: Path, said: Said, access: Access) -> dict[str, object]:
        self.begun.append(access.key_id)
        assert await to_thread.run_sync(self.go_on.wait, 60)
        return {"files": []}


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def client(home: make.Home, reader: Reader) -> Iterator[TestClient]:
    with keyed.client_of(home) as made:
        made.app.state.inbox = Inbox(reader)  # type: ignore[attr-defined]
        yield made


def post(client: TestClient, key: dict[str, str], **headers: str) -> httpx2.Response:
    sent = {"Content-Type": "text/csv"} | key | headers
    return client.post("/api/readings", content=CSV, headers=sent)


@pytest.mark.parametrize("once", [{}, {"Idempotency-Key": "one"}])
def test_what_waits_for_its_turn_is_not_imported_with_a_key_that_is_revoked(
    home: make.Home, client: TestClient, reader: Reader, once: dict[str, str]
) -> None:
    first, second = (keyed.key(home, scopes=["import"]) for _ in range(2))
    with ThreadPoolExecutor(2) as threads:
        before = threads.submit(post, client, first)
        wait_until(lambda: bool(reader.begun))
        waiting = threads.submit(post, client, second, **once)
        inbox: Inbox = client.app.state.inbox  # type: ignore[attr-defined]
        wait_until(lambda: inbox._turn is not None and inbox._turn.statistics().tasks_waiting)
        services = home.services
        revoke_key(keyed.id_of(second), keys=services.keys, audit=services.audit)
        reader.go_on.set()

    assert before.result().status_code == 200
    assert_refused(waiting.result(), 401, "UNAUTHENTICATED")
    assert reader.begun == [keyed.id_of(first)]


def test_a_report_is_not_told_to_a_key_that_is_revoked_while_it_sends(
    home: make.Home, client: TestClient, reader: Reader
) -> None:
    reader.go_on.set()
    key = keyed.key(home, scopes=["import"])
    assert post(client, key, **{"Idempotency-Key": "one"}).status_code == 200

    def body() -> Iterator[bytes]:
        services = home.services
        revoke_key(keyed.id_of(key), keys=services.keys, audit=services.audit)
        yield CSV.encode()

    # The client sends what a generator gives once the request has come to the application.
    headers = {"Content-Type": "text/csv", "Idempotency-Key": "one"} | key
    answer = client.post("/api/readings", content=body(), headers=headers)

    assert_refused(answer, 401, "UNAUTHENTICATED")


def test_no_owner_has_all_places_for_files(home: make.Home, reader: Reader) -> None:
    owner, other = (
        authenticate(
            keyed.key(home, scopes=["import"])["Authorization"],
            keys=home.services.keys,
            now=datetime.now(UTC),
        )
        for _ in range(2)
    )
    inbox = Inbox(reader)
    with ExitStack() as held:
        for _ in range(AT_ONCE_OF_OWNER):
            held.enter_context(inbox.place(owner))

        with pytest.raises(ImportBusy, match="of this key's owner"), inbox.place(owner):
            pass
        with inbox.place(other):
            pass

    with inbox.place(owner):
        pass


def test_which_meter_an_import_was_refused_for_is_recorded(home: make.Home) -> None:
    """Also where the file is read by a process of its own."""
    key = keyed.key(home, scopes=["import"], meters=["A"])
    with keyed.client_of(home) as client:
        assert_refused(post(client, key), 403, "FORBIDDEN")

    (seen,) = home.services.audit.page(Sought(smart_meter_id="123"), limit=9).entries
    assert (seen.entry.action, seen.entry.result) == ("request", "refused")


def test_others_are_answered_while_a_file_system_makes_room(
    home: make.Home, client: TestClient, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader.go_on.set()
    uploads, begun, answered = home.services.uploads, threading.Event(), threading.Event()
    real, in_time = uploads.receiving, []

    @contextmanager
    def slow(ending: str) -> Iterator[Upload]:
        begun.set()
        in_time.append(answered.wait(20))
        with real(ending) as upload:
            yield upload

    monkeypatch.setattr(uploads, "receiving", slow)
    key = keyed.key(home, scopes=["import"])
    with ThreadPoolExecutor(1) as threads:
        posting = threads.submit(post, client, key)
        assert begun.wait(60)
        assert client.get("/livez").status_code == 200
        answered.set()

    assert posting.result().status_code == 200
    assert in_time == [True]
