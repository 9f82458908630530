"""What `meterport export` does: ask for an export, work on it here, and bring its file.

It is a job like any other: it stays in `meterport jobs`, and workers of a service that runs on the
same home may take it, or parts of it. The command itself takes no other job.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from meterport.bootstrap import Services, connect
from meterport.client import MeterportRefused
from meterport.domain.errors import (
    ExportDamaged,
    ExportNotCancellable,
    JobNotFound,
    ServiceUnavailable,
)
from meterport.domain.exports import ExportFile, ExportRequest
from meterport.domain.jobs import Job, JobId, JobStatus
from meterport.domain.options import Compression
from meterport.domain.period import iso_utc
from meterport.export_targets import STDOUT, Brought, Targets, Wanted, percent_bar, written
from meterport.housekeeping import tidy
from meterport.ports import JobStore
from meterport.processes import stopped_only_where_asked
from meterport.services.cancel_export import cancel_export
from meterport.services.choose_meters import ALL
from meterport.services.hand_out import hand_out_manifest, record_download
from meterport.services.name_file import filename
from meterport.services.open_export import Verified, finished_file, open_export
from meterport.services.read_export import Asked, read_export
from meterport.services.submit_export import submit_export
from meterport.services.unerased import Unerased
from meterport.services.work_job import work_job
from meterport.settings import Settings
from meterport.worker import workplace

LOOK_S = 0.1
BLOCK_BYTES = 1 << 20


def run(settings: Settings, wanted: Wanted, targets: Targets, *, as_json: bool) -> str | None:
    """What to say of the file; None where it or its manifest went to standard output."""
    services = connect(settings)
    request = _request(services, wanted)
    targets.check([filename(replace(request, compression=each)) for each in _outcomes(request)])
    tidy(services, settings)
    unerased = services.unerased()
    job = _ended(services, settings, request)
    file = finished_file(job)
    target = targets.file or Path(filename(job.request))
    with written(target) as sink:
        _bring(services, job, file, sink, unerased)
    if targets.manifest is not None:
        with written(targets.manifest) as sink:
            for text in hand_out_manifest(
                job, jobs=services.jobs, audit=services.audit, unerased=unerased
            ):
                sink.write(text.encode())
    if STDOUT in (target, targets.manifest):
        return None
    about = services.jobs.completeness(job)
    brought = Brought(
        target,
        job.id,
        job.request.format,
        str(job.request.compression),
        file.rows,
        file.size_bytes,
        file.sha256,
        job.source_version,
        sum(each.expected for each in about),
        sum(each.present for each in about),
    )
    return brought.told(_no_readings(services, job.request), as_json=as_json)


def _request(services: Services, wanted: Wanted) -> ExportRequest:
    asked = Asked(
        meters=ALL if ALL in wanted.meters else list(wanted.meters),
        start=wanted.start,
        end=wanted.end,
        format=wanted.format,
        compression=wanted.compression,
        words=wanted.words,
        bounds=("--from", "--to"),
    )
    return read_export(
        asked, source=services.source, catalog=services.catalog, now=datetime.now(UTC)
    )


def _outcomes(request: ExportRequest) -> Sequence[Compression]:
    auto = request.compression is Compression.AUTO
    return (Compression.NONE, Compression.GZIP) if auto else (request.compression,)


def _ended(services: Services, settings: Settings, request: ExportRequest) -> Job:
    """The job, worked on until it has a file. Raises MeterportRefused with its own reason."""
    with stopped_only_where_asked() as check_orders:
        job = submit_export(request, at=services.intake).job
        with (
            _called_off_if_left(services, job.id),
            _working(settings, job.id) as check_worker,
            percent_bar() as tell,
        ):
            while job.status is JobStatus.PENDING:
                time.sleep(LOOK_S)
                check_orders()
                check_worker()
                job = _now(services.jobs, job.id)
                tell(job.progress.percent if job.progress else 0)
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
def _called_off_if_left(services: Services, job_id: JobId) -> Iterator[None]:
    """Nobody waits for the file any more."""
    try:
        yield
    except BaseException:
        with suppress(ExportNotCancellable, JobNotFound, ServiceUnavailable):
            cancel_export(job_id, jobs=services.jobs, audit=services.audit)
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


def _bring(
    services: Services, job: Job, file: ExportFile, sink: BinaryIO, unerased: Unerased
) -> None:
    """The bytes, once it is recorded that they go.

    Raises ExportDamaged if they are not those that were written; ExportExpired where a meter is
    erased meanwhile.
    """
    pieces = services.jobs.pieces(job)
    sha256 = hashlib.sha256()
    record_download(job, jobs=services.jobs, audit=services.audit)
    with open_export(file, pieces, objects=services.objects, verified=Verified()) as opened:
        while block := opened.read(BLOCK_BYTES):
            sha256.update(block)
            unerased.check(job.id)
            sink.write(block)
    if sha256.hexdigest() != file.sha256:
        raise ExportDamaged("the file is not the one that was written; run the command again")


def _no_readings(services: Services, request: ExportRequest) -> str:
    known = services.catalog.some([request.smart_meter_id]).get(request.smart_meter_id)
    if known is None:
        return "no readings in this period"
    first, last = iso_utc(known.first), iso_utc(known.last)
    return f"no readings in this period; those of {known.smart_meter_id} are from {first} to {last}"
