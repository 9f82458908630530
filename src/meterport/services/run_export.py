"""Write one job's file: readings → rows → bytes → a published file."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import polars as pl

from meterport.domain.errors import SmartMeterNotFound
from meterport.domain.exports import ExportFile
from meterport.domain.jobs import Job
from meterport.domain.readings import DEFAULT_COLUMNS, MeterSummary
from meterport.encoders import FORMATS
from meterport.encoders.base import Encoder
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
    meters: Sequence[str],
    *,
    source: ReadingSource,
    objects: ObjectStore,
    report: Callable[[int], None],
) -> ExportFile:
    """Write the file of the job, or of its part, and return what was written.

    `report` gets the rows so far, often, and may raise to end the attempt. Safe to repeat:
    the key names the job and the attempt, and a failed run leaves no object behind.
    """
    period = job.request.period if job.part is None else job.part.period
    frames = source.scan(
        meters,
        period,
        columns=DEFAULT_COLUMNS,
        version=job.source_version,
    )
    rows = Rows(report)
    with objects.draft(job.key) as draft:
        sink = Measured(draft)
        _encoder(job)(rows.counted(frames), sink)
        draft.publish()
    return ExportFile(job.key, rows.written, sink.size_bytes, sink.sha256)


def _encoder(job: Job) -> Encoder:
    format = FORMATS[job.request.format]  # noqa: A001 - the contract's word
    if job.part is None or job.part.number == 1 or format.append is None:
        return format.encode
    return format.append


def find_meters(
    meters: Sequence[str], *, source: ReadingSource, catalog: MeterCatalog
) -> list[MeterSummary]:
    """Their summaries, in that order. A known meter may still have no rows.

    Raises SmartMeterNotFound with the first that is unknown: a file never leaves one out silently.
    """
    found = catalog.some(meters)
    if len(found) < len(meters) and refresh_meters(source=source, catalog=catalog):
        found = catalog.some(meters)
    for meter in meters:
        if meter not in found:
            raise SmartMeterNotFound(meter)
    return [found[meter] for meter in meters]
