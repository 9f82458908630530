"""Upkeep of the readings store: join small files, check point, forget old versions, check files."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog

from meterport.domain.errors import SourceDataInvalid
from meterport.domain.readings import DamagedFile
from meterport.ports import JobArchive, MeterCatalog, ReadingSource, ReadingUpkeep
from meterport.services.refresh_meters import refresh_meters

AT_ONCE = timedelta(0)

log = structlog.get_logger()


def keep_readings(
    *,
    source: ReadingSource,
    upkeep: ReadingUpkeep,
    catalog: MeterCatalog,
    archive: JobArchive,
    keep_versions: timedelta,
) -> None:
    """Raises ImportBusy, with the rest left for the next time, while an import is writing."""
    for month in upkeep.crowded_months():
        try:
            _compact(month, source, upkeep, catalog)
        except SourceDataInvalid as error:
            # The others shall not wait until somebody has mended that file.
            log.warning("readings_not_compacted", month=month, reason=error.message)
    with catalog.writing(patience=AT_ONCE) as lease:
        upkeep.checkpoint()
        removed = upkeep.forget(
            older_than=keep_versions,
            in_use=archive.oldest_version_in_use(),
            now=datetime.now(UTC),
            fence=lease.check,
        )
    if removed:
        log.info("readings_files_removed", files=removed)


def _compact(
    month: str, source: ReadingSource, upkeep: ReadingUpkeep, catalog: MeterCatalog
) -> None:
    # A lease for each month, so that an import need not wait for all of them.
    with catalog.writing(patience=AT_ONCE) as lease:
        refresh_meters(source=source, catalog=catalog)
        version = upkeep.compact(month, fence=lease.check)
        catalog.add([], version=version)
    log.info("readings_compacted", month=month, version=version)


def scrub_readings(
    upkeep: ReadingUpkeep, *, until: Callable[[], bool] = lambda: False
) -> list[DamagedFile]:
    damaged = list(upkeep.scrub(until=until))
    for file in damaged:
        log.error(
            "readings_damaged",
            path=file.path,
            state=file.state,
            month=file.month,
            first_meter=file.first_meter,
            last_meter=file.last_meter,
        )
    return damaged
