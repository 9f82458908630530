"""The clock-driven jobs, each at its own pace; one process does them at a time."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog

from meterport.bootstrap import Services, connect
from meterport.domain.errors import LeaseTaken, MeterportError
from meterport.ports import HeldLease
from meterport.processes import has_parent, stop_signals
from meterport.services.erase_meter import erase_meter
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
    stopping = threading.Event()
    services = connect(settings)
    with stop_signals(stopping.set):
        keep_house(services, settings, stopping, parent=parent)


def keep_house(
    services: Services,
    settings: Settings,
    stopping: threading.Event,
    *,
    parent: int | None = None,
) -> None:
    """Run until `stopping` is set; what fails now is tried again at its next turn."""
    chores = _chores(services, settings)
    while not stopping.is_set() and has_parent(parent):
        try:
            with services.leases.holding(LEASE) as lease:
                _keep(chores, lease, stopping, parent)
        except LeaseTaken:
            pass  # another process keeps house
        except MeterportError as error:
            log.warning("housekeeping_waits", reason=error.message)
        stopping.wait(TICK_S)


def _chores(services: Services, settings: Settings) -> list[Chore]:
    s = services
    return [
        Chore("hand_on", TICK_S, lambda: hand_on(archive=s.archive, dispatcher=s.dispatcher)),
        Chore("sweep", SWEEP_S, lambda: sweep(archive=s.archive, objects=s.objects)),
        Chore(
            "forget_jobs",
            SWEEP_S,
            lambda: s.archive.forget(older_than=timedelta(days=settings.keep_jobs_days)),
        ),
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
        Chore("finish_erasures", SWEEP_S, lambda: _finish_erasures(s)),
        Chore("scrub", settings.scrub_every_h * 3600, lambda: len(scrub_readings(s.upkeep))),
    ]


def _finish_erasures(s: Services) -> int:
    unfinished = s.erasures.unfinished()
    for meter in unfinished:
        erase_meter(
            meter,
            erasures=s.erasures,
            source=s.source,
            upkeep=s.upkeep,
            catalog=s.catalog,
            archive=s.archive,
            objects=s.objects,
        )
    return len(unfinished)


def _keep(
    chores: Sequence[Chore], lease: HeldLease, stopping: threading.Event, parent: int | None
) -> None:
    """Raises LeaseTaken when the lease is lost."""
    while not stopping.is_set() and has_parent(parent):
        lease.check()
        for chore in chores:
            _do_if_due(chore, stopping)
        stopping.wait(TICK_S)


def _do_if_due(chore: Chore, stopping: threading.Event) -> None:
    now = time.monotonic()
    if stopping.is_set() or now < chore.due:
        return
    chore.due = now + chore.every_s
    try:
        done = chore.do()
    except (MeterportError, OSError) as error:
        log.warning("chore_failed", chore=chore.name, reason=str(error))
    else:
        if done:
            log.info("chore_done", chore=chore.name, count=done)
