"""Write one job's file: readings → rows → bytes → a published file."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta

import polars as pl

from meterport.domain.errors import SmartMeterNotFound
from meterport.domain.exports import ExportFile, ExportRequest
from meterport.domain.jobs import Job
from meterport.domain.readings import DEFAULT_COLUMNS, MeterSummary
from meterport.encoders import FORMATS
from meterport.ports import Draft, MeterCatalog, ObjectStore, ReadingSource
from meterport.services.refresh_meters import refresh_meters

SLICE_ROWS = 50_000
"""Progress is told, and a lost lease noticed, once a slice."""


class Measured:
    """A sink that counts and hashes what it passes on."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._sha256 = hashlib.sha256()
        self.size_bytes = 0

    def write(self, data: bytes, /) -> None:
        self._draft.write(data)
        self._sha256.update(data)
        self.size_bytes += len(data)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()


class Rows:
    """Passes frames on in slices and counts the rows that were taken."""

    def __init__(self, report: Callable[[int], None]) -> None:
        self._report = report
        self.written = 0

    def counted(self, frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        for frame in frames:
            for part in frame.iter_slices(SLICE_ROWS):
                yield part
                self.written += part.height
                self._report(self.written)


def run_export(
    job: Job,
    *,
    source: ReadingSource,
    objects: ObjectStore,
    report: Callable[[int], None],
) -> ExportFile:
    """Write the job's file and return what was written.

    `report` gets the rows so far, often, and may raise to end the attempt. Safe to repeat:
    the key names the job and the attempt, and a failed run leaves no object behind.
    """
    request = job.request
    frames = source.scan(
        [request.smart_meter_id],
        request.period,
        columns=DEFAULT_COLUMNS,
        version=job.source_version,
    )
    rows = Rows(report)
    with objects.draft(job.key) as draft:
        sink = Measured(draft)
        FORMATS[request.format].encode(rows.counted(frames), sink)
        draft.publish()
    return ExportFile(job.key, rows.written, sink.size_bytes, sink.sha256)


def find_meter(
    request: ExportRequest, *, source: ReadingSource, catalog: MeterCatalog
) -> MeterSummary:
    """The meter's summary. Raises SmartMeterNotFound; a known meter may still have no rows."""
    meter = catalog.get(request.smart_meter_id)
    if meter is None and refresh_meters(source=source, catalog=catalog):
        meter = catalog.get(request.smart_meter_id)
    if meter is None:
        raise SmartMeterNotFound(request.smart_meter_id)
    return meter


def expected_rows(request: ExportRequest, meter: MeterSummary) -> int:
    """How many rows there would be without gaps; the end of the meter's data bounds it."""
    start = max(request.period.start, meter.first)
    interval = timedelta(seconds=meter.interval_s)
    end = min(request.period.end, meter.last + interval)
    return max(0, -((start - end) // interval))
