"""Exports of an asked-for version of the readings: that one, or none."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from meterport.adapters.sql_database import Database
from meterport.adapters.sql_jobs import SqlJobs
from meterport.bootstrap import erase
from meterport.domain.exports import ExportRequest
from meterport.domain.jobs import Job, RetryPolicy
from meterport.domain.options import ExportOptions
from meterport.domain.readings import MeterSummary
from meterport.services.find_meters import meters_at
from meterport.services.keep_readings import keep_readings
from meterport.services.rerun_export import rerun_export
from meterport.services.work_job import work_job
from tests import make
from tests.unit.exports import content, error_code, files, now, workplace
from tests.unit.fleets import work, work_once

NO_TIME = timedelta(0)
AT_ONCE = RetryPolicy(retries=3, first_delay=NO_TIME)
OLD = make.csv_lines("2024-01-01T00:00:00Z,123,0.5,2.1,230.1,9.1")


@pytest.fixture
def corrected(home: make.Home) -> make.Home:
    """0.5 in version 1, 0.75 in version 2; another meter since version 1."""
    home.load(make.readings(0.5), make.readings(0.7, meter="other"))
    home.load(make.readings(0.75))
    return home


def asked(home: make.Home, version: int, meter: str = "123") -> Job:
    return home.submit(replace(make.request(meter), options=ExportOptions(as_of=version)))


def upkeep(home: make.Home) -> None:
    """Forget every version that need not be kept."""
    s = home.services
    keep_readings(
        source=s.source,
        upkeep=s.upkeep,
        catalog=s.catalog,
        archive=s.archive,
        keep_versions=NO_TIME,
    )


def forget_all_but_the_newest(home: make.Home) -> None:
    home.services.upkeep.forget(
        older_than=timedelta.min, in_use=None, now=datetime.now(UTC), fence=lambda: None
    )


def again(home: make.Home, job: Job) -> Job:
    s = home.services
    return rerun_export(
        job.id,
        at=s.intake,
        source=s.source,
    ).job


def test_made_at_is_when_the_whole_version_was_made_whatever_meter_it_was_made_for(
    corrected: make.Home,
) -> None:
    """As docs/formats.md says: the readings of `other` are older than that."""
    job = corrected.submit(replace(make.request("other"), format="json"))
    corrected.work()

    said = json.loads(content(corrected, job))["export"]["source"]["made_at"]

    of_version = corrected.services.source.made_at(2)
    assert datetime.fromisoformat(said) == of_version.replace(microsecond=0)


def test_the_version_asked_for_is_the_one_that_is_read(corrected: make.Home) -> None:
    job = asked(corrected, 1)

    corrected.work()

    assert content(corrected, job) == OLD
    assert now(corrected, job).source_version == 1


def test_a_version_that_has_gone_fails_the_job_at_once(corrected: make.Home) -> None:
    forget_all_but_the_newest(corrected)
    job = asked(corrected, 1)

    assert work_job(workplace(corrected, policy=AT_ONCE))

    ended = now(corrected, job)
    assert (error_code(corrected, job), ended.attempt, ended.retries) == ("VERSION_GONE", 1, 0)
    assert files(corrected) == []


@pytest.mark.parametrize("version", [3, 10**12, 2**63 - 1])
def test_a_version_that_never_was_fails_the_job_at_once(version: int, corrected: make.Home) -> None:
    job = asked(corrected, version)

    assert work_job(workplace(corrected, policy=AT_ONCE))

    assert (error_code(corrected, job), now(corrected, job).attempt) == ("VERSION_GONE", 1)


def test_upkeep_leaves_the_version_that_a_waiting_job_asks_for(corrected: make.Home) -> None:
    job = asked(corrected, 1)

    upkeep(corrected)

    assert corrected.services.source.keeps(1)
    corrected.work()
    assert content(corrected, job) == OLD
    upkeep(corrected)
    assert not corrected.services.source.keeps(1)


def test_an_erasure_elsewhere_takes_the_version_and_the_job_says_so(corrected: make.Home) -> None:
    """Never another version, though the meter itself is still there."""
    job = asked(corrected, 1)

    erase(corrected.services, "other")
    corrected.work(AT_ONCE)

    assert error_code(corrected, job) == "VERSION_GONE"
    assert now(corrected, job).attempt == 1


def test_a_version_that_an_erasure_takes_from_an_attempt_is_not_replaced(
    corrected: make.Home,
) -> None:
    job = asked(corrected, 1)

    class Erasing(SqlJobs):
        def begin(self, job: Job, **given: Any) -> bool:
            begun = super().begin(job, **given)
            s = corrected.services
            s.erasures.begin("other")
            s.upkeep.erase("other", fence=lambda: None)
            forget_all_but_the_newest(corrected)
            return begun

    jobs = Erasing(Database(corrected.settings.jobs_url))
    work_job(workplace(corrected, jobs=jobs, policy=AT_ONCE))
    corrected.work(AT_ONCE)

    assert error_code(corrected, job) == "VERSION_GONE"
    assert files(corrected) == []


def test_a_fleet_whose_version_goes_between_its_parts_says_so(corrected: make.Home) -> None:
    options = ExportOptions(as_of=1)
    job = corrected.submit(ExportRequest.of_fleet(["123", "other"], make.period(), options=options))
    work_once(corrected, part_rows=1)
    work_once(corrected, part_rows=1)
    forget_all_but_the_newest(corrected)

    work(corrected, part_rows=1)

    assert error_code(corrected, job) == "VERSION_GONE"


def test_an_erasure_of_the_meter_ends_the_job_that_waits(corrected: make.Home) -> None:
    job = asked(corrected, 2)

    erase(corrected.services, "123")
    corrected.work()

    assert error_code(corrected, job) == "EXPORT_CANCELLED"
    assert files(corrected) == []


def test_a_rerun_asks_for_the_same_version(corrected: make.Home) -> None:
    job = asked(corrected, 1)
    corrected.work()

    once_more = again(corrected, job)
    corrected.load(make.readings(0.9))
    corrected.work()

    assert content(corrected, once_more) == OLD


def test_a_rerun_of_a_version_that_has_gone_says_so(corrected: make.Home) -> None:
    job = asked(corrected, 1)
    corrected.work()
    forget_all_but_the_newest(corrected)

    once_more = again(corrected, job)
    corrected.work()

    assert error_code(corrected, once_more) == "VERSION_GONE"


def known_at(home: make.Home, version: int, *meters: str) -> list[tuple[str, int]]:
    s = home.services
    found = meters_at(version, meters, source=s.source, catalog=s.catalog)
    return [(meter.smart_meter_id, meter.rows) for meter in found]


def test_what_is_known_of_meters_is_of_the_version_and_not_of_the_catalogue(
    home: make.Home,
) -> None:
    home.load(make.readings(0.5, meter="b"))
    home.load(make.readings(0.5, 0.6, meter="b"), make.readings(0.5, meter="a"))

    assert known_at(home, 1, "b", "a") == [("b", 1)]
    assert known_at(home, 2, "b", "a") == [("a", 1), ("b", 2)]


def test_a_catalogue_that_is_behind_the_version_is_passed_over(home: make.Home) -> None:
    home.load(make.readings(0.5))
    home.services.readings.merge(
        [make.readings(0.5, 0.6)], known_intervals=lambda _: {}, fence=lambda: None
    )

    assert home.services.catalog.version() == 1
    assert known_at(home, 2, "123") == [("123", 2)]


def test_a_catalogue_that_goes_on_while_it_is_asked_is_passed_over(home: make.Home) -> None:
    home.load(make.readings(0.5))
    s = home.services

    class Moving:
        """An import ends between the look at its version and the look at its meters."""

        versions = iter((1, 2))

        def version(self) -> int:
            return next(self.versions)

        def some(self, meters: object) -> dict[str, MeterSummary]:
            return {"123": MeterSummary("123", make.JANUARY, make.JANUARY, 60, 99)}

    found = meters_at(1, ["123"], source=s.source, catalog=Moving())  # type: ignore[arg-type]

    assert [meter.rows for meter in found] == [1]
