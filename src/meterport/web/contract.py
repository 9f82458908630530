"""The frozen tier: three endpoints whose bodies never change."""

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from pydantic import WithJsonSchema
from starlette.concurrency import run_in_threadpool
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.responses import JSONResponse, Response

from meterport.bootstrap import Services
from meterport.domain.access import Access
from meterport.domain.access_errors import RateLimited
from meterport.domain.errors import InvalidRequest, JobNotFound, ServiceUnavailable
from meterport.domain.jobs import Job, JobStatus
from meterport.domain.period import iso_utc, to_the_second
from meterport.services.find_job import find_job, sees
from meterport.services.hand_out import record_download
from meterport.services.name_file import filename, media_type
from meterport.services.open_export import (
    Verified,
    downloadable_file,
    finished_file,
    link_to_export,
    open_export,
)
from meterport.services.submit_export import read_request, submit_export
from meterport.services.unerased import Unerased
from meterport.web import contract_docs as docs
from meterport.web.access import MayRead, authenticated
from meterport.web.download import FileResponse, file_response, may_be_redirected, redirect_response
from meterport.web.errors import InvalidJson, UnsupportedMediaType
from meterport.web.limits import DOWNLOAD_PLACE, MayCreate, key_limits_of
from meterport.web.rejudged import Rejudged
from meterport.web.watch import Watch, wait_asked_for

POLL_AFTER_S, POLL_AT_LAST_S = 1, 30


class Anything(PathConvertor):
    """Also slashes and line breaks, so that every malformed id gets the contract's 404."""

    regex = r"(?s:.*)"


register_url_convertor("anything", Anything())
router = APIRouter(prefix="/api/export")


def services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


def verified_of(request: Request) -> Verified:
    verified: Verified = request.app.state.verified
    return verified


async def json_object(request: Request) -> dict[str, object]:
    """The body as a JSON object, whatever its fields."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise UnsupportedMediaType("add the header Content-Type: application/json")
    try:
        body = json.loads((await request.body()).decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidJson("the body is not JSON; send an object in UTF-8") from error
    if not isinstance(body, dict):
        raise InvalidRequest("the body must be a JSON object")
    return body


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def watch_of(request: Request) -> Watch:
    watch: Watch = request.app.state.watch
    return watch


WatchOf = Annotated[Watch, Depends(watch_of)]
Prefer = Annotated[str | None, WithJsonSchema(docs.TEXT), Header(description=docs.WAIT)]
IdempotencyKey = Annotated[
    str | None, WithJsonSchema(docs.IDEMPOTENCY_KEY), Header(description=docs.ONCE)
]
ServicesOf = Annotated[Services, Depends(services_of)]
VerifiedOf = Annotated[Verified, Depends(verified_of)]
JsonObject = Annotated[dict[str, object], Depends(json_object)]


@router.post("/csv", status_code=202, **docs.CREATE)
@router.post("/csv/", include_in_schema=False)
def create_export(
    access: MayCreate,
    body: JsonObject,
    services: ServicesOf,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    request = read_request(body, now=datetime.now(UTC))
    submission = submit_export(
        request, at=services.intake, access=access, idempotency_key=idempotency_key
    )
    headers = {
        "Location": f"/api/export/status/{submission.job.id}",
        "Retry-After": str(POLL_AFTER_S),
    }
    if submission.replayed:
        headers["Idempotency-Replayed"] = "true"
    answer = {
        "job_id": submission.job.id,
        "status": JobStatus.PENDING,
        "message": "Export job created successfully",
    }
    return JSONResponse(answer, 202, headers)


@router.get("/status/{job_id:anything}", **docs.STATUS_OF_JOB)
@router.head("/status/{job_id:anything}", include_in_schema=False)
async def export_status(
    access: MayRead, job_id: str, request: Request, watch: WatchOf, prefer: Prefer = None
) -> Response:
    job, headers = await awaited(job_id, request, access, watch, prefer)
    if job is None:
        return not_found(job_id)
    return JSONResponse(status_body(job), headers=headers | pending_headers(job))


async def awaited(
    job_id: str, request: Request, access: Access, watch: Watch, prefer: str | None
) -> tuple[Job | None, dict[str, str]]:
    """The job, once it has ended or the wait that is preferred is over; and the headers of that."""
    jobs = services_of(request).jobs
    job = await run_in_threadpool(find_job, plain_id(job_id), access, jobs=jobs)
    wait_s = wait_asked_for(prefer)
    if job is None or not wait_s:
        return job, {}
    try:
        with key_limits_of(request).waits.taken(access.key_id), watch.place():
            job = await watch.until(job, Job.has_ended, within_s=wait_s)
    except (RateLimited, ServiceUnavailable):
        return job, {}  # as if it had not asked to wait
    if job is not None and not await run_in_threadpool(may_see_yet, request, job):
        job = None
    return job, {"Preference-Applied": f"wait={wait_s}"}


def may_see_yet(request: Request, job: Job) -> bool:
    """Whether whoever asked for it may see it now. Raises Unauthenticated."""
    return sees(authenticated(request), job, services_of(request).jobs)


@router.get("/download/{job_id:anything}", dependencies=[DOWNLOAD_PLACE], **docs.DOWNLOAD)
@router.head("/download/{job_id:anything}", dependencies=[DOWNLOAD_PLACE], include_in_schema=False)
def download_export(
    access: MayRead,
    job_id: str,
    request: Request,
    services: ServicesOf,
    verified: VerifiedOf,
) -> Response:
    unerased = services.unerased()
    job = find_job(plain_id(job_id), access, jobs=services.jobs)
    if job is None:
        return not_found(job_id)
    record = partial(record_download, job, access, jobs=services.jobs, audit=services.audit)

    def judge() -> None:
        if not may_see_yet(request, job):
            raise JobNotFound(job.id)

    return sent_file(request, job, verified, unerased, record, judge)


def sent_file(
    request: Request,
    job: Job,
    verified: Verified,
    unerased: Unerased,
    record: Callable[..., None],
    judge: Callable[[], object],
) -> Response:
    """The job's file, for whoever may have it. Raises what is wrong with it.

    `record` is told of the part, or of the redirection, before anything is sent. `judge` raises
    where no more may be sent, and is asked again on the way.
    """
    services, file = services_of(request), downloadable_file(job)
    named = {
        "filename": filename(job.request),
        "media_type": media_type(job.request),
    }
    if may_be_redirected(request):
        link = link_to_export(file, objects=services.objects, **named)
        if link is not None:
            record(redirected=True)
            return redirect_response(link, file, expires_at=job.expires_at)
    pieces = services.jobs.pieces(job)
    opened = open_export(file, pieces, objects=services.objects, verified=verified)
    rejudged = Rejudged(judge)

    def check() -> None:
        unerased.check(job.id)
        rejudged.check()

    response = file_response(
        request,
        opened,
        file,
        **named,
        last_modified=job.updated_at,
        expires_at=job.expires_at,
        is_verified=not services.objects.is_remote,
        check=check,
    )
    if isinstance(response, FileResponse) and request.method == "GET":
        with response.closed_on_failure():
            record(part=(response.part.first, response.part.end))
    return response


def status_body(job: Job) -> dict[str, Any]:
    common = {"job_id": job.id, "status": job.status}
    times = {
        "created_at": iso_utc(to_the_second(job.created_at)),
        "updated_at": iso_utc(to_the_second(job.updated_at)),
    }
    if job.file is not None:
        message = "Export completed successfully"
        return common | {"message": message} | times | {"file_info": _file_info(job)}
    if job.error is not None:
        error = {
            "code": job.error.code,
            "message": job.error.message,
            "details": job.error.details,
        }
        return common | {"message": "Export failed"} | times | {"error": error}
    return common | {"message": "Job is being processed"} | times | _progress(job)


def not_found(job_id: str) -> JSONResponse:
    harmless = len(job_id) <= 64 and job_id.isascii() and job_id.isprintable()
    message = f"Job with ID '{job_id if harmless else '…'}' not found"
    return JSONResponse({"status": "not_found", "message": message}, 404)


def _file_info(job: Job) -> dict[str, object]:
    file = finished_file(job)
    period = job.request.period
    return {
        "filename": filename(job.request),
        "download_url": f"/api/export/download/{job.id}",
        "file_size_bytes": file.size_bytes,
        "record_count": file.rows,
        "export_period": {"start": iso_utc(period.start), "end": iso_utc(period.end)},
    }


def _progress(job: Job) -> dict[str, object]:
    progress = job.progress
    if progress is None:
        return {}
    return {
        "progress": {
            "percent": progress.percent,
            "records_written": progress.records_written,
            "records_expected": progress.records_expected,
        }
    }


def plain_id(job_id: str) -> str:
    """The id as jobs have it, from any spelling of the same UUID with hyphens."""
    text = job_id.removesuffix("/")
    try:
        plain = str(uuid.UUID(text))
    except ValueError:
        return ""
    return plain if plain == text.lower() else ""


def pending_headers(job: Job) -> dict[str, str]:
    """When to ask again: the longer it takes, the later. None once it has ended."""
    if job.has_ended():
        return {}
    age_s = (datetime.now(UTC) - job.created_at).total_seconds()
    told = {} if job.progress is None else {"X-Progress": str(job.progress.percent)}
    return {"Retry-After": str(max(POLL_AFTER_S, min(POLL_AT_LAST_S, int(age_s // 10))))} | told
