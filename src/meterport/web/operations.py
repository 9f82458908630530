"""What the service can do."""

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from meterport.services.capabilities import capabilities
from meterport.web import operations_docs as docs
from meterport.web.contract import ServicesOf
from meterport.web.edge import MAX_BODY_BYTES
from meterport.web.paging import MOST
from meterport.web.routes import get
from meterport.web.strict import parameters_of

router = APIRouter()


@get(router, "/api/capabilities", **docs.CAPABILITIES)
def get_capabilities(request: Request, services: ServicesOf) -> Response:
    parameters_of(request, ())
    limits = {
        "meters_per_export": services.limits.meters,
        "rows_per_export": services.limits.rows,
        "json_body_bytes": MAX_BODY_BYTES,
        "entries_per_page": MOST,
    }
    return JSONResponse(capabilities(limits))
