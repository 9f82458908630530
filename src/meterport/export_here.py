"""What `meterport export` does: ask for an export, work on it here, and bring its file.

It is a job like any other: it stays in `meterport jobs`, and workers of a service that runs on the
same home may take it, or parts of it. The command itself takes no other job.
"""

import hashlib
import json
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from meterport.bootstrap import Services, connect
from meterport.client import MeterportRefused
from meterport.domain.errors import (
    DownloadError,
    ExportDamaged,
    ExportNotCancellable,
    InvalidRequest,
    JobNotFound,
    ServiceUnavailable,
    StartNotInPast,
)
from meterport.domain.exports import ExportFile, ExportRequest
from meterport.domain.jobs import Job, JobId, JobStatus
from meterport.domain.options import Compression, ExportOptions, compression_of
from meterport.domain.period import Period, iso_utc
from meterport.domain.wall_times import instant_of
from meterport.durable import sync_folder
from meterport.housekeeping import tidy
from meterport.ports import JobStore
from meterport.processes import check_told_to_stop
from meterport.services.choose_meters import ALL, choose_meters
from meterport.services.name_file import filename
from meterport.services.open_export import Verified, finished_file, open_export
from meterport.services.read_manifest import read_manifest
from meterport.services.submit_export import check_options, known_format, submit_export
from meterport.services.work_job import work_job
from meterport.settings import Settings
from meterport.worker import workplace

STDOUT = Path("-")
LOOK_S = 0.1
BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Wanted:
    """What the command line says. `words`: of ExportOptions.requested."""

    meters: Sequence[str]
    start: str
    end: str
    format: str
    compression: str
    words: Mapping[str, object]


@dataclass(frozen=True)
class Targets:
    """`file`: None: in this folder, under its own name. Either may be STDOUT, but not both."""

    file: Path | None
    manifest: Path | None
    overwrite: bool


def run(settings: Settings, wanted: Wanted, targets: Targets, *, as_json: bool) -> str | None:
    """What to say of the file; None where it or its manifest went to standard output."""
    services = connect(settings)
    request = _request(services, wanted)
    _check_free(request, targets)
    tidy(services, settings)
    job = _ended(services, settings, request)
    file = finished_file(job)
    target = targets.file or Path(filename(job.request))
    with _written(target) as sink:
        _bring(services, job, file, sink)
    if targets.manifest is not None:
        with _written(targets.manifest) as sink:
            for text in read_manifest(job, services.jobs.manifests(job)):
                sink.write(text.encode())
    if STDOUT in (target, targets.manifest):
        return None
    return _said(services, job, file, target, as_json=as_json)


def _request(services: Services, wanted: Wanted) -> ExportRequest:
    options = ExportOptions.requested(wanted.words)
    zone = options.shape.zone
    start = instant_of("--from", wanted.start, zone)
    if start >= datetime.now(UTC):
        raise StartNotInPast(f"--from {iso_utc(start)} is not in the past; choose an earlier one")
    period = Period(start, instant_of("--to", wanted.end, zone))
    named = {"compression": compression_of(wanted.compression), "options": options}
    format = known_format(wanted.format)  # noqa: A001 - the contract's word
    if len(wanted.meters) == 1 and wanted.meters[0] != ALL:
        request = ExportRequest(wanted.meters[0], period, format, **named)  # type: ignore[arg-type]
    else:
        request = choose_meters(
            ALL if ALL in wanted.meters else list(wanted.meters),
            period,
            source=services.source,
            catalog=services.catalog,
            format=format,
            **named,  # type: ignore[arg-type]
        )
    check_options(request)
    return request


def _check_free(request: ExportRequest, targets: Targets) -> None:
    """Before the work, and whatever AUTO will come to."""
    if targets.file == targets.manifest == STDOUT:
        raise InvalidRequest("-o and --manifest are both -; let one of them be a file")
    own = [Path(filename(replace(request, compression=each))) for each in _outcomes(request)]
    files = [targets.file] if targets.file else own
    for target in (*files, *([targets.manifest] if targets.manifest else [])):
        if target != STDOUT:
            _check_target(target, overwrite=targets.overwrite)
    if targets.manifest and targets.manifest.resolve() in [file.resolve() for file in files]:
        raise InvalidRequest(f"{targets.manifest} cannot be both the file and its manifest")


def _check_target(target: Path, *, overwrite: bool) -> None:
    folder = target.absolute().parent
    if target.is_dir():
        raise InvalidRequest(f"{target} is a folder; name a file, or - for standard output")
    if _is_device(target):
        return
    if target.exists() and not overwrite:
        raise InvalidRequest(f"{target} is there already; say --force to replace it")
    if not folder.is_dir():
        raise InvalidRequest(f"there is no folder {target.parent}; make it, or say -o FILE")
    if not os.access(folder, os.W_OK):
        raise InvalidRequest(f"nothing may be written to {folder}; say -o FILE to write elsewhere")


def _is_device(target: Path) -> bool:
    """A pipe, or such as /dev/null: it is written to, and not replaced."""
    return target.exists() and not target.is_file()


def _outcomes(request: ExportRequest) -> Sequence[Compression]:
    auto = request.compression is Compression.AUTO
    return (Compression.NONE, Compression.GZIP) if auto else (request.compression,)


def _ended(services: Services, settings: Settings, request: ExportRequest) -> Job:
    """The job, worked on until it has a file. Raises MeterportRefused with its own reason."""
    job = submit_export(
        request,
        jobs=services.jobs,
        catalog=services.catalog,
        dispatcher=services.dispatcher,
        space=services.space,
        limits=services.limits,
    ).job
    with (
        _called_off_if_left(services.jobs, job.id),
        _working(settings, job.id) as check,
        _bar() as tell,
    ):
        while job.status is JobStatus.PENDING:
            time.sleep(LOOK_S)
            check_told_to_stop()
            check()
            job = _now(services.jobs, job.id)
            tell(job)
    if job.error is not None:
        details = f" ({job.error.details})" if job.error.details else ""
        raise MeterportRefused(job.error.code, f"{job.error.message}{details}")
    return job


def _now(jobs: JobStore, job_id: JobId) -> Job:
    job = jobs.get(job_id)
    if job is None:
        raise JobNotFound(job_id)
    return job


@contextmanager
def _called_off_if_left(jobs: JobStore, job_id: JobId) -> Iterator[None]:
    """Nobody waits for the file any more."""
    try:
        yield
    except BaseException:
        with suppress(ExportNotCancellable, JobNotFound, ServiceUnavailable):
            jobs.cancel(job_id)
        raise


@contextmanager
def _working(settings: Settings, job_id: JobId) -> Iterator[Callable[[], None]]:
    """A worker for that job, beside those of a running service, which there need not be.

    What is yielded raises what ended the worker: there may be no other to wait for.
    """
    stopping = threading.Event()
    at = workplace(connect(settings), settings, stopping)

    def work() -> None:
        while not stopping.is_set():
            if not work_job(at, only=job_id):
                stopping.wait(LOOK_S)

    with ThreadPoolExecutor(1, "export-worker") as threads:
        working = threads.submit(work)

        def check() -> None:
            if working.done():
                working.result()

        try:
            yield check
        finally:
            stopping.set()


@contextmanager
def _bar() -> Iterator[Callable[[Job], None]]:
    columns = (TextColumn("exporting"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=100)
        yield lambda job: bar.update(task, completed=job.progress.percent if job.progress else 0)


def _bring(services: Services, job: Job, file: ExportFile, sink: BinaryIO) -> None:
    """The bytes; raises ExportDamaged if they are not those that were written."""
    pieces = services.jobs.pieces(job)
    sha256 = hashlib.sha256()
    with open_export(file, pieces, objects=services.objects, verified=Verified()) as opened:
        while block := opened.read(BLOCK_BYTES):
            sha256.update(block)
            sink.write(block)
    if sha256.hexdigest() != file.sha256:
        raise ExportDamaged("the file is not the one that was written; run the command again")


@contextmanager
def _written(target: Path) -> Iterator[BinaryIO]:
    """Standard output, or a file that has its name when it is whole."""
    if target == STDOUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if _is_device(target):
        with target.open("wb") as sink:
            yield sink
        return
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with part.open("xb") as sink:
            yield sink
            sink.flush()
            os.fsync(sink.fileno())
        part.replace(target)
        sync_folder(target.absolute().parent)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DownloadError(f"the file could not be brought to {target}: {reason}") from error
    finally:
        part.unlink(missing_ok=True)


def _said(services: Services, job: Job, file: ExportFile, target: Path, *, as_json: bool) -> str:
    about = services.jobs.completeness(job)
    expected, present = sum(a.expected for a in about), sum(a.present for a in about)
    if as_json:
        return json.dumps(
            {
                "file": str(target),
                "job_id": job.id,
                "format": job.request.format,
                "compression": job.request.compression,
                "rows": file.rows,
                "size_bytes": file.size_bytes,
                "sha256": file.sha256,
                "source_version": job.source_version,
                "intervals_expected": expected,
                "intervals_present": present,
            }
        )
    packed = job.request.compression
    size = f"{file.size_bytes:,} bytes{'' if packed is Compression.NONE else f' ({packed})'}"
    missing = expected - present
    gaps = f"{missing:,} of {expected:,} intervals are missing" if missing else "no gaps"
    if not expected:
        gaps = _no_readings(services, job.request)
    return f"{target}: {file.rows:,} rows, {size}, {gaps}\nsha256 {file.sha256}"


def _no_readings(services: Services, request: ExportRequest) -> str:
    known = services.catalog.some([request.smart_meter_id]).get(request.smart_meter_id)
    if known is None:
        return "no readings in this period"
    first, last = iso_utc(known.first), iso_utc(known.last)
    return f"no readings in this period; those of {known.smart_meter_id} are from {first} to {last}"
