"""Words of a request that stand for one of a few things."""

from difflib import get_close_matches
from enum import StrEnum
from typing import TypeVar

from meterport.domain.errors import InvalidRequest, shown

Word = TypeVar("Word", bound=StrEnum)


def one_of(
    kind: type[Word], field: str, value: object, refusal: type[InvalidRequest] = InvalidRequest
) -> Word:
    """Raises `refusal`, which names what is known."""
    words = tuple(str(word) for word in kind)
    if isinstance(value, str) and value in words:
        return kind(value)
    raise refusal(unknown(field, value, words))


def unknown(
    field: str, value: object, known: tuple[str, ...], complaint: str = "is not known"
) -> str:
    """The sentence that says so, and what may be said instead."""
    if not isinstance(value, str):
        return f"{field} must be one of {', '.join(known)}, not {shown(value)}"
    return f"{field} {shown(value)} {complaint}; {hint(value, known)}"


def true_or_false(field: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise InvalidRequest(f"{field} must be true or false, not {shown(value)}")


def hint(value: object, known: tuple[str, ...]) -> str:
    near = get_close_matches(value[:64].lower(), known, n=1) if isinstance(value, str) else []
    told = f"known: {', '.join(known)}"
    return f"did you mean {near[0]}? {told}" if near else told
