"""The laws of a Dispatcher: it wakes whoever waits, and nobody ever waits for it."""

import os
import queue
import select
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from kombu.exceptions import OperationalError

from meterport.adapters.celery_dispatch import UNSENT, CeleryDispatch, broker
from meterport.adapters.local_dispatch import NAME, LocalDispatch, SocketWakeups, listening
from meterport.adapters.postgres_dispatch import PostgresDispatch, PostgresWakeups
from meterport.adapters.sql_database import Database
from meterport.domain.errors import StartRefused
from meterport.domain.jobs import Lane
from meterport.ports import Dispatcher, Wakeups
from tests import brokers, make
from tests.brokers import Valkey, free_port
from tests.contracts.conftest import Emptied
from tests.contracts.jobs import NOBODYS, OTHER
from tests.contracts.messages import give_up, received

FOR_EVER_S = 3600.0
"""Whoever waits that long was not woken: the test's own time-out ends it."""


@dataclass
class Pair:
    """A dispatcher, and what tells whether a waiting worker was woken by it."""

    dispatcher: Dispatcher
    woken: Callable[[], bool]


@dataclass
class Waiting:
    """An idle worker, who waits until woken or until `poke` makes its other descriptor readable."""

    wakeups: Wakeups
    ends: tuple[int, int] = field(default_factory=os.pipe)

    def woken(self) -> bool:
        self.wakeups.wait(others=[self.ends[0]], timeout_s=FOR_EVER_S)
        return not select.select([self.ends[0]], [], [], 0)[0]

    def poke(self) -> None:
        """It listens from here on, whatever it has to set up before."""
        os.write(self.ends[1], b"!")
        self.wakeups.wait(others=[self.ends[0]], timeout_s=FOR_EVER_S)
        os.read(self.ends[0], 1)

    def close(self) -> None:
        for end in self.ends:
            os.close(end)


@contextmanager
def local(request: pytest.FixtureRequest) -> Iterator[Pair]:
    folder: Path = request.getfixturevalue("tmp_path")
    with listening(folder) as receiver:
        wakeups = SocketWakeups(os.dup(receiver.fileno()))
        assert wakeups._receiver is not None
        with wakeups._receiver, closing(Waiting(wakeups)) as idle:
            yield Pair(LocalDispatch(folder), idle.woken)


@contextmanager
def postgresql(request: pytest.FixtureRequest) -> Iterator[Pair]:
    emptied: Emptied = request.getfixturevalue("emptied")
    database, wakeups = Database(emptied.url), PostgresWakeups(emptied.url)
    with closing(wakeups), closing(Waiting(wakeups)) as idle:
        idle.poke()
        yield Pair(PostgresDispatch(database), idle.woken)
    database.engine.dispose()


@contextmanager
def celery(request: pytest.FixtureRequest) -> Iterator[Pair]:
    server: Valkey = request.getfixturevalue("valkey")
    yield Pair(CeleryDispatch(server.url), lambda: received(server.url, Lane.SMALL) == NOBODYS)


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    """One of the test's own: it is killed."""
    with brokers.valkey() as server:
        yield server


@pytest.fixture(params=[local, postgresql, celery], ids=lambda kind: kind.__name__)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with request.param(request) as made:
        yield made


def test_a_wake_up_reaches_a_worker_that_waits(pair: Pair) -> None:
    pair.dispatcher.wake(NOBODYS, Lane.SMALL)

    assert pair.woken()


def test_a_wake_up_reaches_it_again(pair: Pair) -> None:
    for _ in range(3):
        pair.dispatcher.wake(NOBODYS, Lane.SMALL)

        assert pair.woken()


def no_folder(request: pytest.FixtureRequest) -> Dispatcher:
    return LocalDispatch(request.getfixturevalue("tmp_path") / "absent")


def nobody_listens(request: pytest.FixtureRequest) -> Dispatcher:
    folder: Path = request.getfixturevalue("tmp_path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as left:
        left.bind(str(folder / NAME))
    return LocalDispatch(folder)


def nobody_reads(request: pytest.FixtureRequest) -> Dispatcher:
    folder: Path = request.getfixturevalue("tmp_path")
    reader = listening(folder)
    reader.__enter__()
    request.addfinalizer(lambda: reader.__exit__(None, None, None))
    return LocalDispatch(folder)


def no_postgresql(request: pytest.FixtureRequest) -> Dispatcher:
    database = Database("postgresql+psycopg://postgres@127.0.0.1:1/postgres")
    request.addfinalizer(database.engine.dispose)
    return PostgresDispatch(database)


def no_broker(request: pytest.FixtureRequest) -> Dispatcher:
    return CeleryDispatch(f"redis://127.0.0.1:{free_port()}/0")


def silent_broker(request: pytest.FixtureRequest) -> Dispatcher:
    """It takes connections, and never answers."""
    silent = socket.create_server(("127.0.0.1", 0))
    request.addfinalizer(silent.close)
    return CeleryDispatch(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")


@pytest.mark.parametrize(
    "dead",
    [no_folder, nobody_listens, nobody_reads, no_postgresql, no_broker, silent_broker],
    ids=lambda kind: kind.__name__,
)
def test_a_wake_up_that_reaches_nobody_neither_fails_nor_waits(
    dead: Callable[[pytest.FixtureRequest], Dispatcher], request: pytest.FixtureRequest
) -> None:
    dispatcher = dead(request)

    for _ in range(2 * UNSENT if isinstance(dispatcher, CeleryDispatch) else 500):
        dispatcher.wake(NOBODYS, Lane.LARGE)

    if isinstance(dispatcher, CeleryDispatch):
        forget(dispatcher)


def forget(dispatcher: CeleryDispatch) -> None:
    """Else its thread would go on to try and tell, while other tests listen."""
    with suppress(queue.Empty):
        while True:
            dispatcher._unsent.get_nowait()


def test_celery_that_is_not_installed_is_told_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "celery", None)

    with pytest.raises(StartRefused, match=r"need celery; install meterport\[distributed\]"):
        make.home(tmp_path, broker_url="redis://127.0.0.1:1/0")


def test_each_lane_has_its_own_queue(valkey: Valkey) -> None:
    dispatcher = CeleryDispatch(valkey.url)

    dispatcher.wake(OTHER, Lane.LARGE)
    dispatcher.wake(NOBODYS, Lane.SMALL)

    assert received(valkey.url, Lane.SMALL) == NOBODYS
    assert received(valkey.url, Lane.LARGE) == OTHER


def killed_and_started(server: Valkey, dispatcher: Dispatcher) -> None:
    server.kill()
    give_up(dispatcher)
    server.start()


def emptied_by(server: Valkey, dispatcher: Dispatcher) -> None:
    server.empty()


@pytest.mark.parametrize("accident", [killed_and_started, emptied_by])
def test_a_broker_that_is_back_gets_what_is_sent_from_then_on(
    accident: Callable[[Valkey, Dispatcher], None], valkey: Valkey
) -> None:
    dispatcher = CeleryDispatch(valkey.url)
    dispatcher.wake(OTHER, Lane.SMALL)
    assert received(valkey.url, Lane.SMALL) == OTHER

    accident(valkey, dispatcher)

    dispatcher.wake(NOBODYS, Lane.LARGE)
    assert received(valkey.url, Lane.LARGE) == NOBODYS


def test_a_worker_asks_a_broker_that_is_away_again_within_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kombu.utils.functional.sleep", lambda seconds: None)
    waits: list[float] = []
    connection = broker(f"redis://127.0.0.1:{free_port()}/0").connection_for_read()

    with pytest.raises(OperationalError):
        connection.ensure_connection(lambda error, wait: waits.append(wait), 20)

    assert len(waits) == 20
    assert max(waits) <= 6


def test_a_broker_that_went_silent_without_a_word_is_given_up_within_ten_seconds(
    valkey: Valkey,
) -> None:
    with broker(valkey.url).connection_for_read() as connection:
        channel = connection.default_channel

        noticed_s = channel.brpop_timeout + 2 * channel.health_check_interval  # as Kombu says

        assert noticed_s + channel.socket_timeout <= 10


def test_a_worker_listens_again_when_postgresql_has_closed_its_connection(
    emptied: Emptied,
) -> None:
    database, wakeups = Database(emptied.url), PostgresWakeups(emptied.url)
    with closing(wakeups), closing(Waiting(wakeups)) as idle:
        idle.poke()
        emptied.empty()  # it ends every connection
        assert idle.woken()
        for _ in range(2):  # at the first it may still be hearing of the end
            idle.poke()

        PostgresDispatch(database).wake(NOBODYS, Lane.SMALL)

        assert idle.woken()
    database.engine.dispose()


def test_a_worker_waits_also_where_postgresql_is_away() -> None:
    with closing(Waiting(PostgresWakeups("postgresql://x@127.0.0.1:1/x"))) as idle:
        idle.poke()
