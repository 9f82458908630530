"""The clock-driven jobs: for now the sweep of what no row points at."""

import threading

import structlog

from meterport.bootstrap import Services
from meterport.domain.errors import MeterportError
from meterport.services.sweep import sweep

EVERY_S = 60.0

log = structlog.get_logger()


def keep_house(services: Services, stopping: threading.Event) -> None:
    """Run until `stopping` is set; what fails now is tried again in a minute."""
    while not stopping.is_set():
        try:
            removed = sweep(jobs=services.jobs, objects=services.objects)
        except (MeterportError, OSError) as error:
            log.warning("sweep_failed", reason=str(error))
        else:
            if removed:
                log.info("swept", files=removed)
        stopping.wait(EVERY_S)
