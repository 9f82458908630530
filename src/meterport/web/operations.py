"""What the service can do, whether it can do it now, and how much it has done."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response

from meterport.services.capabilities import capabilities
from meterport.services.metrics import MEDIA_TYPE, metrics
from meterport.services.readiness import OK, Readiness
from meterport.web import operations_docs as docs
from meterport.web.access import AccessOf, MayMeasure
from meterport.web.contract import ServicesOf
from meterport.web.edge import MAX_BODY_BYTES
from meterport.web.paging import MOST
from meterport.web.routes import add_twins
from meterport.web.strict import parameters_of

router = APIRouter()
probes = APIRouter()


def readiness_of(request: Request) -> Readiness:
    found: Readiness = request.app.state.readiness
    return found


@probes.get("/livez", **docs.LIVE)
def get_liveness() -> Response:
    return JSONResponse({"status": "ok"})


@probes.get("/readyz", **docs.READY)
def get_readiness(readiness: Annotated[Readiness, Depends(readiness_of)]) -> Response:
    checks = readiness.look()
    ready = set(checks.values()) == {OK}
    status = "ready" if ready else "not ready"
    return JSONResponse({"status": status, "checks": dict(checks)}, 200 if ready else 503)


@router.get("/metrics", **docs.METRICS)
def get_metrics(access: MayMeasure, services: ServicesOf) -> Response:
    text = metrics(
        counts=services.counts,
        presence=services.presence,
        disk=services.disk,
        source=services.source,
    )
    return Response(text, headers={"Content-Type": MEDIA_TYPE})


@router.get("/api/capabilities", **docs.CAPABILITIES)
def get_capabilities(access: AccessOf, request: Request, services: ServicesOf) -> Response:
    parameters_of(request, ())
    limits = {
        "meters_per_export": services.limits.meters,
        "rows_per_export": services.limits.rows,
        "json_body_bytes": MAX_BODY_BYTES,
        "upload_bytes": request.app.state.upload_bytes,
        "entries_per_page": MOST,
        **request.app.state.limits_told,
    }
    return JSONResponse(capabilities(limits))


add_twins(router)
add_twins(probes)
