"""The web application: the routes, behind the edge."""

from functools import cache
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.responses import JSONResponse, Response

from meterport import __version__
from meterport.bootstrap import Services
from meterport.domain.access_errors import Forbidden
from meterport.services.open_export import Verified
from meterport.services.readiness import readiness
from meterport.settings import Settings, environment_of
from meterport.web import (
    contract,
    docs,
    errors,
    events,
    exports,
    links,
    meters,
    operations,
    readings,
)
from meterport.web.access import authenticated, refused
from meterport.web.contract_docs import DESCRIPTION
from meterport.web.doc_parts import SECURITY_SCHEME, with_nulls
from meterport.web.edge import LOOPBACK_HOSTS, Edge
from meterport.web.import_process import ImportProcess
from meterport.web.limits import KeyLimits, told
from meterport.web.reading_places import ReadingPlaces
from meterport.web.watch import Watch

GUARDED = (
    contract.router,
    exports.router,
    exports.of_meter,
    events.router,
    links.router,
    meters.router,
    readings.router,
    operations.router,
)
OPEN = (links.used, operations.probes)
ROUTERS = (*GUARDED, *OPEN)


def create_app(services: Services, settings: Settings) -> FastAPI:
    app = FastAPI(
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    app.state.keys = services.keys if settings.asks_for_keys else None
    app.state.key_limits = KeyLimits(settings)
    app.state.limits_told = told(settings)
    app.state.verified = Verified()
    app.state.watch = Watch(services.archive.some)
    app.state.inbox = readings.Inbox(ImportProcess(environment_of(settings)))
    app.state.reading_places = ReadingPlaces()
    app.state.upload_bytes = settings.max_upload_bytes
    app.state.readiness = readiness(
        archive=services.archive,
        objects=services.objects,
        space=services.space,
        disk=services.disk,
        source=services.source,
        pages=services.meter_pages,
        presence=services.presence,
    )
    errors.install(app)
    app.add_exception_handler(Forbidden, refused)
    for router in GUARDED:
        app.include_router(router, dependencies=[Depends(authenticated)])
    for router in (*OPEN, docs.router):
        app.include_router(router)
    for path, route in (("/", index), ("/openapi.json", openapi_json)):
        app.add_api_route(path, route, methods=["GET", "HEAD"], include_in_schema=False)
    uploads = {readings.PATH: settings.max_upload_bytes}
    app.add_middleware(Edge, hosts=_answered_hosts(settings), uploads=uploads)
    return app


def index() -> Response:
    return JSONResponse({"service": "meterport", "version": __version__, "docs": "/docs"})


def openapi_json() -> Response:
    return JSONResponse(document())


@cache
def document() -> dict[str, Any]:
    """OpenAPI, without the framework's own 422, which the service never sends."""
    routes = [route for router in ROUTERS for route in router.routes]
    made = get_openapi(
        title="meterport", version=__version__, description=DESCRIPTION, routes=routes
    )
    for path in made["paths"].values():
        for operation in path.values():
            if "HTTPValidationError" in str(operation["responses"].get("422", "")):
                del operation["responses"]["422"]
            if "401" in operation["responses"]:
                operation["security"] = [{"key": []}, {}]
    made["components"]["securitySchemes"] = {"key": SECURITY_SCHEME}
    for name in ("HTTPValidationError", "ValidationError"):
        made["components"]["schemas"].pop(name, None)
    whole: dict[str, Any] = with_nulls(made)
    return whole


def _answered_hosts(settings: Settings) -> tuple[str, ...] | None:
    """Without keys only names of this machine, so that no foreign page reaches it by its own."""
    if (settings.asks_for_keys or settings.auth == "insecure-off") and not settings.allowed_hosts:
        return None
    return LOOPBACK_HOSTS + settings.allowed_hosts
