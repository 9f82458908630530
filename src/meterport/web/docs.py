"""/docs without any third party's server: Swagger UI from an installed package."""

from importlib.resources import files

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse, Response

READS = ["GET", "HEAD"]

router = APIRouter(include_in_schema=False)

_STATIC = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>meterport API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css"></head>
<body><div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body>
</html>
"""
_START = """SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true});
"""
# Swagger UI sets style attributes and shows its icons from data: URLs.
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)


@router.api_route("/docs", methods=READS)
def page() -> Response:
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _CSP})


@router.api_route("/docs/start.js", methods=READS)
def start() -> Response:
    return Response(_START, media_type="text/javascript")


@router.api_route("/docs/{name}", methods=READS)
def asset(name: str) -> Response:
    if name not in _STATIC:
        raise HTTPException(404)
    path = str(files("fastapi_offline") / "static" / name)
    return FileResponse(path, media_type=_STATIC[name], headers={"Cache-Control": "max-age=3600"})
