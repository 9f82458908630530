"""Write one job's file: readings → the shape asked for → bytes → a published file."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import polars as pl

from meterport.domain.completeness import Manifest
from meterport.domain.exports import ExportFile
from meterport.domain.jobs import Job
from meterport.domain.options import ExportOptions, Layout
from meterport.domain.period import SHORTEST, Period, to_the_second
from meterport.domain.readings import KEY, READING_SCHEMA, SLICE_ROWS, VALUE_COLUMNS, MeterSummary
from meterport.domain.shapes import Shape
from meterport.domain.sheets import Sheet
from meterport.encoders import FORMATS
from meterport.encoders.archive import encode_each
from meterport.encoders.base import ExportFormat, Sink
from meterport.encoders.compression import compressed
from meterport.ports import Draft, ObjectStore, ReadingSource
from meterport.services.beside import Beside, beside
from meterport.services.choose_meters import Limits, check_written
from meterport.services.find_gaps import Stretches
from meterport.services.manifest import NEEDS, Counting, counted
from meterport.services.shape import shaped


@dataclass(frozen=True)
class Fleet:
    """Whose readings a job writes. `known`: what the version that it reads knows of them.

    `meters`: all of the job's, in order, also those without readings; `known` those of its part.
    """

    meters: tuple[str, ...]
    known: Sequence[MeterSummary]


@dataclass(frozen=True)
class Written:
    file: ExportFile
    manifest: Manifest


def run_export(
    job: Job,
    fleet: Fleet,
    *,
    source: ReadingSource,
    objects: ObjectStore,
    report: Callable[[int], None],
    limits: Limits = Limits(),  # noqa: B008 - it is frozen
) -> Written:
    """Write the file of the job, or of its part, and return what was written.

    `report` gets the rows so far, often, and may raise to end the attempt. Safe to repeat:
    the key names the job and the attempt, and a failed run leaves no object behind.
    Raises ExportLimitExceeded, see Limits.
    """
    task = _Task(job, fleet)
    counting = Counting(task.options.shape.zone, task.existence)
    rows = Rows(report, lambda rows: check_written(rows, task.options.shape, limits))
    stretches = Stretches(fleet.known, job.request.period, within=task.period)
    frames = rows.heard(task.scan(source))
    read = counted(frames, counting, stretches, task.beside(source, rows), heard=rows.tell)
    with objects.draft(job.key) as draft:
        sink = Measured(draft, lambda: report(rows.written))
        with compressed(sink, job.request.compression) as unpacked:
            task.encode(rows.counted(task.shaped(read)), unpacked, _made_at(job, source))
        draft.publish()
    file = ExportFile(job.key, rows.written, sink.size_bytes, sink.sha256)
    return Written(file, counting.result())


def _made_at(job: Job, source: ReadingSource) -> datetime:
    """Of a source without versions, when the export was asked for: its attempts agree on that."""
    if job.source_version is None:
        return to_the_second(job.created_at)
    return to_the_second(source.made_at(job.source_version))


@dataclass(frozen=True)
class _Task:
    job: Job
    fleet: Fleet

    @property
    def format(self) -> ExportFormat:
        return FORMATS[self.job.request.format]

    @property
    def options(self) -> ExportOptions:
        return self.job.request.options

    @property
    def columns(self) -> tuple[str, ...]:
        return self.options.shape.columns or self.format.columns

    @property
    def period(self) -> Period:
        return self.job.request.period if self.job.part is None else self.job.part.period

    @property
    def existence(self) -> Period:
        """No longer than there are readings: a zone's rules are looked up day by day."""
        start = min((meter.first for meter in self.fleet.known), default=self.period.start)
        end = max((meter.end for meter in self.fleet.known), default=self.period.end)
        start, end = max(self.period.start, start), min(self.period.end, end)
        if start < end:
            return Period(start, end)
        # Nothing is, nor is missing, in it; what comes behind it is no business of this file.
        return Period(self.period.start, min(self.period.start + SHORTEST, self.period.end))

    @property
    def shape(self) -> Shape:
        """Of the frames; where each meter gets its own file, they say whose they are."""
        columns = self.format.needs or self.columns
        if self.options.layout is Layout.FILE_PER_METER and "smart_meter_id" not in columns:
            columns = (*columns, "smart_meter_id")
        return replace(self.options.shape, columns=columns)

    def scan(self, source: ReadingSource) -> Iterator[pl.DataFrame]:
        return self._scan(source, self.period, {*self.shape.needs, *NEEDS})

    def beside(self, source: ReadingSource, rows: "Rows") -> Beside:
        def scan(period: Period) -> Iterator[pl.DataFrame]:
            return rows.heard(self._scan(source, period, {*KEY, "interval_s"}))

        return beside(scan, self.period, self.job.request.period, self.fleet.known)

    def _scan(
        self, source: ReadingSource, period: Period, needed: Collection[str]
    ) -> Iterator[pl.DataFrame]:
        return source.scan(
            [meter.smart_meter_id for meter in self.fleet.known],
            period,
            columns=[column for column in READING_SCHEMA if column in needed],
            version=self.job.source_version,
        )

    def shaped(self, frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """With nulls for values that the format has a place for, but that were not asked for."""
        others = [c for c in VALUE_COLUMNS if c in self.shape.own and c not in self.columns]
        nulls = [pl.lit(None, pl.Float64).alias(column) for column in others]
        shaped_frames = shaped(
            frames, self.shape, self.existence, self.fleet.known, qualities=self.format.qualities
        )
        for frame in shaped_frames:
            yield frame.with_columns(nulls)

    def encode(self, frames: Iterable[pl.DataFrame], sink: Sink, made_at: datetime) -> None:
        sheet = self._sheet(made_at)
        part, request, format = self.job.part, self.job.request, self.format  # noqa: A001
        if self.options.layout is Layout.FILE_PER_METER:

            def name_of(meter: str) -> str:
                return request.filename(format.extension, meter)

            encode_each(frames, sink, sheet, format, name_of=name_of)
            return
        if part is None or part.number == 1:
            sink.write(format.head(sheet))
        format.body(frames, sink, sheet)
        if part is None or part.is_last:
            sink.write(format.foot)

    def _sheet(self, made_at: datetime) -> Sheet:
        shape = replace(self.options.shape, columns=self.columns)
        return Sheet(
            meters=self.fleet.meters,
            period=self.job.request.period,
            made_at=made_at,
            columns=shape.written,
            zone=shape.zone,
            label=shape.label,
            resolution=shape.resolution,
            csv=self.options.csv,
        )


class Measured:
    """A sink that counts and hashes what it passes on.

    `heard` is called each time: some formats write for long after they have read a meter.
    """

    def __init__(self, draft: Draft, heard: Callable[[], None]) -> None:
        self._draft = draft
        self._heard = heard
        self._sha256 = hashlib.sha256()
        self.size_bytes = 0

    def write(self, data: bytes, /) -> None:
        self._heard()
        self._draft.write(data)
        self._sha256.update(data)
        self.size_bytes += len(data)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()


class Rows:
    """Counts the rows that are taken, and tells of them."""

    def __init__(self, report: Callable[[int], None], check: Callable[[int], None]) -> None:
        self._report = report
        self._check = check
        self.written = 0

    def tell(self) -> None:
        self._report(self.written)

    def heard(self, frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """The frames in slices; of many there may come but one row."""
        for frame in frames:
            for part in frame.iter_slices(SLICE_ROWS):
                self.tell()
                yield part

    def counted(self, frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        for frame in frames:
            self._check(self.written + frame.height)
            yield frame
            self.written += frame.height
            self.tell()
