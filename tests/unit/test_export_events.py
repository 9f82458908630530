"""GET /api/exports/{id}/events: what a client sees of an export as it goes on."""

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient

from meterport.web import events
from meterport.web.exports import told as shown
from meterport.web.watch import Watch
from tests import make

EXPORT = {"smart_meter_id": "123", "start": "2024-01-01", "end": "2024-01-02"}


def created(client: TestClient) -> str:
    return str(client.post("/api/exports", json=EXPORT).json()["id"])


def told(text: str) -> Iterator[tuple[str, dict[str, object]]]:
    """The events of a stream by name, without its comments."""
    begin, *rest = text.split("\n\n")
    assert begin == "retry: 3000"
    for event in rest:
        if event and not event.startswith(":"):
            name, data = event.split("\n")
            yield name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def test_an_export_is_told_until_its_end(client: TestClient, home: make.Home) -> None:
    home.load(make.readings(0.5))
    job_id = created(client)
    worker = threading.Timer(0.3, home.work)
    worker.start()

    answer = client.get(f"/api/exports/{job_id}/events")

    worker.join()
    names, bodies = zip(*told(answer.text), strict=True)
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert answer.headers["Cache-Control"] == "no-store"
    assert (names[0], names[-1]) == ("queued", "completed")
    assert bodies[-1] == client.get(f"/api/exports/{job_id}").json()


def test_an_export_that_has_ended_is_told_once(client: TestClient, home: make.Home) -> None:
    job_id = created(client)
    home.work()

    ((name, body),) = told(client.get(f"/api/exports/{job_id}/events").text)

    assert name == "failed"
    assert body == client.get(f"/api/exports/{job_id}").json()


def test_a_quiet_stream_is_kept_alive_by_comments(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "PING_S", 0.05)
    monkeypatch.setattr(events, "PINGS_AT_MOST", 3)
    job_id = created(client)

    text = client.get(f"/api/exports/{job_id}/events").text

    assert [name for name, _ in told(text)] == ["queued"]
    assert text.count(": ping\n\n") == 2


def test_an_export_that_is_unknown_has_no_events(client: TestClient) -> None:
    answer = client.get("/api/exports/nobody/events")

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "JOB_NOT_FOUND")


def test_who_comes_when_too_many_wait_is_told_when_to_come_again(
    client: TestClient, home: make.Home
) -> None:
    job_id = created(client)
    client.app.state.watch = Watch(home.services.archive.some, most=0)  # type: ignore[attr-defined]

    answer = client.get(f"/api/exports/{job_id}/events")

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "SERVICE_UNAVAILABLE")
    assert answer.headers["Retry-After"] == "5"


def test_a_stream_has_its_place_from_its_beginning_to_its_end(
    client: TestClient, home: make.Home
) -> None:
    job_id = created(client)
    home.work()
    watch = Watch(home.services.archive.some, most=1)
    client.app.state.watch = watch  # type: ignore[attr-defined]
    taken: list[int] = []

    def looking(*arguments: Any) -> dict[str, object]:
        taken.append(watch.taken)
        return shown(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events, "told", looking)
        answers = [client.get(f"/api/exports/{job_id}/events") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200] * 3
    assert taken == [1] * 3
    assert watch.taken == 0


def test_a_service_that_stops_ends_the_streams(client: TestClient, home: make.Home) -> None:
    job = home.services.jobs.get(created(client))
    assert job is not None
    watch = Watch(home.services.archive.some, every_s=0)

    async def stopped_meanwhile() -> list[str]:
        stream = events._events(job, home.services, watch, lambda _: True)
        seen = [await anext(stream), await anext(stream)]
        watch.stop()
        return seen + [each async for each in stream]

    assert len(asyncio.run(stopped_meanwhile())) <= 3


def test_each_step_is_told_once(client: TestClient, home: make.Home) -> None:
    job = home.services.jobs.get(created(client))
    assert job is not None
    begun = replace(job, attempt=1, source_version=1)
    steps = [job, job, begun, replace(begun, rows_written=1), replace(begun, attempt=2)]
    seen: list[str] = []
    watch = Watch(lambda _: {job.id: steps[len(seen)]}, every_s=0)

    async def all_of_it() -> None:
        async for each in events._events(job, home.services, watch, lambda _: True):
            seen.append(each)
            if len(seen) == len(steps):
                break

    asyncio.run(all_of_it())

    assert seen[0] == "retry: 3000\n\n"
    assert len(set(seen)) == len(steps)
    assert not any(each.startswith(":") for each in seen)
