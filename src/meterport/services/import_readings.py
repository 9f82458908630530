"""Import files as one atomic, durable version of the readings."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

import polars as pl

from meterport.domain.access import EVERYTHING, Access
from meterport.domain.audit import Action, Deed
from meterport.domain.errors import ImportRefused
from meterport.domain.readings import Merged
from meterport.importers import importer_for
from meterport.importers.base import FileReport
from meterport.importers.options import ImportOptions
from meterport.ports import MeterCatalog, ReadingSource, ReadingStore
from meterport.ports.audit import Recorder
from meterport.services.refresh_meters import refresh_meters

PATIENCE = timedelta(seconds=30)


@dataclass(frozen=True)
class ImportReport:
    files: Sequence[FileReport]
    merged: Merged

    def as_json(self) -> dict[str, object]:
        merged = self.merged
        return {
            "files": [asdict(file) | {"path": str(file.path)} for file in self.files],
            "rows_new": merged.rows_new,
            "rows_replaced": merged.rows_replaced,
            "rows_duplicate": merged.rows_duplicate,
            "rows_overlapped": merged.rows_overlapped,
            "meters": len(merged.added),
            "version": merged.version,
            "derived_intervals": dict(merged.derived_intervals),
        }


def import_files(
    paths: Sequence[Path],
    options: ImportOptions,
    *,
    source: ReadingSource,
    store: ReadingStore,
    catalog: MeterCatalog,
    audit: Recorder,
    progress: Callable[[int], None] = lambda rows: None,
    access: Access = EVERYTHING,
) -> ImportReport:
    """All the files or none. Raises ImportRefused or Forbidden and leaves the store as it was."""
    files = [FileReport(path) for path in paths]
    batches = _with_progress(_allowed(_batches(files, options), access), progress)
    merged = import_batches(
        batches, source=source, store=store, catalog=catalog, audit=audit, access=access
    )
    return ImportReport(files, merged)


def import_batches(
    batches: Iterable[pl.DataFrame],
    *,
    source: ReadingSource,
    store: ReadingStore,
    catalog: MeterCatalog,
    audit: Recorder,
    access: Access = EVERYTHING,
) -> Merged:
    """One version of them all, recorded once it is there; sent again it is the same version."""
    with catalog.writing(patience=PATIENCE) as lease:
        refresh_meters(source=source, catalog=catalog)
        merged = store.merge(batches, known_intervals=catalog.intervals, fence=lease.check)
        catalog.add(merged.added, version=merged.version)
    audit.record(
        Deed(
            Action.READINGS_IMPORTED,
            access,
            meters=[meter.smart_meter_id for meter in merged.added],
            rows=merged.rows_new + merged.rows_replaced,
            details={"version": str(merged.version)},
        )
    )
    return merged


def _batches(files: Iterable[FileReport], options: ImportOptions) -> Iterator[pl.DataFrame]:
    for file in files:
        yield from _opened(file, options)
        if file.rows == 0:
            raise ImportRefused(f"{file.path.name}: no rows below the header")


def _allowed(batches: Iterable[pl.DataFrame], access: Access) -> Iterator[pl.DataFrame]:
    for batch in batches:
        access.check_meters(batch["smart_meter_id"].unique().sort())
        yield batch


def _opened(file: FileReport, options: ImportOptions) -> Iterator[pl.DataFrame]:
    try:
        yield from importer_for(file.path).read(file.path, options, file)
    except OSError as error:
        raise ImportRefused(f"{file.path}: {error.strerror}") from error


def _with_progress(
    batches: Iterable[pl.DataFrame], progress: Callable[[int], None]
) -> Iterator[pl.DataFrame]:
    rows = 0
    for batch in batches:
        yield batch
        rows += batch.height
        progress(rows)
