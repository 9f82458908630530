"""Which time zones are taken, and what becomes of a job whose zone its worker does not know."""

import json
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from meterport.adapters.sql_database import Database
from meterport.adapters.sql_tables import jobs
from meterport.domain.errors import InvalidTimezone
from meterport.domain.exports import ExportRequest
from meterport.domain.jobs import Job
from meterport.domain.zones import Offsets, zones
from meterport.services.rerun_export import rerun_export
from tests import make
from tests.unit.exports import content, error_code, files, now, submitted
from tests.unit.fleets import work

ROW = "2024-01-01T00:00:00Z,A,0.5,2.1,230.1,9.1"


def in_strange_zone(home: make.Home, job: Job) -> Job:
    """As another machine, or another release of the zones, might have taken it."""
    words = json.dumps({"timezone": "Mars/Phobos", "gaps": "flag"})
    with Database(home.settings.jobs_url).write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job.id).values(options=words))
    return job


def test_a_job_in_an_unknown_zone_fails_alone_and_the_queue_goes_on(
    loaded: make.Home, client: TestClient
) -> None:
    strange, other = in_strange_zone(loaded, submitted(loaded, "A")), submitted(loaded, "A")

    loaded.work()

    error = now(loaded, strange).error
    assert error is not None
    assert (error.code, error.message) == (
        "INVALID_TIMEZONE",
        "The time zone 'Mars/Phobos' is not known to the worker",
    )
    assert "same version of tzdata" in error.details
    assert now(loaded, strange).attempt == 1
    assert content(loaded, other).splitlines()[1] == ROW
    assert files(loaded) == [now(loaded, other).key]
    told = client.get(f"/api/export/status/{strange.id}").json()
    assert told["error"]["code"] == "INVALID_TIMEZONE"


def test_a_fleet_in_an_unknown_zone_fails_too(loaded: make.Home) -> None:
    job = in_strange_zone(loaded, loaded.submit(ExportRequest.of_fleet("ABC", make.period())))

    work(loaded)

    assert error_code(loaded, job) == "INVALID_TIMEZONE"


def test_a_job_in_an_unknown_zone_is_not_asked_for_once_more(loaded: make.Home) -> None:
    job = in_strange_zone(loaded, submitted(loaded, "A"))
    s = loaded.services

    with pytest.raises(InvalidTimezone, match="'Mars/Phobos' is not known"):
        rerun_export(
            job.id,
            at=s.intake,
            source=s.source,
        )


def test_every_zone_that_is_taken_has_rules() -> None:
    assert {"UTC", "Europe/Berlin", "EST5EDT", "Etc/GMT+10"} <= zones()
    assert not {"localtime", "Factory", "posixrules", "posix/UTC"} & zones()
    for zone in zones():
        assert ZoneInfo(zone).key == zone
        assert Offsets.of(zone, make.period()).starts.size
