"""The clock-driven jobs, each at its own pace; one process does them at a time."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import structlog

from meterport.bootstrap import Services, connect, erase
from meterport.domain.errors import LeaseTaken, MeterportError, ServiceUnavailable
from meterport.ports import HeldLease, Stopping
from meterport.processes import has_parent, stop_signals
from meterport.services.hand_on import hand_on
from meterport.services.keep_readings import keep_readings, scrub_readings
from meterport.services.sweep import sweep
from meterport.settings import Settings

LEASE = "housekeeping"
TICK_S = 5.0
SWEEP_S = 60.0

log = structlog.get_logger()


@dataclass
class Chore:
    """`do` is due every `every_s` seconds, the first time within a minute.

    A service that is often started anew shall get round to the rare ones too.
    """

    name: str
    every_s: float
    do: Callable[[], object]

    def __post_init__(self) -> None:
        self.due = time.monotonic() + min(self.every_s, SWEEP_S)


def run_housekeeping(settings: Settings, *, parent: int | None) -> None:
    """Keep house until SIGTERM, or until the `parent` process is gone."""
    with stop_signals() as stopping:
        keep_house(connect(settings), settings, stopping, parent=parent)


def keep_house(
    services: Services,
    settings: Settings,
    stopping: Stopping,
    *,
    parent: int | None = None,
) -> None:
    """Run until `stopping` is set; what fails now is tried again at its next turn."""
    quick = _quick_chores(services, settings)
    long = _long_chores(services, settings, stopping)
    while not stopping.is_set() and has_parent(parent):
        try:
            with services.leases.holding(LEASE) as lease, _beside(long, stopping):
                _keep(quick, lease, stopping, parent)
        except LeaseTaken:
            pass  # another process keeps house
        except MeterportError as error:
            log.warning("housekeeping_waits", reason=error.message)
        stopping.wait(TICK_S)


def tidy(services: Services, settings: Settings) -> None:
    """Once what is done every minute, for a command without a service beside it that does so."""
    with suppress(LeaseTaken, ServiceUnavailable, OSError), services.leases.holding(LEASE):
        for chore in _quick_chores(services, settings):
            chore.do()


@contextmanager
def _beside(chores: Sequence[Chore], stopping: Stopping) -> Iterator[None]:
    """A thread for the long ones, so that the quick ones never wait for them."""
    done = threading.Event()

    def work() -> None:
        while not done.wait(TICK_S):
            for chore in chores:
                if not done.is_set():
                    _do_if_due(chore, stopping)

    thread = threading.Thread(target=work, name="long-chores", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _quick_chores(s: Services, settings: Settings) -> list[Chore]:
    return [
        Chore("hand_on", TICK_S, lambda: hand_on(archive=s.archive, dispatcher=s.dispatcher)),
        Chore("sweep", SWEEP_S, lambda: sweep(archive=s.archive, objects=s.objects)),
        Chore(
            "forget_jobs",
            SWEEP_S,
            lambda: s.archive.forget(older_than=timedelta(days=settings.keep_jobs_days)),
        ),
    ]


def _long_chores(s: Services, settings: Settings, stopping: Stopping) -> list[Chore]:
    """What reads or writes many readings, and so may take minutes."""
    return [
        Chore("finish_erasures", SWEEP_S, lambda: _finish_erasures(s)),
        Chore(
            "keep_readings",
            settings.upkeep_every_h * 3600,
            lambda: keep_readings(
                source=s.source,
                upkeep=s.upkeep,
                catalog=s.catalog,
                archive=s.archive,
                keep_versions=timedelta(days=settings.keep_versions_days),
            ),
        ),
        Chore(
            "scrub",
            settings.scrub_every_h * 3600,
            lambda: len(scrub_readings(s.upkeep, until=stopping.is_set)),
        ),
    ]


def _finish_erasures(s: Services) -> int:
    unfinished = s.erasures.unfinished()
    for meter in unfinished:
        erase(s, meter)
    return len(unfinished)


def _keep(
    chores: Sequence[Chore], lease: HeldLease, stopping: Stopping, parent: int | None
) -> None:
    """Raises LeaseTaken when the lease is lost."""
    while not stopping.is_set() and has_parent(parent):
        if _is_held(lease):
            for chore in chores:
                _do_if_due(chore, stopping)
        stopping.wait(TICK_S)


def _is_held(lease: HeldLease) -> bool:
    """Not while the database is away: it may be ours still, and else we would wait for its end."""
    try:
        lease.check()
    except ServiceUnavailable as error:
        log.warning("housekeeping_waits", reason=error.message)
        return False
    return True


def _do_if_due(chore: Chore, stopping: Stopping) -> None:
    now = time.monotonic()
    if stopping.is_set() or now < chore.due:
        return
    chore.due = now + chore.every_s
    try:
        done = chore.do()
    except (MeterportError, OSError) as error:
        log.warning("chore_failed", chore=chore.name, reason=str(error))
    except Exception:
        # The others must not suffer from a defect in one.
        log.exception("chore_crashed", chore=chore.name)
    else:
        if done:
            log.info("chore_done", chore=chore.name, count=done)
