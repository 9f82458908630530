"""Lists in pages, by key: what is added meanwhile neither shifts nor repeats what follows."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi import Request
from starlette.responses import JSONResponse

from meterport.domain.errors import InvalidRequest, shown

USUAL_LIMIT, MOST = 50, 200
PARAMETERS = ("limit", "cursor")


@dataclass(frozen=True)
class Page:
    """`after`: the key of the last entry that was told; none: the list begins."""

    limit: int = USUAL_LIMIT
    after: tuple[str, ...] = ()


def page_of(parameters: Mapping[str, str], *, parts: int) -> Page:
    """`parts`: how many a key has. Raises InvalidRequest."""
    return Page(_limit(parameters.get("limit")), _key(parameters.get("cursor"), parts))


def paged(
    request: Request, entries: Sequence[object], *, next_key: Sequence[str] | None
) -> JSONResponse:
    """`next_key`: of the last entry, where others follow."""
    if next_key is None:
        return JSONResponse({"items": entries})
    cursor = _cursor(next_key)
    link = request.url.include_query_params(cursor=cursor)
    target = f"{link.path}?{link.query}"
    return JSONResponse(
        {"items": entries, "next_cursor": cursor}, headers={"Link": f'<{target}>; rel="next"'}
    )


def _limit(text: str | None) -> int:
    if text is None:
        return USUAL_LIMIT
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MOST):
        raise InvalidRequest(f"limit must be a whole number from 1 to {MOST}, not {shown(text)}")
    return int(text)


def _cursor(key: Sequence[str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(list(key)).encode()).decode().rstrip("=")


def _key(cursor: str | None, parts: int) -> tuple[str, ...]:
    if cursor is None:
        return ()
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        key = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError):
        key = None
    if not (isinstance(key, list) and len(key) == parts and all(isinstance(k, str) for k in key)):
        raise InvalidRequest(
            "cursor is none that this list gave; leave it out to begin with the first page"
        )
    return tuple(key)
