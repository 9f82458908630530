"""Answers that end in the midst, because they have to: said in the log, and no crash."""

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from meterport.domain.errors import ServiceUnavailable
from tests import make
from tests.unit import fleets


class Noted:
    """What is logged: a logger that another test configured is not to be captured."""

    def __init__(self) -> None:
        self.events: dict[str, dict[str, object]] = {}

    def __getattr__(self, level: str) -> Callable[..., None]:
        def note(event: str, **told: object) -> None:
            self.events[event] = told

        return note


@pytest.mark.parametrize("path", ["/api/exports/{}/manifest", "/api/exports/{}/events"])
def test_a_database_that_goes_in_the_midst_of_an_answer_is_no_crash(
    client: TestClient, loaded: make.Home, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    job = fleets.asked(loaded)
    fleets.work(loaded)

    def away(*_: object) -> None:
        raise ServiceUnavailable("the database does not answer; try again soon")

    monkeypatch.setattr("meterport.services.unerased.Unerased.check", away)
    monkeypatch.setattr("meterport.web.events._event", away)
    log = Noted()
    monkeypatch.setattr("meterport.web.edge.log", log)

    client.get(path.format(job.id))

    assert "request_crashed" not in log.events
    assert log.events["answer_cut"]["code"] == "SERVICE_UNAVAILABLE"
