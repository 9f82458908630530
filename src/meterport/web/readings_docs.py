"""What OpenAPI says of the route that takes readings."""

from typing import Any

from pydantic import BaseModel

from meterport.domain.options import DELIMITERS
from meterport.domain.period import LONGEST_INTERVAL_S
from meterport.importers import IMPORTERS
from meterport.importers.options import DECIMALS, DateOrder, RepeatedHour, TimeLabel
from meterport.web.doc_parts import EVERYWHERE, answer, refusals


class BadRow(BaseModel):
    line: int
    reason: str


class FileRead(BaseModel):
    path: str
    rows: int
    rows_read: int
    read_as: dict[str, str]
    ignored_columns: list[str]
    missing_columns: list[str]
    unknown_register_steps: int
    passed_over: dict[str, int]
    rows_refused: int
    refused: list[BadRow]


class ImportReport(BaseModel):
    files: list[FileRead]
    rows_new: int
    rows_replaced: int
    rows_duplicate: int
    rows_overlapped: int
    meters: int
    version: int
    derived_intervals: dict[str, int]


_REPORT = {
    "files": [
        {
            "path": "body",
            "rows": 2,
            "rows_read": 2,
            "read_as": {"delimiter": ";"},
            "ignored_columns": ["comment"],
            "missing_columns": ["voltage_v", "current_a"],
            "unknown_register_steps": 0,
            "passed_over": {},
            "rows_refused": 0,
            "refused": [],
        }
    ],
    "rows_new": 2,
    "rows_replaced": 0,
    "rows_duplicate": 0,
    "rows_overlapped": 0,
    "meters": 1,
    "version": 5,
    "derived_intervals": {"900": 1},
}
_MESSAGES = {
    "REQUEST_TOO_LARGE": "the request is larger than 1073741824 bytes",
    "UNSUPPORTED_MEDIA_TYPE": "add the header Content-Type: text/csv (also for NEM12), "
    "application/x-ndjson, application/vnd.apache.parquet or application/atom+xml",
    "UNSUPPORTED_FORMAT": "format 'xls' is not supported; known: csv, parquet, nem12, "
    "green_button, ndjson",
    "INVALID_REQUEST": "unknown parameter 'delimeter'; did you mean delimiter?",
    "INVALID_SMART_METER_ID": "smart_meter_id must be 1 to 64 letters, digits or . _ : - "
    "and begin with a letter or digit, not '=1'",
    "IMPORT_REFUSED": "nothing was imported; bad rows:\nbody: line 3: timestamp 'yesterday' is no "
    "date-time",
    "IMPORT_BUSY": "another process writes readings, or took over meanwhile; nothing was changed, "
    "so try again when it is done",
    "IDEMPOTENCY_KEY_INVALID": "Idempotency-Key must be 1 to 255 printable ASCII characters",
    "IDEMPOTENCY_KEY_IN_USE": "a request with this Idempotency-Key is being worked on; try again "
    "soon",
    "IDEMPOTENCY_KEY_REUSED": "this Idempotency-Key came with another file, or other parameters, "
    "within 24 hours; use a new key",
    "STORAGE_FULL": "There is too little space left on the disk",
    "STORAGE_UNAVAILABLE": "What was sent could not be stored: Input/output error",
    "SOURCE_UNAVAILABLE": "The readings store cannot be read",
    "SOURCE_DATA_INVALID": "A file of the readings store is damaged",
    **EVERYWHERE,
}


def _asked(name: str, description: str, **schema: object) -> dict[str, Any]:
    said = {"type": "string"} | schema
    return {"name": name, "in": "query", "description": description, "schema": said}


def _repeated(name: str, description: str) -> dict[str, Any]:
    return _asked(name, description, type="array", items={"type": "string"})


_BODY = {"schema": {"type": "string", "format": "binary"}}
_MEDIA_TYPES = [kind for known in IMPORTERS.values() for kind in known.media_types]

POST: dict[str, Any] = {
    "operation_id": "post_readings",
    "summary": "Import a file of readings",
    "description": "The body is the file; all of it becomes one version of the readings, or "
    "nothing does. The parameters are the options of `meterport import`.",
    "tags": ["readings"],
    "responses": {
        200: answer(ImportReport, "What was read, and what it changed", imported=_REPORT),
        **refusals(_MESSAGES),
    },
    "openapi_extra": {
        "parameters": [
            _asked("format", "Else by the Content-Type", enum=list(IMPORTERS)),
            _repeated("map", "COLUMN=SOURCE[:UNIT]: where a column of ours stands in the file"),
            _asked("meter", "The meter, if not in the file"),
            _asked("timezone", "Of timestamps without an offset"),
            _asked(
                "interval",
                "Seconds of an interval, if not in the file",
                type="integer",
                minimum=1,
                maximum=LONGEST_INTERVAL_S,
            ),
            _asked("delimiter", "Of CSV; else found out", enum=list(DELIMITERS)),
            _asked("decimal", "Else found out", enum=list(DECIMALS)),
            _asked("header_line", "Of CSV; 0: none", type="integer", minimum=0),
            _asked("date_format", "Else found out", enum=list(DateOrder)),
            _asked("label", "Which bound timestamps are", enum=list(TimeLabel), default="start"),
            _asked(
                "repeated_hour",
                "Where the clock shows a time twice",
                enum=list(RepeatedHour),
                default="order",
            ),
            _repeated("where", "COLUMN=WORD: take only such rows"),
            _asked("factor", "The column whose number multiplies the values"),
            _repeated("quality", "WORD=QUALITY: what a word of the file means"),
            _repeated("missing", "A word that stands for no value"),
            _asked("wide", "COLUMN[:UNIT]: the file has a day a row; what of"),
            _asked("skip_bad_rows", "Leave them out, and name them", type="boolean"),
        ],
        "requestBody": {"required": True, "content": dict.fromkeys(_MEDIA_TYPES, _BODY)},
    },
}
