"""Forget a meter: its readings in every version, its files, its unfinished jobs.

Recorded first, so that a crash on the way leaves an erasure that housekeeping finishes; and kept,
so that a restored backup forgets the meter again.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog

from meterport.domain.access import EVERYTHING
from meterport.domain.audit import Action, Deed
from meterport.ports import (
    JobArchive,
    MeterCatalog,
    ObjectStore,
    ReadingSource,
    ReadingUpkeep,
)
from meterport.ports.audit import Recorder
from meterport.ports.erasures import Erasures
from meterport.services.refresh_meters import refresh_meters
from meterport.services.sweep import sweep
from meterport.services.unerased import STALE_S

PATIENCE = timedelta(seconds=30)
HOWEVER_NEW = timedelta.min
"""Also versions from a future, as a clock that was set back leaves them."""

log = structlog.get_logger()


def erase_meter(
    smart_meter_id: str,
    *,
    erasures: Erasures,
    source: ReadingSource,
    upkeep: ReadingUpkeep,
    catalog: MeterCatalog,
    archive: JobArchive,
    objects: ObjectStore,
    audit: Recorder,
) -> int:
    """How many readings went from the newest version; 0 if there was no such meter."""
    with catalog.writing(patience=PATIENCE) as lease:
        erasures.begin(smart_meter_id)
        refresh_meters(source=source, catalog=catalog)
        rows, version = upkeep.erase(smart_meter_id, fence=lease.check)
        catalog.remove(smart_meter_id, version=version)
        # Again: whoever began meanwhile has chosen a version that goes now, or exported the meter.
        erasures.begin(smart_meter_id, version=version)
        _forget_earlier_versions(upkeep, lease.check)
    sweep(archive=archive, objects=objects)
    # Before it is finished: else housekeeping does it, and records it, once more.
    audit.record(
        Deed(
            Action.METER_ERASED,
            EVERYTHING,
            meters=[smart_meter_id],
            rows=rows,
            details={"version": str(version)},
        )
    )
    erasures.finish(smart_meter_id)
    # Whoever asked last just before it has sent what it had, and asks again.
    time.sleep(STALE_S)
    log.info("meter_erased", rows=rows)
    return rows


def _forget_earlier_versions(upkeep: ReadingUpkeep, fence: Callable[[], None]) -> None:
    upkeep.forget(older_than=HOWEVER_NEW, in_use=None, now=datetime.now(UTC), fence=fence)
