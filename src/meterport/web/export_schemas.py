"""The bodies of `/api/exports` as OpenAPI describes them."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, Field

from meterport.domain.exports import LONGEST_LABEL
from meterport.domain.jobs import Phase
from meterport.domain.options import LINE_ENDS, Compression, Layout
from meterport.domain.readings import READING_SCHEMA, SMART_METER_ID
from meterport.domain.shapes import Gaps, Label, Resolution
from meterport.encoders import FORMATS
from meterport.web.error_docs import Error


def _words(words: Iterable[str], default: str, description: str = "") -> dict[str, object]:
    enum = [str(word) for word in words]
    return _described({"type": "string", "enum": enum, "default": default}, description)


def _flag(description: str = "") -> dict[str, object]:
    return _described({"type": "boolean", "default": False}, description)


def _described(schema: dict[str, object], description: str) -> dict[str, object]:
    return schema | {"description": description} if description else schema


def text_of(description: str, **further: object) -> dict[str, object]:
    return {"type": "string", "description": description} | further


def _object(properties: Mapping[str, object], **further: object) -> dict[str, object]:
    return {"type": "object", "properties": properties, "additionalProperties": False} | further


_CSV = _object(
    {
        "delimiter": _words((",", ";", "|", "tab"), ",", "; where the decimal is a comma"),
        "decimal": _words((".", ","), "."),
        "bom": _flag(),
        "header": {"type": "boolean", "default": True},
        "line_end": _words(LINE_ENDS, "lf"),
    }
)
METER = {"type": "string", "pattern": f"^{SMART_METER_ID.pattern}$"}
_COLUMNS_OF_READINGS = {"type": "string", "enum": list(READING_SCHEMA)}
NEW_EXPORT = _object(
    {
        "smart_meter_id": METER,
        "smart_meter_ids": {
            "anyOf": [
                {"type": "array", "items": METER, "minItems": 1},
                {"type": "string", "const": "all"},
            ]
        },
        "start": text_of("A date or date-time; without an offset, of the time zone"),
        "end": text_of("As start; not included"),
        "format": _words(FORMATS, "csv"),
        "compression": _words(Compression, "none", "auto is gzip where it would exceed 16 MB"),
        "columns": {
            "type": "array",
            "items": _COLUMNS_OF_READINGS,
            "description": "timestamp among them; those of the format, unless others are named",
        },
        "resolution": _words(Resolution, "raw"),
        "timezone": text_of("An IANA name", default="UTC"),
        "gaps": _words(Gaps, "omit", "What stands where a reading is missing"),
        "interval_label": _words(Label, "start", "Which end of the interval timestamp is"),
        "with_count": _flag("A column of how many readings a row is made of"),
        "csv": _CSV,
        "layout": _words(Layout, "one_file"),
        "as_of": {
            "type": "integer",
            "minimum": 0,
            "description": "A version of the readings; the newest, unless another is named",
        },
        "label": text_of("A text of yours, printable", minLength=1, maxLength=LONGEST_LABEL),
        "validate_only": _flag("Store nothing, and estimate what the export would come to"),
    },
    required=["start", "end"],
    # One of the two. As oneOf it costs generated clients the fields.
    **{
        "if": {"required": ["smart_meter_ids"]},
        "then": {"not": {"required": ["smart_meter_id"]}},
        "else": {"required": ["smart_meter_id"]},
    },
)
RERUN_BODY = _object({"shift": _flag("Of the period that comes next, and not of the same")})


class Progress(BaseModel):
    percent: int
    rows_written: int
    rows_expected: int
    eta_seconds: int | None = None


class File(BaseModel):
    filename: str
    media_type: str
    rows: int
    size_bytes: int
    sha256: str
    expires_at: str | None = None
    download_url: str | None = Field(None, description="As long as the file is kept")


class GapCount(BaseModel):
    intervals_expected: int
    intervals_present: int


class Links(BaseModel):
    """What can be done now; other links are absent."""

    self: str
    cancel: str | None = None
    rerun: str | None = None
    manifest: str | None = None
    download: str | None = None
    links: str | None = None


class Export(BaseModel):
    """Absent keys are absent, and not null."""

    id: str
    phase: Phase
    created_at: str
    updated_at: str
    started_at: str | None = None
    attempt: int
    request: dict[str, Any] = Field(
        description="As it was understood, with its defaults. It may be posted again, unless "
        "smart_meter_ids is absent: of more than 100 meters, and in lists"
    )
    meters: int
    source_version: int | None = Field(None, description="Of the readings")
    progress: Progress | None = None
    file: File | None = None
    gaps: GapCount | None = None
    error: Error | None = None
    links: Links


class Exports(BaseModel):
    items: list[Export]
    next_cursor: str | None = None


class Amounts(BaseModel):
    rows: int
    bytes: int | None = Field(None, description="Before compression; not where a format compresses")
    seconds: int | None = Field(None, description="Of work, as the newest exports like it took")
    compression: str = Field(description="What auto would choose")


class Validated(BaseModel):
    valid: bool = Field(description="True: what is not valid is refused")
    estimate: Amounts
    meters: int
    gaps: int | None = Field(None, description="Missing intervals, of at most 100,000 readings")
