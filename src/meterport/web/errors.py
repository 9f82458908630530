"""The error envelope, and which HTTP status each code has."""

from collections.abc import Mapping
from http import HTTPStatus

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from meterport.domain.access_errors import LimitError, Unauthenticated
from meterport.domain.errors import MeterportError
from meterport.web.routes import methods_of

STATUS: Mapping[str, int] = {
    "INVALID_HTTP": 400,
    "INVALID_JSON": 400,
    "IDEMPOTENCY_KEY_INVALID": 400,
    "UNAUTHENTICATED": 401,
    "FORBIDDEN": 403,
    "ROUTE_NOT_FOUND": 404,
    "JOB_NOT_FOUND": 404,
    "SMART_METER_NOT_FOUND": 404,
    "LINK_INVALID": 404,
    "METHOD_NOT_ALLOWED": 405,
    "EXPORT_NOT_READY": 409,
    "IMPORT_BUSY": 409,
    "IDEMPOTENCY_KEY_IN_USE": 409,
    "EXPORT_FAILED": 409,
    "EXPORT_DAMAGED": 409,
    "EXPORT_NOT_CANCELLABLE": 409,
    "EXPORT_EXPIRED": 410,
    "LINK_EXPIRED": 410,
    "MANIFEST_GONE": 410,
    "VERSION_GONE": 410,
    "REQUEST_TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "RANGE_NOT_SATISFIABLE": 416,
    "INVALID_REQUEST": 422,
    "MISSING_FIELD": 422,
    "INVALID_SMART_METER_ID": 422,
    "START_NOT_IN_PAST": 422,
    "INVALID_DATE_RANGE": 422,
    "DATE_RANGE_TOO_SMALL": 422,
    "DATE_RANGE_TOO_LARGE": 422,
    "UNSUPPORTED_FORMAT": 422,
    "UNSUPPORTED_COMPRESSION": 422,
    "INVALID_RESOLUTION": 422,
    "INVALID_TIMEZONE": 422,
    "INVALID_COLUMNS": 422,
    "EXPORT_LIMIT_EXCEEDED": 422,
    "IMPORT_REFUSED": 422,
    "IDEMPOTENCY_KEY_REUSED": 422,
    "RATE_LIMITED": 429,
    "TOO_MANY_ACTIVE_EXPORTS": 429,
    "INTERNAL_ERROR": 500,
    "SOURCE_DATA_INVALID": 500,
    "QUEUE_FULL": 503,
    "SERVICE_UNAVAILABLE": 503,
    "SOURCE_UNAVAILABLE": 503,
    "STORAGE_UNAVAILABLE": 503,
    "STORAGE_FULL": 507,
}
RETRY_AFTER_S: Mapping[str, int] = {
    "EXPORT_NOT_READY": 1,
    "IMPORT_BUSY": 5,
    "IDEMPOTENCY_KEY_IN_USE": 5,
    "SERVICE_UNAVAILABLE": 5,
    "SOURCE_UNAVAILABLE": 5,
    "STORAGE_UNAVAILABLE": 5,
    "STORAGE_FULL": 60,
}

log = structlog.get_logger()


class RequestError(MeterportError):
    """Something is wrong with the HTTP request itself, before its content counts."""


class InvalidHttp(RequestError):
    code = "INVALID_HTTP"


class InvalidJson(RequestError):
    code = "INVALID_JSON"


class RequestTooLarge(RequestError):
    code = "REQUEST_TOO_LARGE"


class UnsupportedMediaType(RequestError):
    code = "UNSUPPORTED_MEDIA_TYPE"


class RouteNotFound(RequestError):
    code = "ROUTE_NOT_FOUND"


class MethodNotAllowed(RequestError):
    code = "METHOD_NOT_ALLOWED"


class InternalServerError(RequestError):
    code = "INTERNAL_ERROR"


def error_response(
    error: MeterportError, request_id: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The envelope. Nothing of the request is in it but what the error's own message quotes."""
    own = {"X-Error-Code": error.code}
    if isinstance(error, LimitError):
        own["Retry-After"] = str(error.retry_after_s)
    elif error.code in RETRY_AFTER_S:
        own["Retry-After"] = str(RETRY_AFTER_S[error.code])
    if isinstance(error, Unauthenticated):
        own["WWW-Authenticate"] = 'Bearer realm="meterport"'  # RFC 6750, section 3
    body = {
        "status": "error",
        "message": error.message,
        "error": {"code": error.code, "message": error.message, "details": error.details},
        "request_id": request_id,
    }
    return JSONResponse(body, STATUS[error.code], headers=own | dict(headers or {}))


def install(app: FastAPI) -> None:
    app.add_exception_handler(MeterportError, meterport_error)
    app.add_exception_handler(HTTPException, _framework_error)
    app.add_exception_handler(RequestValidationError, _parameter_error)


def request_id(request: Request) -> str:
    return str(request.scope.get("meterport.request_id", ""))


async def meterport_error(request: Request, error: Exception) -> Response:
    known = error if isinstance(error, MeterportError) and error.code in STATUS else None
    if known is None:
        log.error("request_crashed", request_id=request_id(request), exc_info=error)
        known = internal_error()
    return error_response(known, request_id(request))


async def _framework_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = error.headers if isinstance(error, HTTPException) else None
    if status == HTTPStatus.NOT_FOUND:
        known: MeterportError = RouteNotFound("there is nothing here; /docs lists the routes")
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        known = MethodNotAllowed("this route has other methods; the Allow header names them")
        headers = {"Allow": ", ".join(methods_of(request.app.routes, request.scope))}
    else:
        known = InvalidJson("the request cannot be read")
    return error_response(known, request_id(request), headers)


async def _parameter_error(request: Request, error: Exception) -> Response:
    known = InvalidJson("the request cannot be read")
    return error_response(known, request_id(request))


def internal_error() -> InternalServerError:
    return InternalServerError(
        "the service failed on this request; its log has the cause under the request id",
        "Please report it with the request id",
    )
