"""What OpenAPI says of the routes by which a service is known and watched."""

from typing import Any, Literal

from pydantic import BaseModel
from starlette.responses import Response

from meterport.services.capabilities import capabilities
from meterport.services.readiness import NO_WORKER
from meterport.web.doc_parts import EVERYWHERE, answer, refusals


class FormatKnown(BaseModel):
    name: str
    media_type: str
    extension: str
    default_columns: list[str]
    columns: list[str]
    qualities: list[str | None] | None
    resolutions: list[str]
    options: list[str]


class CompressionKnown(BaseModel):
    name: str
    extension: str | None
    media_type: str | None


class ColumnKnown(BaseModel):
    name: str
    unit: str | None
    default: bool


class ImportKnown(BaseModel):
    name: str
    extensions: list[str]
    media_types: list[str]
    options: list[str]


class Timezones(BaseModel):
    source: str
    count: int


class Capabilities(BaseModel):
    version: str
    formats: list[FormatKnown]
    compressions: list[CompressionKnown]
    resolutions: list[str]
    gaps: list[str]
    interval_labels: list[str]
    layouts: list[str]
    columns: list[ColumnKnown]
    imports: list[ImportKnown]
    timezones: Timezones
    limits: dict[str, int]


class Alive(BaseModel):
    status: Literal["ok"]


class Ready(BaseModel):
    status: Literal["ready"]
    checks: dict[str, str]


class NotReady(BaseModel):
    status: Literal["not ready"]
    checks: dict[str, str]


_TIMEZONES = {"timezones": {"source": "tzdata 2026.6", "count": 598}}
"""As an example, so that the document does not depend on what is installed."""

_CHECKS = dict.fromkeys(("database", "store", "disk", "readings", "workers"), "ok")
_WITHOUT_DATABASE = {
    name: text
    for name, text in EVERYWHERE.items()
    if name not in ("SERVICE_UNAVAILABLE", "UNAUTHENTICATED")
}
_METRICS = """# HELP meterport_jobs Exports whose records are kept, by state.
# TYPE meterport_jobs gauge
meterport_jobs{state="queued"} 2
"""

LIVE: dict[str, Any] = {
    "operation_id": "get_liveness",
    "summary": "Does the process answer?",
    "description": "It asks neither the database nor any store.",
    "tags": ["operations"],
    "responses": {
        200: answer(Alive, "It does", alive={"status": "ok"}),
        **refusals(_WITHOUT_DATABASE),
    },
}
READY: dict[str, Any] = {
    "operation_id": "get_readiness",
    "summary": "Can the service do its work now?",
    "description": "Each part is asked for at most three seconds.",
    "tags": ["operations"],
    "responses": {
        200: answer(Ready, "It can", ready={"status": "ready", "checks": _CHECKS}),
        503: answer(
            NotReady,
            "It cannot; what is not ok is told by a code, and its log has the cause",
            no_worker={"status": "not ready", "checks": _CHECKS | {"workers": NO_WORKER}},
            no_database={
                "status": "not ready",
                "checks": _CHECKS
                | {"database": "SERVICE_UNAVAILABLE", "workers": "SERVICE_UNAVAILABLE"},
            },
        ),
        **refusals(_WITHOUT_DATABASE),
    },
}
METRICS: dict[str, Any] = {
    "operation_id": "get_metrics",
    "summary": "The service in numbers, for Prometheus",
    "tags": ["operations"],
    "response_class": Response,
    "responses": {
        200: {
            "description": "Text format 0.0.4",
            "content": {"text/plain": {"schema": {"type": "string"}, "example": _METRICS}},
        },
        **refusals(EVERYWHERE),
    },
}
UNKNOWN_PARAMETER = {"INVALID_REQUEST": "unknown parameter 'formt'; this route has none"}

CAPABILITIES: dict[str, Any] = {
    "operation_id": "get_capabilities",
    "summary": "What can be asked for, and how much of it",
    "tags": ["operations"],
    "responses": {
        200: answer(
            Capabilities,
            "Formats, words and limits; qualities null: any",
            capabilities=capabilities({"meters_per_export": 10_000}) | _TIMEZONES,
        ),
        **refusals(UNKNOWN_PARAMETER | EVERYWHERE),
    },
}
