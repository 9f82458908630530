"""What OpenAPI says of any route: the error envelope, and examples by name."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field

from meterport.domain.errors import ExportError
from meterport.web.errors import STATUS

Answers = dict[int | str, dict[str, Any]]
EVERYWHERE = {
    "UNAUTHENTICATED": "this service needs a key: add the header Authorization: Bearer KEY",
    "FORBIDDEN": "the service does not answer to the host 'evil.example'; "
    "METERPORT_ALLOWED_HOSTS names further ones",
    "INTERNAL_ERROR": "the service failed on this request; its log has the cause under the "
    "request id",
    "SERVICE_UNAVAILABLE": "the database does not answer; try again soon",
}
"""What every route may answer, and why; the probes ask nobody for a key."""
SECURITY_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "A key that `meterport keys create` made; not asked for on loopback, unless "
    "METERPORT_AUTH=keys.",
}

_NULL = "\0"


def _codes() -> list[str]:
    """Of every answer, and of jobs that failed."""
    kinds = [ExportError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return sorted({*STATUS, *(kind.code for kind in kinds)})


class Error(BaseModel):
    code: str = Field(
        description="It never changes meaning; docs/reference.md tells it, and message people",
        json_schema_extra={"enum": list[Any](_codes())},
    )
    message: str
    details: str


class ErrorBody(BaseModel):
    status: Literal["error"]
    message: str
    error: Error
    request_id: str


def answer(model: Any, description: str, **examples: object) -> dict[str, Any]:
    named = {name: {"value": _replaced(value, None, _NULL)} for name, value in examples.items()}
    content = {"application/json": {"examples": named}}
    return {"model": model, "description": description, "content": content}


def with_nulls(document: Any) -> Any:
    """The document as it was meant: the framework leaves out what is null, also in examples."""
    return _replaced(document, _NULL, None)


def refusals(messages: Mapping[str, str]) -> Answers:
    """The envelope for each code, by status."""
    by_status: dict[int | str, dict[str, object]] = {}
    for code, message in messages.items():
        body = {
            "status": "error",
            "message": message,
            "error": {"code": code, "message": message, "details": ""},
            "request_id": "0f6d3c9e5b1a4f7d8e2c6a9b3d5f7e10",
        }
        by_status.setdefault(STATUS[code], {})[code] = body
    return {
        status: answer(ErrorBody, " · ".join(bodies), **bodies)
        for status, bodies in by_status.items()
    }


def _replaced(value: Any, old: object, new: object) -> Any:
    if isinstance(value, dict):
        return {name: _replaced(each, old, new) for name, each in value.items()}
    if isinstance(value, list):
        return [_replaced(each, old, new) for each in value]
    return new if value == old else value
