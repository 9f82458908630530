"""Housekeeping: its chores run unasked, in one process at a time, and none stops another."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog
from sqlalchemy import delete, update

from meterport import housekeeping
from meterport.adapters.sql_database import Database
from meterport.adapters.sql_leases import SqlLeases
from meterport.adapters.sql_tables import jobs, leases
from meterport.bootstrap import Services, connect
from meterport.domain.errors import LeaseTaken, ServiceUnavailable
from meterport.domain.jobs import JobId, Lane
from meterport.housekeeping import keep_house
from meterport.ports import HeldLease
from meterport.sources.delta_upkeep import DeltaUpkeep
from meterport.sources.table_folder import TableFolder
from tests import make
from tests.contracts.conftest import wait_until
from tests.unit.exports import now, submitted

FAR_AWAY = datetime(2099, 1, 1, tzinfo=UTC)
ORPHAN = "00000000-0000-4000-8000-000000000000/1"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every chore is due at once and often."""
    monkeypatch.setattr(housekeeping, "TICK_S", 0.02)
    monkeypatch.setattr(housekeeping, "SWEEP_S", 0.02)


@contextmanager
def keeping(
    home: make.Home, services: Services | None = None, **given: object
) -> Iterator[threading.Event]:
    """Housekeeping at work in a thread, until the event that it yields is set or the block ends."""
    stopping = threading.Event()
    settings = home.settings.model_copy(update=given)
    keeper = threading.Thread(
        target=keep_house, args=(services or connect(settings), settings, stopping)
    )
    keeper.start()
    try:
        yield stopping
        assert keeper.is_alive() or stopping.is_set()
    finally:
        stopping.set()
        keeper.join(60)
    assert not keeper.is_alive()


def orphan(home: make.Home) -> Path:
    path = home.settings.files / ORPHAN
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"nobody's")
    return path


def swept(home: make.Home) -> None:
    """Wait until what is put there now is gone."""
    path = orphan(home)
    wait_until(lambda: not path.exists())


def held(home: make.Home) -> bool:
    try:
        with home.services.leases.holding("housekeeping"):
            return False
    except LeaseTaken:
        return True


def test_an_orphan_is_swept_without_being_asked(home: make.Home) -> None:
    path = orphan(home)

    with keeping(home):
        wait_until(lambda: not path.exists())
        swept(home)


def test_an_expired_file_is_swept_and_a_kept_one_is_not(home: make.Home) -> None:
    home.load(make.readings(0.5))
    expired, kept = submitted(home), submitted(home)
    home.work()
    with Database(home.settings.jobs_url).write() as connection:
        this = update(jobs).where(jobs.c.id == expired.id)
        connection.execute(this.values(expires_at=make.JANUARY))

    with keeping(home):
        wait_until(lambda: f"{expired.id}/1" not in set(home.services.objects.keys()))
        swept(home)

    assert list(home.services.objects.keys()) == [f"{kept.id}/1"]


def test_old_records_are_forgotten_without_being_asked(home: make.Home) -> None:
    old, young = submitted(home), submitted(home)
    home.work()
    with Database(home.settings.jobs_url).write() as connection:
        this = update(jobs).where(jobs.c.id == old.id)
        connection.execute(this.values(created_at=make.JANUARY))

    with keeping(home):
        wait_until(lambda: home.services.jobs.get(old.id) is None)

    assert home.services.jobs.get(young.id) is not None


def test_rare_chores_are_done_soon_after_the_start_too(home: make.Home) -> None:
    home.load(make.readings(0.5))
    home.load(make.readings(0.75))

    with keeping(home, keep_versions_days=0.0, upkeep_every_h=1000.0):
        wait_until(lambda: not home.services.source.keeps(1))

    assert home.services.source.keeps(2)


def test_an_unfinished_erasure_is_finished_without_being_asked(home: make.Home) -> None:
    home.load(make.readings(0.5))
    home.services.erasures.begin("123")

    with keeping(home):
        wait_until(lambda: not home.services.erasures.unfinished())

    assert home.services.catalog.all() == []


def test_damaged_readings_are_told_without_being_asked(home: make.Home) -> None:
    home.load(make.readings(0.5))
    (path,) = home.settings.readings.glob("month=*/*")
    path.write_bytes(bytes(path.stat().st_size))

    with structlog.testing.capture_logs() as logged, keeping(home):
        wait_until(lambda: [e for e in logged if e["event"] == "readings_damaged"])

    assert logged[0]["path"] == f"month=2024-01/{path.name}"


def test_a_job_that_nobody_took_is_told_to_a_worker_again(
    home: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Listening:
        def __init__(self) -> None:
            self.heard: list[str] = []

        def wake(self, job_id: JobId, lane: Lane) -> None:
            raise AssertionError("it was told when it was accepted")

        def remind(self, stranded: Sequence[tuple[JobId, Lane]]) -> None:
            self.heard += [job_id for job_id, _ in stranded]

    dispatcher = Listening()
    monkeypatch.setattr("meterport.services.hand_on.SINCE", timedelta(0))
    job = submitted(home)

    with keeping(home, replace(home.services, dispatcher=dispatcher)):
        wait_until(lambda: dispatcher.heard)

    assert set(dispatcher.heard) == {job.id}
    assert now(home, job).attempt == 0


def test_a_second_one_does_nothing_until_the_first_ends(home: make.Home) -> None:
    class Counting(DeltaUpkeep):
        checked = 0

        def checkpoint(self) -> None:
            self.checked += 1
            super().checkpoint()

    first, second = (
        Counting(TableFolder(home.settings.readings)),
        Counting(TableFolder(home.settings.readings)),
    )
    often = {"upkeep_every_h": 1e-9}
    with keeping(home, replace(home.services, upkeep=first), **often) as stopping:
        wait_until(lambda: first.checked)
        with keeping(home, replace(home.services, upkeep=second), **often):
            before = first.checked
            wait_until(lambda: first.checked > before + 5)
            meanwhile = second.checked
            stopping.set()
            wait_until(lambda: second.checked)
            after = first.checked
            seen = second.checked
            wait_until(lambda: second.checked > seen + 5)

    assert meanwhile == 0
    assert first.checked == after
    assert not held(home)


class Watched(SqlLeases):
    """Counts how often the lease is asked for."""

    asked = 0

    @contextmanager
    def holding(
        self, name: str, *, patience: timedelta = timedelta(0), readings_version: int | None = None
    ) -> Iterator[HeldLease]:
        self.asked += 1
        with super().holding(name, patience=patience, readings_version=readings_version) as lease:
            yield lease


def test_one_whose_lease_was_taken_leaves_the_house_to_the_other(home: make.Home) -> None:
    database = Database(home.settings.jobs_url)
    watched = Watched(database)
    with keeping(home, replace(home.services, leases=watched)):
        wait_until(lambda: held(home))
        with database.write() as connection:
            connection.execute(update(leases).values(holder="other", lease_until=FAR_AWAY))
        before = watched.asked
        wait_until(lambda: watched.asked > before)
        path = orphan(home)
        wait_until(lambda: watched.asked > before + 5)
        meanwhile = path.exists()
        with database.write() as connection:
            connection.execute(delete(leases))
        wait_until(lambda: not path.exists())

    assert meanwhile


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), ServiceUnavailable("away")])
def test_a_chore_that_fails_does_not_stop_the_others_and_is_tried_again(
    error: Exception, home: make.Home
) -> None:
    class Failing(DeltaUpkeep):
        tries = 0

        def crowded_months(self) -> list[str]:
            self.tries += 1
            raise error

    upkeep = Failing(TableFolder(home.settings.readings))
    services = replace(home.services, upkeep=upkeep)

    with (
        structlog.testing.capture_logs() as logged,
        keeping(home, services, upkeep_every_h=1e-9),
    ):
        wait_until(lambda: upkeep.tries > 2)
        swept(home)

    failures = [event for event in logged if event["event"] == "chore_failed"]
    assert {event["chore"] for event in failures} == {"keep_readings"}
    assert len(failures) == upkeep.tries


class Away(SqlLeases):
    """The database goes away while the lease is first held, so long that it is lost."""

    asked = 0

    @contextmanager
    def holding(
        self, name: str, *, patience: timedelta = timedelta(0), readings_version: int | None = None
    ) -> Iterator[HeldLease]:
        self.asked += 1
        with super().holding(name, patience=patience, readings_version=readings_version) as lease:
            yield lease if self.asked > 1 else _Away(LeaseTaken("it ran out"))
        if self.asked == 1:
            raise ServiceUnavailable("the lease cannot be given back")


class _Away:
    """Nobody can say whether the lease is held, three times; then it is, or the error is raised."""

    def __init__(self, then: Exception | None = None) -> None:
        self._then = then
        self.asked = 0

    def check(self) -> None:
        self.asked += 1
        if self.asked <= 3:
            raise ServiceUnavailable("the database does not answer; try again soon")
        if self._then is not None:
            raise self._then


def test_a_lease_outlives_a_short_outage_of_the_database(home: make.Home) -> None:
    """Else housekeeping would wait until the lease that it let go of has run out."""
    kept, asked = _Away(), []

    class Once(SqlLeases):
        @contextmanager
        def holding(self, name: str, **_: object) -> Iterator[HeldLease]:
            asked.append(name)
            yield kept

    with keeping(home, replace(home.services, leases=Once(Database(home.settings.jobs_url)))):
        swept(home)

    assert kept.asked > 3
    assert asked == ["housekeeping"]


def test_a_database_that_goes_away_is_waited_for(home: make.Home) -> None:
    away = Away(Database(home.settings.jobs_url))

    with keeping(home, replace(home.services, leases=away)):
        swept(home)

    assert away.asked == 2


def test_one_whose_parent_is_gone_ends(home: make.Home) -> None:
    stopping = threading.Event()

    keep_house(home.services, home.settings, stopping, parent=os.getpid())

    assert not stopping.is_set()
    assert not held(home)
