"""/livez and /readyz: whether the process answers, and whether it can do its work."""

import threading
from collections.abc import Callable, Iterator

import pytest
from starlette.testclient import TestClient

from meterport.domain.errors import ServiceUnavailable, SourceUnavailable, StorageFull
from meterport.services.readiness import NO_ANSWER, Readiness
from tests import make
from tests.contracts.conftest import wait_until

ALL_OK = {"database": "ok", "store": "ok", "disk": "ok", "readings": "ok", "workers": "ok"}


@pytest.fixture
def worker(home: make.Home) -> Iterator[None]:
    """As one says so that has started."""
    leave = home.services.presence.announce("of-the-test")
    wait_until(home.services.presence.workers)
    yield
    leave()


def raising(error: Exception) -> Callable[..., None]:
    def gone(*args: object, **kwargs: object) -> None:
        raise error

    return gone


def test_a_process_that_answers_is_alive(client: TestClient) -> None:
    answer = client.get("/livez")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.usefixtures("worker")
def test_a_service_with_all_its_parts_is_ready(client: TestClient) -> None:
    answer = client.get("/readyz")

    assert answer.status_code == 200
    assert answer.json() == {"status": "ready", "checks": ALL_OK}


def test_without_a_worker_it_is_not(client: TestClient) -> None:
    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert answer.json() == {
        "status": "not ready",
        "checks": ALL_OK | {"workers": "no worker"},
    }


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("service", "method", "error", "part", "told"),
    [
        (
            *("archive", "recent", ServiceUnavailable("postgresql://me:secret@db away")),
            *("database", "SERVICE_UNAVAILABLE"),
        ),
        ("objects", "draft", OSError(13, "no", "/secret/folder"), "store", "INTERNAL_ERROR"),
        ("space", "check", StorageFull("secret/ is full"), "disk", "STORAGE_FULL"),
        (
            *("source", "version", SourceUnavailable("s3://secret cannot be read")),
            *("readings", "SOURCE_UNAVAILABLE"),
        ),
        ("presence", "workers", ServiceUnavailable("away"), "workers", "SERVICE_UNAVAILABLE"),
    ],
)
def test_what_fails_is_told_by_a_code_alone(
    client: TestClient,
    home: make.Home,
    monkeypatch: pytest.MonkeyPatch,
    service: str,
    method: str,
    error: Exception,
    part: str,
    told: str,
) -> None:
    monkeypatch.setattr(getattr(home.services, service), method, raising(error))

    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert answer.json() == {"status": "not ready", "checks": ALL_OK | {part: told}}
    assert "secret" not in answer.text


@pytest.mark.usefixtures("worker")
def test_a_folder_that_went_away_is_noticed(client: TestClient, home: make.Home) -> None:
    home.settings.readings.rename(home.settings.readings.with_name("elsewhere"))

    checks = client.get("/readyz").json()["checks"]

    assert checks == ALL_OK | {"disk": "STORAGE_UNAVAILABLE", "readings": "SOURCE_UNAVAILABLE"}


@pytest.mark.usefixtures("worker")
def test_asking_leaves_no_file_behind(client: TestClient, home: make.Home) -> None:
    client.get("/readyz")

    assert list(home.services.objects.keys()) == []


def test_a_part_that_hangs_is_asked_once_and_not_waited_for() -> None:
    asked: list[str] = []
    goes_on = threading.Event()

    def hangs() -> None:
        asked.append("again")
        goes_on.wait(60)

    ready = Readiness({"store": hangs, "disk": lambda: None}, patience_s=0.05)

    looks = [ready.look() for _ in range(3)]

    assert looks == [{"store": NO_ANSWER, "disk": "ok"}] * 3
    assert asked == ["again"]
    goes_on.set()
    wait_until(lambda: ready.look()["store"] == "ok")


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_a_head_request_and_a_slash_are_no_other_place(client: TestClient, path: str) -> None:
    assert client.head(path).status_code == 200
    assert client.get(f"{path}/").status_code == 200
