"""What OpenAPI says of links: schemas, and an example for every status."""

from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

from meterport.domain.links import LEAST_S, MOST_S, USUAL_S
from meterport.web.contract_docs import FILE_ANSWERS, FILE_CODES
from meterport.web.doc_parts import answer
from meterport.web.error_docs import EVERYWHERE, errors

TOKEN = "mpl_4fj2k9x7q0ab_Zb3w8QkX0mVtY1uNfR6cE2hLpJ9sGdA5oI7iKxT4yMw"  # noqa: S105 - an example
_ID = TOKEN.split("_")[1]
_TIMES = {"created_at": "2026-11-02T10:00:00Z", "expires_at": "2026-11-03T10:00:00Z"}
_BODY_CODES = ("INVALID_JSON", "INVALID_REQUEST", "REQUEST_TOO_LARGE", "UNSUPPORTED_MEDIA_TYPE")
_LIFETIME = {"type": "integer", "minimum": LEAST_S, "maximum": MOST_S, "default": USUAL_S}


class NewLink(BaseModel):
    id: str
    url: str
    expires_at: str


class Link(BaseModel):
    id: str
    created_at: str
    expires_at: str


class LinkList(BaseModel):
    items: list[Link]


CREATE: dict[str, Any] = {
    "operation_id": "create_link",
    "summary": "Make a link with which anybody can download the file",
    "description": "It needs the scopes export and read. The address is told this once. It ends "
    "with the file at the latest, and leads nowhere once its key may not read the export any more.",
    "responses": {
        201: answer(
            NewLink,
            "The link",
            link={"id": _ID, "url": f"/api/links/{TOKEN}", "expires_at": _TIMES["expires_at"]},
        ),
        **errors(
            *_BODY_CODES,
            "JOB_NOT_FOUND",
            "EXPORT_NOT_READY",
            "EXPORT_FAILED",
            "EXPORT_EXPIRED",
            "RATE_LIMITED",
            *EVERYWHERE,
        ),
    },
    "openapi_extra": {
        "requestBody": {
            "required": False,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "properties": {"expires_in_s": _LIFETIME},
                        "additionalProperties": False,
                    },
                    "examples": {"an_hour": {"value": {"expires_in_s": 3600}}},
                }
            },
        }
    },
}

LIST: dict[str, Any] = {
    "operation_id": "list_links",
    "summary": "The links to an export's file, without their secrets",
    "responses": {
        200: answer(LinkList, "In order of their making", links={"items": [{"id": _ID, **_TIMES}]}),
        **errors("JOB_NOT_FOUND", *EVERYWHERE),
    },
}

REVOKE: dict[str, Any] = {
    "operation_id": "revoke_link",
    "summary": "Let a link lead nowhere from now on",
    "description": "Safe to repeat.",
    "responses": {
        204: {"description": "There is no such link any more"},
        **errors("JOB_NOT_FOUND", *EVERYWHERE),
    },
}

FOLLOW: dict[str, Any] = {
    "operation_id": "follow_link",
    "response_class": Response,
    "summary": "The file that a link leads to, without a key",
    "description": "As the download of the export. What is wrong with a link is one answer.",
    "responses": {
        **FILE_ANSWERS,
        **errors(
            *FILE_CODES,
            "LINK_INVALID",
            "LINK_EXPIRED",
            *(code for code in EVERYWHERE if code != "UNAUTHENTICATED"),
        ),
    },
}
