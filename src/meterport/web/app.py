"""The web application: the routes, behind the edge."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.responses import JSONResponse, Response

from meterport import __version__
from meterport.bootstrap import Services
from meterport.services.open_export import Verified
from meterport.settings import Settings
from meterport.web import contract, docs, errors
from meterport.web.contract_docs import DESCRIPTION
from meterport.web.edge import LOOPBACK_HOSTS, Edge


def create_app(services: Services, settings: Settings) -> FastAPI:
    app = FastAPI(
        title="meterport",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    app.state.verified = Verified()
    errors.install(app)
    app.include_router(contract.router)
    app.include_router(docs.router)
    app.add_api_route("/", index, include_in_schema=False)
    app.add_api_route("/livez", live, include_in_schema=False)
    app.add_middleware(Edge, hosts=_answered_hosts(settings))
    app.openapi = lambda: openapi(app)  # type: ignore[method-assign]  # FastAPI's documented way
    return app


def index() -> Response:
    return JSONResponse({"service": "meterport", "version": __version__, "docs": "/docs"})


def live() -> Response:
    return JSONResponse({"status": "ok"})


def openapi(app: FastAPI) -> dict[str, Any]:
    """The document without the framework's own 422, which the service never sends."""
    document = get_openapi(
        title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes
    )
    for path in document["paths"].values():
        for operation in path.values():
            schema = str(operation["responses"].get("422", ""))
            if "HTTPValidationError" in schema:
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        document.get("components", {}).get("schemas", {}).pop(name, None)
    return document


def _answered_hosts(settings: Settings) -> tuple[str, ...] | None:
    """On loopback only names of this machine, so that no foreign page reaches it by its own."""
    if settings.auth == "insecure-off" and not settings.allowed_hosts:
        return None
    return LOOPBACK_HOSTS + settings.allowed_hosts
