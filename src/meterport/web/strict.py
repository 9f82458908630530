"""What the rich tier reads of a request: whatever it does not know is refused by name."""

from collections.abc import Collection, Mapping

from fastapi import Request

from meterport.domain.errors import InvalidRequest, shown
from meterport.domain.words import hint


def check_fields(body: Mapping[str, object], known: Collection[str], *, under: str = "") -> None:
    """`under`: the field whose object it is. Raises InvalidRequest for the first unknown field."""
    for field in body:
        if field not in known:
            place = f" in {under}" if under else ""
            raise InvalidRequest(
                f"unknown field {shown(field)}{place}; {hint(field, tuple(known))}"
            )


def parameters_of(
    request: Request, known: Collection[str], *, repeatable: Collection[str] = ()
) -> Mapping[str, str]:
    """The query's, each at most once, but those that are `repeatable`. Raises InvalidRequest."""
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in known:
            others = hint(name, tuple(known)) if known else "this route has none"
            raise InvalidRequest(f"unknown parameter {shown(name)}; {others}")
        if name in found and name not in repeatable:
            raise InvalidRequest(f"the parameter {name} comes twice; say it once")
        found[name] = value
    return found
