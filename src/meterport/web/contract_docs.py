"""What OpenAPI says of the frozen tier: schemas, and an example for every status."""

from typing import Any, Literal

from pydantic import BaseModel, Field
from starlette.responses import Response

from meterport.domain.options import Compression
from meterport.domain.readings import SMART_METER_ID
from meterport.encoders import FORMATS
from meterport.encoders.compression import WRAPPINGS
from meterport.web.doc_parts import answer
from meterport.web.error_docs import EVERYWHERE, JOB_ID, MESSAGES, NO_ROOM, Error, errors
from meterport.web.errors import STATUS

DESCRIPTION = """Exports smart-meter interval data: post a meter and a period, poll the status,
download the file. Times are UTC; periods are half-open: start <= timestamp < end."""

TEXT = {"type": "string"}
WAIT = "`wait=20`: answer when it has ended, or after that many seconds."
IDEMPOTENCY_KEY = TEXT | {"maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"}
"""HTTP takes spaces away from the ends of a header."""
ONCE = "The same request with the same key, within 24 hours, gets the first one's answer."
_TIME = "With Z or an offset; without one it is in UTC"


class ExportRequest(BaseModel):
    smart_meter_id: str = Field(json_schema_extra={"pattern": f"^{SMART_METER_ID.pattern}$"})
    start_datetime: str = Field(description=_TIME, json_schema_extra={"format": "date-time"})
    end_datetime: str = Field(
        description="As start_datetime; not included", json_schema_extra={"format": "date-time"}
    )
    format: str = Field(
        "csv",
        description="xml is Green Button (NAESB ESPI), nem12 AEMO's NEM12",
        json_schema_extra={"enum": list(FORMATS)},
    )
    compression: str = Field(
        "none",
        description="Of the file as a whole; auto is gzip where it would be larger than 16 MB",
        json_schema_extra={"enum": [str(word) for word in Compression]},
    )


class JobCreated(BaseModel):
    job_id: str
    status: Literal["pending"]
    message: str


class JobProgress(BaseModel):
    percent: int
    records_written: int
    records_expected: int


class JobPending(BaseModel):
    job_id: str
    status: Literal["pending"]
    message: str
    created_at: str
    updated_at: str
    progress: JobProgress | None = None


class ExportPeriod(BaseModel):
    start: str
    end: str


class FileInfo(BaseModel):
    filename: str
    download_url: str
    file_size_bytes: int
    record_count: int
    export_period: ExportPeriod


class JobCompleted(BaseModel):
    job_id: str
    status: Literal["completed"]
    message: str
    created_at: str
    updated_at: str
    file_info: FileInfo


class JobFailed(BaseModel):
    job_id: str
    status: Literal["failed"]
    message: str
    created_at: str
    updated_at: str
    error: Error


class JobNotFound(BaseModel):
    status: Literal["not_found"]
    message: str


_REQUEST = {
    "smart_meter_id": "123",
    "start_datetime": "2024-01-01T00:00:00Z",
    "end_datetime": "2024-01-31T23:59:59Z",
    "format": "csv",
}
_PERIOD = {"start": "2024-01-01T00:00:00Z", "end": "2024-01-31T23:59:59Z"}
_TIMES = {"created_at": "2026-11-02T10:00:00Z", "updated_at": "2026-11-02T10:00:00Z"}
_CREATED = {
    "job_id": JOB_ID,
    "status": "pending",
    "message": "Export job created successfully",
}
_PENDING = {"job_id": JOB_ID, "status": "pending", "message": "Job is being processed"} | _TIMES
_RUNNING = _PENDING | {
    "progress": {"percent": 41, "records_written": 18700, "records_expected": 44640}
}
_COMPLETED = {
    "job_id": JOB_ID,
    "status": "completed",
    "message": "Export completed successfully",
    **_TIMES,
    "file_info": {
        "filename": "smart_meter_123_20240101_20240131.csv",
        "download_url": f"/api/export/download/{JOB_ID}",
        "file_size_bytes": 1_024_000,
        "record_count": 44_568,
        "export_period": _PERIOD,
    },
}
_FAILED = {
    "job_id": JOB_ID,
    "status": "failed",
    "message": "Export failed",
    **_TIMES,
    "error": {
        "code": "SMART_METER_NOT_FOUND",
        "message": "Smart meter with ID '999' not found",
        "details": "The specified smart meter does not exist in the system",
    },
}
_NOT_FOUND = {"status": "not_found", "message": f"Job with ID '{JOB_ID}' not found"}
CREATE: dict[str, Any] = {
    "operation_id": "create_export",
    "tags": ["exports"],
    "summary": "Ask for an export",
    "description": "In any format: the field decides, the path is but the contract's name.",
    "responses": {
        202: answer(JobCreated, "The job is stored and will run", created=_CREATED),
        **errors(
            *(code for code in MESSAGES if STATUS[code] in (400, 413, 415, 422, 507)),
            *NO_ROOM,
            *EVERYWHERE,
        ),
    },
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": ExportRequest.model_json_schema(),
                    "examples": {
                        "january": {"value": _REQUEST},
                        "green_button": {
                            "value": _REQUEST | {"format": "xml", "compression": "gzip"}
                        },
                    },
                }
            },
        }
    },
}

STATUS_OF_JOB: dict[str, Any] = {
    "operation_id": "get_export_status",
    "tags": ["exports"],
    "summary": "How far is the export?",
    "responses": {
        200: answer(
            JobPending | JobCompleted | JobFailed,
            "The job's state",
            pending=_PENDING,
            running=_RUNNING,
            completed=_COMPLETED,
            failed=_FAILED,
        ),
        404: answer(JobNotFound, "No such job", not_found=_NOT_FOUND),
        **errors(*EVERYWHERE),
    },
}

_CSV = (
    "timestamp,smart_meter_id,energy_kwh,power_kw,voltage_v,current_a\n"
    "2024-01-01T00:00:00Z,123,0.5,2.1,230.1,9.1\n"
)
_CSV_FILE = {"schema": {"type": "string"}, "example": _CSV}
_JSON_FILE = {
    "schema": {"type": "object"},
    "examples": {
        "json": {
            "value": {
                "export": {"meters": ["123"], "timezone": "UTC"},
                "readings": [{"timestamp": "2024-01-01T00:00:00Z", "energy_kwh": 0.5}],
            }
        }
    },
}
_BYTES = {"schema": {"type": "string", "format": "binary"}}
_MEDIA_TYPES = (
    *(known.media_type.partition(";")[0] for known in FORMATS.values()),
    *(wrapping.media_type for wrapping in WRAPPINGS.values()),
)


def _file(description: str) -> dict[str, Any]:
    content = dict.fromkeys(_MEDIA_TYPES, _BYTES)
    shown = {"text/csv": _CSV_FILE, "application/json": _JSON_FILE}
    return {"description": description, "content": content | shown}


FILE_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: _file("The whole file, with ETag, Repr-Digest and Accept-Ranges"),
    206: _file("The range that was asked for"),
    304: {"description": "If-None-Match names the file's ETag"},
    307: {
        "description": "The object store sends the file, where METERPORT_DOWNLOADS=redirect; "
        "Location is a secret, and good for a short time. ETag and Repr-Digest are the file's"
    },
}
FILE_CODES = (
    "EXPORT_NOT_READY",
    "EXPORT_FAILED",
    "EXPORT_DAMAGED",
    "EXPORT_EXPIRED",
    "RANGE_NOT_SATISFIABLE",
    "STORAGE_UNAVAILABLE",
    "RATE_LIMITED",
)
DOWNLOAD: dict[str, Any] = {
    "operation_id": "download_export",
    "tags": ["exports"],
    "response_class": Response,
    "summary": "The file",
    "responses": {
        **FILE_ANSWERS,
        404: answer(JobNotFound, "No such job", not_found=_NOT_FOUND),
        **errors(*FILE_CODES, *EVERYWHERE),
    },
}
