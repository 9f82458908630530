"""`/api/exports`: exports with every option; their history, life and end."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response, StreamingResponse

from meterport.bootstrap import Services
from meterport.domain.access import Access
from meterport.domain.errors import InvalidRequest, JobNotFound, MissingField
from meterport.domain.exports import ExportRequest, check_label, check_smart_meter_id
from meterport.domain.history import Wanted
from meterport.domain.idempotency import check_key
from meterport.domain.jobs import Job, Phase, Submission
from meterport.domain.options import WORDS, Compression
from meterport.domain.wall_times import instant_of
from meterport.domain.words import one_of, true_or_false
from meterport.services.cancel_export import cancel_export
from meterport.services.delete_export import delete_export
from meterport.services.estimate_export import estimate_export
from meterport.services.find_job import find_job
from meterport.services.hand_out import hand_out_manifest
from meterport.services.read_export import Asked, read_export
from meterport.services.read_manifest import read_manifest
from meterport.services.rerun_export import rerun_export
from meterport.services.submit_export import authorise, known_format, submit_export
from meterport.web import exports_docs as docs
from meterport.web.access import MayExport, MayRead
from meterport.web.contract import (
    POLL_AFTER_S,
    IdempotencyKey,
    JsonObject,
    Prefer,
    ServicesOf,
    WatchOf,
    awaited,
    json_object,
    pending_headers,
    plain_id,
    services_of,
)
from meterport.web.export_resource import MOST_METERS, Known, estimated, resource
from meterport.web.limits import MayCreate
from meterport.web.paging import PARAMETERS, page_of, paged
from meterport.web.routes import add_twins
from meterport.web.strict import check_fields, parameters_of

FIELDS = (
    "smart_meter_id",
    "smart_meter_ids",
    "start",
    "end",
    "format",
    "compression",
    *WORDS,
    "label",
    "validate_only",
)
FILTERS = ("smart_meter_id", "status", "format", "label", "created_after", "created_before")
POLL = {"Retry-After": str(POLL_AFTER_S)}

router = APIRouter(prefix="/api/exports")
of_meter = APIRouter(prefix="/api/meters")


async def object_if_any(request: Request) -> dict[str, object]:
    """As `json_object`; a request without a body is one without fields."""
    return await json_object(request) if await request.body() else {}


ObjectIfAny = Annotated[dict[str, object], Depends(object_if_any)]


@router.post("", status_code=202, **docs.CREATE)
def submit(
    access: MayCreate,
    body: JsonObject,
    services: ServicesOf,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    request = read_export(
        _asked(body),
        source=services.source,
        catalog=services.catalog,
        now=datetime.now(UTC),
        within=access.meters,
    )
    if true_or_false("validate_only", body.get("validate_only", False)):
        authorise(request, access)
        if idempotency_key is not None:
            check_key(idempotency_key)
        return _estimated(request, services)
    submission = submit_export(
        request, at=services.intake, access=access, idempotency_key=idempotency_key
    )
    return _accepted(submission, services)


def _estimated(request: ExportRequest, services: Services) -> Response:
    estimate = estimate_export(
        request,
        source=services.source,
        catalog=services.catalog,
        archive=services.archive,
        limits=services.limits,
    )
    return JSONResponse(estimated(estimate))


@router.get("", **docs.HISTORY)
def history(access: MayRead, request: Request, services: ServicesOf) -> Response:
    return _page(request, services, access, parameters_of(request, (*FILTERS, *PARAMETERS)))


@of_meter.get("/{smart_meter_id}/exports", **docs.OF_METER)
def exports_of_meter(
    access: MayRead, smart_meter_id: str, request: Request, services: ServicesOf
) -> Response:
    others = [name for name in FILTERS if name != "smart_meter_id"]
    parameters = parameters_of(request, (*others, *PARAMETERS))
    return _page(request, services, access, {**parameters, "smart_meter_id": smart_meter_id})


def _page(
    request: Request, services: Services, access: Access, parameters: Mapping[str, str]
) -> Response:
    page = page_of(parameters, parts=2)
    found = services.history.page(
        _wanted(parameters), access=access, limit=page.limit, after=page.after
    )
    now = datetime.now(UTC)
    told = [resource(entry.job, Known(entry.meters), now=now) for entry in found.entries]
    return paged(request, told, next_key=found.next_key)


@router.get("/{job_id}", **docs.DETAIL)
async def detail(
    access: MayRead, job_id: str, request: Request, watch: WatchOf, prefer: Prefer = None
) -> Response:
    job, headers = await awaited(job_id, request, access, watch, prefer)
    if job is None:
        raise JobNotFound(job_id, listed_by="GET /api/exports")
    return await run_in_threadpool(_shown, job, services_of(request), headers)


@router.delete("/{job_id}", status_code=204, **docs.DELETE)
def delete(access: MayExport, job_id: str, services: ServicesOf) -> Response:
    delete_export(
        asked_job(job_id, services, access).id,
        access,
        jobs=services.jobs,
        history=services.history,
        objects=services.objects,
        audit=services.audit,
    )
    return Response(status_code=204)


@router.post("/{job_id}/cancel", **docs.CANCEL)
def cancel(access: MayExport, job_id: str, services: ServicesOf) -> Response:
    job = asked_job(job_id, services, access)
    called_off = cancel_export(job.id, access, jobs=services.jobs, audit=services.audit)
    return _shown(called_off, services)


@router.post("/{job_id}/rerun", status_code=202, **docs.RERUN)
def rerun(
    access: MayCreate,
    job_id: str,
    body: ObjectIfAny,
    services: ServicesOf,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    check_fields(body, ("shift",))
    shift = true_or_false("shift", body.get("shift", False))
    submission = rerun_export(
        asked_job(job_id, services, access).id,
        at=services.intake,
        source=services.source,
        access=access,
        shifted_at=datetime.now(UTC) if shift else None,
        idempotency_key=idempotency_key,
    )
    return _accepted(submission, services)


@router.get("/{job_id}/manifest", **docs.MANIFEST)
def manifest(access: MayRead, job_id: str, request: Request, services: ServicesOf) -> Response:
    unerased = services.unerased()
    job = asked_job(job_id, services, access)
    if request.method == "HEAD":
        read_manifest(job, services.jobs.manifests(job))
        return StreamingResponse(iter(()), media_type="application/json")
    pieces = hand_out_manifest(
        job, access, jobs=services.jobs, audit=services.audit, unerased=unerased
    )
    return StreamingResponse(pieces, media_type="application/json")


add_twins(router)
add_twins(of_meter)


def _asked(body: Mapping[str, object]) -> Asked:
    """Raises InvalidRequest: unknown fields come first, then missing ones."""
    check_fields(body, FIELDS)
    one, several = "smart_meter_id" in body, "smart_meter_ids" in body
    missing = [name for name in ("start", "end") if name not in body]
    if not (one or several):
        missing.insert(0, "smart_meter_id or smart_meter_ids")
    if missing:
        raise MissingField(f"required and missing: {', '.join(missing)}")
    if one and several:
        raise InvalidRequest("say smart_meter_id or smart_meter_ids, and not both")
    return Asked(
        meters=[body["smart_meter_id"]] if one else body["smart_meter_ids"],
        start=body["start"],
        end=body["end"],
        format=body.get("format", "csv"),
        compression=body.get("compression", Compression.NONE),
        words={name: body[name] for name in WORDS if name in body},
        label=body.get("label"),
    )


def _wanted(parameters: Mapping[str, str]) -> Wanted:
    checks: Mapping[str, Any] = {
        "smart_meter_id": check_smart_meter_id,
        "status": lambda word: one_of(Phase, "status", word),
        "format": known_format,
        "label": check_label,
        "created_after": lambda text: instant_of("created_after", text, "UTC"),
        "created_before": lambda text: instant_of("created_before", text, "UTC"),
    }
    given = [checks[name](parameters[name]) if name in parameters else None for name in FILTERS]
    return Wanted(*given)


def asked_job(job_id: str, services: Services, access: Access) -> Job:
    """Raises JobNotFound."""
    job = find_job(plain_id(job_id), access, jobs=services.jobs)
    if job is None:
        raise JobNotFound(job_id, listed_by="GET /api/exports")
    return job


def _accepted(submission: Submission, services: Services) -> Response:
    job = submission.job
    replayed = {"Idempotency-Replayed": "true"} if submission.replayed else {}
    headers = {"Location": f"/api/exports/{job.id}", **POLL, **replayed}
    return JSONResponse(told(job, services), 202, headers)


def _shown(job: Job, services: Services, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse(told(job, services), headers=pending_headers(job) | dict(headers or {}))


def told(job: Job, services: Services) -> dict[str, object]:
    fleet = services.jobs.meters(job) if job.request.is_fleet else ()
    known = Known(
        meters=len(fleet) if job.request.is_fleet else 1,
        fleet=fleet if len(fleet) <= MOST_METERS else (),
        about=services.jobs.completeness(job) if job.phase is Phase.COMPLETED else (),
    )
    return resource(job, known, now=datetime.now(UTC))
