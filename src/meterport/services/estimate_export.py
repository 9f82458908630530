"""What an export would come to, without asking for it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from meterport.domain.errors import AskedVersionGone
from meterport.domain.exports import ExportRequest
from meterport.domain.jobs import Job
from meterport.domain.options import Compression
from meterport.domain.readings import MeterSummary
from meterport.encoders import FORMATS
from meterport.encoders.compression import chosen
from meterport.ports import JobArchive, MeterCatalog, ReadingSource
from meterport.services.choose_meters import Limits, check_meters, check_rows, expected_rows
from meterport.services.find_gaps import Stretches
from meterport.services.find_meters import find_meters

EXAMPLES, FEWEST_EXAMPLES = 200, 3
ENOUGH_ROWS = 10_000
"""A smaller export takes as long as its preparations do."""
COUNTED = 100_000
"""So many readings are read in some milliseconds."""


@dataclass(frozen=True)
class Estimate:
    """`size_bytes`: before compression; None where the format itself compresses.

    `seconds`: of work, without the time in the queue; None where there are too few examples.
    `gaps`: intervals without a reading, as the export itself would tell; None where there are too
    many readings to look.
    """

    meters: int
    rows: int
    size_bytes: int | None
    compression: Compression
    seconds: float | None
    gaps: int | None


def estimate_export(
    request: ExportRequest,
    *,
    source: ReadingSource,
    catalog: MeterCatalog,
    archive: JobArchive,
    limits: Limits = Limits(),  # noqa: B008 - it is frozen
) -> Estimate:
    """From the catalogue of meters and the newest exports; the gaps of a small one are counted.

    Raises SmartMeterNotFound, AskedVersionGone, SourceDataInvalid or ExportLimitExceeded, with
    which the export would fail or be refused; SourceUnavailable.
    """
    meters = request.fleet or (request.smart_meter_id,)
    check_meters(meters, limits)
    known = find_meters(meters, source=source, catalog=catalog)
    as_of = request.options.as_of
    if as_of is not None and not source.keeps(as_of):
        raise AskedVersionGone(as_of, newest=source.version())
    period, shape, format = request.period, request.options.shape, FORMATS[request.format]  # noqa: A001
    readings = expected_rows(known, period, shape)
    check_rows(readings, limits)
    is_newest = as_of in (None, catalog.version())
    rows = sum(meter.expected_rows(period, step_s=shape.step_s) for meter in known)
    return Estimate(
        meters=len(known),
        rows=rows,
        size_bytes=rows * format.row_bytes if format.row_bytes else None,
        compression=chosen(request.compression, format, rows),
        seconds=_seconds(request, rows, archive.recent(EXAMPLES)),
        gaps=_gaps(request, known, source) if readings <= COUNTED and is_newest else None,
    )


def _seconds(request: ExportRequest, rows: int, jobs: Sequence[Job]) -> float | None:
    rates = list(_rates(request, jobs))
    return rows / median(rates) if len(rates) >= FEWEST_EXAMPLES else None


def _rates(request: ExportRequest, jobs: Iterable[Job]) -> Iterable[float]:
    """Rows in a second, of finished exports of that format and resolution."""
    wanted = (request.format, request.options.shape.resolution)
    for job in jobs:
        alike = (job.request.format, job.request.options.shape.resolution) == wanted
        if job.file is None or job.expired or job.started_at is None or not alike:
            continue
        took_s = (job.updated_at - job.started_at).total_seconds()
        if job.file.rows >= ENOUGH_ROWS and took_s > 0:
            yield job.file.rows / took_s


def _gaps(request: ExportRequest, known: Sequence[MeterSummary], source: ReadingSource) -> int:
    stretches = Stretches(known, request.period)
    frames = source.scan(
        [meter.smart_meter_id for meter in known],
        request.period,
        columns=("timestamp", "interval_s", "smart_meter_id"),
        version=request.options.as_of,
    )
    found = [gap.intervals for frame in frames for gap in stretches.around(frame)]
    return sum(found) + sum(gap.intervals for gap in stretches.rest())
