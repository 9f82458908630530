"""What OpenAPI says of the audit log's entries."""

from pydantic import BaseModel

from meterport.web.doc_parts import EVERYWHERE, answer, refusals
from meterport.web.meters_docs import OF_METER, asked, route


class AuditEntry(BaseModel):
    seq: int
    at: str
    action: str
    result: str
    owner: str
    key_id: str | None = None
    job_id: str | None = None
    meters: int
    smart_meter_id: str | None = None
    rows: int | None = None
    bytes: int | None = None
    request_id: str | None = None
    details: dict[str, str] | None = None
    sha256: str


class AuditPage(BaseModel):
    items: list[AuditEntry]
    next_cursor: str | None = None


_ENTRY = {
    "seq": 41,
    "at": "2024-02-01T08:30:00.125Z",
    "action": "file_downloaded",
    "result": "done",
    "owner": "acme",
    "key_id": "k3v9x2m7q1pz",
    "job_id": "6f1c9f0a-3f0e-4a53-9d5b-0c4b7c1b6c11",
    "meters": 1,
    "smart_meter_id": "123",
    "rows": 2_879,
    "bytes": 161_224,
    "request_id": "0f6d3c9e5b1a4f7d8e2c6a9b3d5f7e10",
    "details": {"format": "csv"},
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}

OF_METER_AUDIT = route(
    "list_audit_of_meter",
    "Who received the meter's readings, and when; the newest first",
    [
        asked("limit", "Entries of a page", type="integer", minimum=1, maximum=200, default=50),
        asked("cursor", "next_cursor of the page before"),
    ],
    {
        200: answer(
            AuditPage,
            "A page, of a key with scope admin; empty for a meter of which nothing is recorded",
            audit={"items": [_ENTRY], "next_cursor": "WyI0MSJd"},
        ),
        **refusals(OF_METER | EVERYWHERE),
    },
)
