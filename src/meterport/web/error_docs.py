"""What OpenAPI says of errors: an example for every code."""

from meterport.web import doc_parts
from meterport.web.doc_parts import Answers, Error, refusals

__all__ = ["EVERYWHERE", "JOB_ID", "MESSAGES", "NO_ROOM", "Error", "errors"]

JOB_ID = "6f1e9d3c-8a55-4c1b-9f0e-2b7c1d4e5a60"


MESSAGES = {
    "UNAUTHENTICATED": doc_parts.EVERYWHERE["UNAUTHENTICATED"],
    "INVALID_JSON": "the body is not JSON; send an object in UTF-8",
    "IDEMPOTENCY_KEY_INVALID": "Idempotency-Key must be 1 to 255 printable ASCII characters",
    "FORBIDDEN": "a page of another site may not change anything here",
    "EXPORT_NOT_READY": "the export is not finished; ask its status and try again",
    "EXPORT_FAILED": "the export failed: Smart meter with ID '999' not found",
    "JOB_NOT_FOUND": f"there is no job '{JOB_ID}'; GET /api/exports lists them",
    "SMART_METER_NOT_FOUND": "Smart meter with ID '999' not found",
    "LINK_INVALID": "the link is unknown, or leads nowhere any more; ask for another",
    "LINK_EXPIRED": "the link has expired; ask for another",
    "EXPORT_NOT_CANCELLABLE": f"the export {JOB_ID} is completed already",
    "MANIFEST_GONE": f"the export {JOB_ID} has no manifest; run it again to get one",
    "VERSION_GONE": "Version 7 of the readings is not kept; the newest is 19",
    "SOURCE_DATA_INVALID": "Part of the readings is damaged",
    "SOURCE_UNAVAILABLE": "The readings store cannot be read",
    "EXPORT_DAMAGED": "the file on disk is not the one that was written; ask for the export again",
    "EXPORT_EXPIRED": "the file is no longer kept; ask for the export again",
    "STORAGE_FULL": "There is too little space left on the disk",
    "REQUEST_TOO_LARGE": "the request is larger than 65536 bytes",
    "UNSUPPORTED_MEDIA_TYPE": "add the header Content-Type: application/json",
    "RANGE_NOT_SATISFIABLE": "the file has 1024000 bytes; ask for a range within it",
    "MISSING_FIELD": "required and missing: end_datetime",
    "INVALID_SMART_METER_ID": "smart_meter_id must be 1 to 64 letters, digits or . _ : - "
    "and begin with a letter or digit, not '=1'",
    "INVALID_REQUEST": "start_datetime must be an ISO 8601 date-time such as "
    "2024-01-01T00:00:00Z, not '2024-01-01'",
    "START_NOT_IN_PAST": "start_datetime 2099-01-01T00:00:00Z is not in the past; "
    "choose an earlier one",
    "INVALID_DATE_RANGE": "end (2024-01-01T00:00:00Z) must be after start (2024-01-02T00:00:00Z)",
    "DATE_RANGE_TOO_SMALL": "the period is shorter than 1 minute; choose a later end",
    "DATE_RANGE_TOO_LARGE": "the period is longer than 1 year; split it into several exports",
    "UNSUPPORTED_FORMAT": "format 'doc' is not supported; known: csv, json, ndjson, xml, nem12, "
    "parquet, xlsx",
    "UNSUPPORTED_COMPRESSION": "compression 'rar' is not known; known: none, gzip, zstd, auto",
    "INVALID_RESOLUTION": "resolution '15min' is not known; did you mean 15m?",
    "INVALID_TIMEZONE": "timezone 'Europe/Berln' is not known; did you mean Europe/Berlin?",
    "INVALID_COLUMNS": "column 'energy' is not known; did you mean energy_kwh?",
    "EXPORT_LIMIT_EXCEEDED": "about 2,000,000,000 rows are more than the 1,000,000,000 of one "
    "export",
    "IDEMPOTENCY_KEY_REUSED": "this Idempotency-Key came with another request within 24 hours; "
    "use a new key",
    "RATE_LIMITED": "this key may ask for 60 exports and links in 60 seconds; try again in 7",
    "TOO_MANY_ACTIVE_EXPORTS": "100 exports of this owner are not finished, and more may not be; "
    "try again when one is, or cancel one",
    "QUEUE_FULL": "10000 exports wait already; try again later",
    "SERVICE_UNAVAILABLE": "the database does not answer; try again soon",
    "STORAGE_UNAVAILABLE": "The object store failed (GenericError)",
    "INTERNAL_ERROR": "the service failed on this request; its log has the cause under the "
    "request id",
}


EVERYWHERE = tuple(doc_parts.EVERYWHERE)
NO_ROOM = ("RATE_LIMITED", "TOO_MANY_ACTIVE_EXPORTS", "QUEUE_FULL")
"""Where exports are asked for."""


def errors(*codes: str) -> Answers:
    """The envelope for each code, by status."""
    return refusals({code: MESSAGES[code] for code in codes})
