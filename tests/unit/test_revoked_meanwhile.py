"""A key that is revoked while its owner waits: waits and streams end, and tell nothing more."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx2
import pytest
from starlette.testclient import TestClient

from meterport.services.keys import NewKey, create_key, revoke_key
from meterport.web.app import create_app
from meterport.web.watch import Watch
from tests import make
from tests.contracts.conftest import wait_until

EXPORT = {"smart_meter_id": "A", "start": "2024-01-01", "end": "2024-01-02"}


@pytest.fixture
def home(home: make.Home) -> make.Home:
    home.load(make.readings(0.5, meter="A"))
    return make.opened(home, auth="keys")


@pytest.fixture
def client(home: make.Home) -> Iterator[TestClient]:
    app = create_app(home.services, home.settings)
    app.state.watch = Watch(home.services.archive.some, every_s=0.01)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def key(home: make.Home, client: TestClient) -> NewKey:
    made = create_key(
        scopes=["read", "export"],
        meters=["A"],
        keys=home.services.keys,
        audit=home.services.audit,
        now=datetime.now(UTC),
    )
    client.headers["Authorization"] = f"Bearer {made.text}"
    return made


def answered(
    client: TestClient, home: make.Home, key: NewKey, path: str, **headers: str
) -> httpx2.Response:
    """What a client gets that asks, waits, and whose key is revoked before its export ends."""
    got: list[httpx2.Response] = []
    waiting = threading.Thread(target=lambda: got.append(client.get(path, headers=headers)))
    waiting.start()
    watch: Watch = client.app.state.watch  # type: ignore[attr-defined]
    wait_until(lambda: bool(watch._waiting))
    revoke_key(key.key.id, keys=home.services.keys, audit=home.services.audit)
    home.work()
    waiting.join(60)
    return got[0]


@pytest.mark.parametrize("path", ["/api/export/status/{}", "/api/exports/{}"])
def test_a_wait_ends_without_a_word_of_the_export(
    client: TestClient, home: make.Home, key: NewKey, path: str
) -> None:
    job_id = client.post("/api/exports", json=EXPORT).json()["id"]

    answer = answered(client, home, key, path.format(job_id), Prefer="wait=30")

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "UNAUTHENTICATED")
    assert "completed" not in answer.text


def test_a_stream_ends_without_another_event(
    client: TestClient, home: make.Home, key: NewKey
) -> None:
    job_id = client.post("/api/exports", json=EXPORT).json()["id"]

    answer = answered(client, home, key, f"/api/exports/{job_id}/events")

    assert answer.status_code == 200
    assert "event: queued" in answer.text
    assert "completed" not in answer.text
