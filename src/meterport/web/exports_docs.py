"""What OpenAPI says of `/api/exports`: schemas, and an example for every status."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from meterport.domain.jobs import Phase
from meterport.encoders import FORMATS
from meterport.web.doc_parts import answer
from meterport.web.error_docs import EVERYWHERE, JOB_ID, MESSAGES, NO_ROOM, errors
from meterport.web.errors import STATUS
from meterport.web.export_schemas import (
    METER,
    NEW_EXPORT,
    RERUN_BODY,
    Export,
    Exports,
    Validated,
    text_of,
)
from meterport.web.paging import MOST, USUAL_LIMIT

JSON = "application/json"
_REQUEST: dict[str, object] = {
    "smart_meter_id": "123",
    "start": "2024-01-01",
    "end": "2024-02-01",
    "resolution": "15m",
    "timezone": "Europe/Berlin",
    "label": "January, for the bill",
}
_FLEET: dict[str, object] = {
    "smart_meter_ids": "all",
    "start": "2024-01-01T00:00:00Z",
    "end": "2024-02-01T00:00:00Z",
    "format": "parquet",
}
_SELF = f"/api/exports/{JOB_ID}"
_DOWNLOAD = f"/api/export/download/{JOB_ID}"
_COLUMNS = ["timestamp", "smart_meter_id", "energy_kwh", "power_kw", "voltage_v", "current_a"]
_ECHO = _REQUEST | {
    "start": "2023-12-31T23:00:00Z",
    "end": "2024-01-31T23:00:00Z",
    "format": "csv",
    "compression": "none",
    "columns": _COLUMNS,
    "gaps": "omit",
    "interval_label": "start",
    "with_count": False,
    "csv": {"delimiter": ",", "decimal": ".", "bom": False, "header": True, "line_end": "lf"},
    "layout": "one_file",
}
_TIMES = {"created_at": "2026-11-02T10:00:00Z", "updated_at": "2026-11-02T10:00:02Z"}
_QUEUED = {
    "id": JOB_ID,
    "phase": "queued",
    **_TIMES,
    "attempt": 0,
    "request": _ECHO,
    "meters": 1,
    "links": {"self": _SELF, "cancel": f"{_SELF}/cancel"},
}
_BEGUN = {"started_at": "2026-11-02T10:00:01Z", "attempt": 1, "source_version": 19}
_RUNNING = (
    _QUEUED
    | _BEGUN
    | {
        "phase": "running",
        "progress": {
            "percent": 41,
            "rows_written": 1244,
            "rows_expected": 2976,
            "eta_seconds": 2,
        },
    }
)
_NEARLY = {"percent": 99, "rows_written": 2976, "rows_expected": 2976}
_FILE = {
    "filename": "smart_meter_123_20231231_20240131.csv",
    "media_type": "text/csv; charset=utf-8",
    "rows": 2976,
    "size_bytes": 160_704,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "expires_at": "2026-11-09T10:00:02Z",
}
_COMPLETED = (
    _QUEUED
    | _BEGUN
    | {
        "phase": "completed",
        "file": _FILE | {"download_url": _DOWNLOAD},
        "gaps": {"intervals_expected": 44_640, "intervals_present": 44_631},
        "links": {
            "self": _SELF,
            "rerun": f"{_SELF}/rerun",
            "manifest": f"{_SELF}/manifest",
            "download": _DOWNLOAD,
            "links": f"{_SELF}/links",
        },
    }
)
_ENDED = {"links": {"self": _SELF, "rerun": f"{_SELF}/rerun"}}
_EXPIRED = _QUEUED | _BEGUN | {"phase": "expired", "file": _FILE} | _ENDED
_FAILED = (
    _QUEUED
    | {"started_at": _BEGUN["started_at"], "attempt": 1, "phase": "failed"}
    | {
        "error": {
            "code": "SMART_METER_NOT_FOUND",
            "message": MESSAGES["SMART_METER_NOT_FOUND"],
            "details": "The specified smart meter does not exist in the system",
        }
    }
    | _ENDED
)
_CANCELLED = (
    _QUEUED
    | {"phase": "cancelled"}
    | {
        "error": {
            "code": "EXPORT_CANCELLED",
            "message": "The export was cancelled before it was finished",
            "details": "Nothing of it is kept; ask for it again if it is wanted after all",
        }
    }
    | _ENDED
)
_PAGE = {"items": [_COMPLETED, _FAILED], "next_cursor": "WyIyMDI2IiwgIjEiXQ"}
_VALID = {
    "valid": True,
    "estimate": {"rows": 2976, "bytes": 196_416, "seconds": 1, "compression": "none"},
    "meters": 1,
    "gaps": 0,
}
_MANIFEST = {
    "job_id": JOB_ID,
    "rows": 2976,
    "expected": 44_640,
    "present": 44_631,
    "gap_count": 2,
}
_BODY_CODES = ("INVALID_JSON", "INVALID_REQUEST", "REQUEST_TOO_LARGE", "UNSUPPORTED_MEDIA_TYPE")
_KEY_CODES = ("IDEMPOTENCY_KEY_INVALID", "IDEMPOTENCY_KEY_REUSED", "STORAGE_FULL")


def _body(schema: object, *, required: bool, **examples: object) -> dict[str, Any]:
    named = {name: {"value": value} for name, value in examples.items()}
    content = {JSON: {"schema": schema, "examples": named}}
    return {"requestBody": {"required": required, "content": content}}


def _parameters(**described: Mapping[str, object]) -> dict[str, Any]:
    return {
        "parameters": [
            {"name": name, "in": "query", "schema": schema} for name, schema in described.items()
        ]
    }


CREATE: dict[str, Any] = {
    "operation_id": "submit_export",
    "tags": ["exports"],
    "summary": "Ask for an export, with every option",
    "description": "With `validate_only` nothing is stored; the answer is an estimate.",
    "responses": {
        200: answer(Validated, "What it would come to", valid=_VALID),
        202: answer(Export, "The export is stored and will run", created=_QUEUED),
        **errors(
            *(code for code in MESSAGES if STATUS[code] in (400, 413, 415, 422, 507)),
            *NO_ROOM,
            "SMART_METER_NOT_FOUND",
            "VERSION_GONE",
            "SOURCE_DATA_INVALID",
            "SOURCE_UNAVAILABLE",
            *EVERYWHERE,
        ),
    },
    "openapi_extra": _body(NEW_EXPORT, required=True, january=_REQUEST, fleet=_FLEET),
}

_FILTERS: dict[str, Any] = {
    "status": {"type": "string", "enum": [str(phase) for phase in Phase]},
    "format": {"type": "string", "enum": list(FORMATS)},
    "label": text_of("As a whole"),
    "created_after": text_of("A date or date-time, in UTC unless it has an offset; included"),
    "created_before": text_of("As created_after; not included"),
    "limit": {"type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL_LIMIT},
    "cursor": text_of("The next_cursor of an earlier page"),
}

HISTORY: dict[str, Any] = {
    "operation_id": "list_exports",
    "tags": ["exports"],
    "summary": "Earlier exports, the newest first",
    "responses": {
        200: answer(Exports, "A page; Link has the next one, as next_cursor does", page=_PAGE),
        **errors("INVALID_REQUEST", "INVALID_SMART_METER_ID", "UNSUPPORTED_FORMAT", *EVERYWHERE),
    },
    "openapi_extra": _parameters(
        smart_meter_id=METER | {"description": "Also fleets that it is one of"}, **_FILTERS
    ),
}

OF_METER: dict[str, Any] = {
    "operation_id": "list_exports_of_meter",
    "tags": ["exports"],
    "summary": "Earlier exports of a meter, alone or in a fleet, the newest first",
    "responses": HISTORY["responses"],
    "openapi_extra": _parameters(**_FILTERS),
}

DETAIL: dict[str, Any] = {
    "operation_id": "get_export",
    "tags": ["exports"],
    "summary": "How an export stands",
    "responses": {
        200: answer(
            Export,
            "The export",
            queued=_QUEUED,
            running=_RUNNING,
            finalizing=_RUNNING | {"phase": "finalizing", "progress": _NEARLY},
            completed=_COMPLETED,
            failed=_FAILED,
            cancelled=_CANCELLED,
            expired=_EXPIRED,
        ),
        **errors("JOB_NOT_FOUND", *EVERYWHERE),
    },
}

EVENTS: dict[str, Any] = {
    "operation_id": "watch_export",
    "tags": ["exports"],
    "response_class": Response,
    "summary": "An export as it goes on, as server-sent events",
    "description": (
        "Each event is the export as GET shows it, named by its phase; the last one is that of its "
        "end. A comment comes each 15 seconds in between."
    ),
    "responses": {
        200: {
            "description": "Events, one after the other",
            "content": {
                "text/event-stream": {
                    "schema": {"type": "string"},
                    "examples": {
                        "running": {
                            "value": "retry: 3000\n\nevent: running\n"
                            f"data: {json.dumps(_RUNNING)}\n\n"
                        }
                    },
                }
            },
        },
        **errors("JOB_NOT_FOUND", "RATE_LIMITED", *EVERYWHERE),
    },
}

DELETE: dict[str, Any] = {
    "operation_id": "delete_export",
    "tags": ["exports"],
    "summary": "Call an export off, or remove its file",
    "description": "Its record stays, cancelled or expired. Safe to repeat.",
    "responses": {
        204: {"description": "It has no file any more, and gets none"},
        **errors("JOB_NOT_FOUND", "STORAGE_UNAVAILABLE", *EVERYWHERE),
    },
}

CANCEL: dict[str, Any] = {
    "operation_id": "cancel_export",
    "tags": ["exports"],
    "summary": "Call an export off that has not ended",
    "responses": {
        200: answer(Export, "The export", cancelled=_CANCELLED),
        **errors("JOB_NOT_FOUND", "EXPORT_NOT_CANCELLABLE", *EVERYWHERE),
    },
}

RERUN: dict[str, Any] = {
    "operation_id": "rerun_export",
    "tags": ["exports"],
    "summary": "Ask for an export once more",
    "description": "Of the same version of the readings while it is kept: then it has the same "
    "bytes. With `shift` of the next period, and of the newest version.",
    "responses": {
        202: answer(Export, "A new export", created=_QUEUED),
        **errors(
            *_BODY_CODES,
            *_KEY_CODES,
            *NO_ROOM,
            "START_NOT_IN_PAST",
            "INVALID_TIMEZONE",
            "EXPORT_LIMIT_EXCEEDED",
            "JOB_NOT_FOUND",
            "SOURCE_UNAVAILABLE",
            *EVERYWHERE,
        ),
    },
    "openapi_extra": _body(RERUN_BODY, required=False, same={}, next_period={"shift": True}),
}

MANIFEST: dict[str, Any] = {
    "operation_id": "get_export_manifest",
    "tags": ["exports"],
    "response_class": Response,
    "summary": "How complete a finished export is",
    "responses": {
        200: {
            "description": "See docs/formats.md",
            "content": {
                JSON: {"schema": {"type": "object"}, "examples": {"begin": {"value": _MANIFEST}}}
            },
        },
        **errors(
            "JOB_NOT_FOUND",
            "EXPORT_NOT_READY",
            "EXPORT_FAILED",
            "EXPORT_EXPIRED",
            "MANIFEST_GONE",
            *EVERYWHERE,
        ),
    },
}
