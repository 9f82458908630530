"""Answers that end in the midst, because they have to: said in the log, and no crash."""

import pytest
import structlog
from starlette.testclient import TestClient

from meterport.domain.errors import ServiceUnavailable
from tests import make
from tests.unit import fleets


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
    with structlog.testing.capture_logs() as logged:
        client.get(path.format(job.id))

    events = {line["event"]: line for line in logged}
    assert "request_crashed" not in events
    assert events["answer_cut"]["code"] == "SERVICE_UNAVAILABLE"
