"""What OpenAPI says of the routes by which a service is known and watched."""

from typing import Any

from pydantic import BaseModel

from meterport.services.capabilities import capabilities
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


UNKNOWN_PARAMETER = {"INVALID_REQUEST": "unknown parameter 'formt'; this route has none"}

CAPABILITIES: dict[str, Any] = {
    "operation_id": "get_capabilities",
    "summary": "What can be asked for, and how much of it",
    "tags": ["operations"],
    "responses": {
        200: answer(
            Capabilities,
            "Formats, words and limits; qualities null: any",
            capabilities=capabilities({"meters_per_export": 10_000}),
        ),
        **refusals(UNKNOWN_PARAMETER | EVERYWHERE),
    },
}
