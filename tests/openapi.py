"""The OpenAPI document as tests read it, and what of a change to it breaks a client.

Breaking: a path, operation, id, status, media type or field of an answer is gone, a field is no
longer always there, a word is gone or a type is another; of a request also what is newly required.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKED_IN = Path(__file__).parents[1] / "docs" / "openapi.json"
Json = Mapping[str, Any]


def checked_in() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(CHECKED_IN.read_text(encoding="utf-8"))
    return read


@dataclass(frozen=True)
class Operation:
    """`method` as HTTP writes it."""

    method: str
    path: str
    said: Json

    @property
    def name(self) -> str:
        return str(self.said["operationId"])

    def parameters(self, place: str) -> dict[str, Json]:
        return {each["name"]: each for each in self.said.get("parameters", ()) if _in(each, place)}

    @property
    def bodies(self) -> dict[str, Json]:
        """What may be sent, by its media type."""
        content: dict[str, Json] = self.said.get("requestBody", {}).get("content", {})
        return content


def operations(document: Json) -> list[Operation]:
    return [
        Operation(method.upper(), path, said)
        for path, methods in document["paths"].items()
        for method, said in methods.items()
    ]


def _in(parameter: Json, place: str) -> bool:
    return bool(parameter["in"] == place)


def breaking(old: Json, new: Json) -> list[str]:
    """What a client of `old` can no longer rely on, each with its place."""
    there = {(each.method, each.path): each for each in operations(new)}
    found: list[str] = []
    for was in operations(old):
        place = f"{was.method} {was.path}"
        now = there.get((was.method, was.path))
        if now is None:
            found.append(f"{place}: gone")
        else:
            found += (f"{place}: {said}" for said in _of_operation(was, now, _Both(old, new)))
    return found


@dataclass(frozen=True)
class _Both:
    """The two documents, for whatever refers to a part of its own one."""

    old: Json
    new: Json

    def of(self, old: Json, new: Json) -> tuple[Json, Json]:
        return _resolved(old, self.old), _resolved(new, self.new)


def _resolved(schema: Json, document: Json) -> Json:
    while "$ref" in schema:
        found: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        schema = found
    return schema


def _of_operation(was: Operation, now: Operation, both: _Both) -> Iterator[str]:
    if was.name != now.name:
        yield f"its id was {was.name}"
    for place in ("path", "query", "header"):
        yield from _of_parameters(was.parameters(place), now.parameters(place), place, both)
    if now.said.get("requestBody", {}).get("required") and not was.bodies:
        yield "needs a body"
    yield from _of_contents(was.bodies, now.bodies, "body", both, asked=True)
    for status, answer in was.said["responses"].items():
        other = now.said["responses"].get(status)
        if other is None:
            yield f"{status}: gone"
        else:
            contents = answer.get("content", {}), other.get("content", {})
            yield from _of_contents(*contents, status, both, asked=False)


def _of_parameters(
    old: Mapping[str, Json], new: Mapping[str, Json], place: str, both: _Both
) -> Iterator[str]:
    for name, said in new.items():
        if said.get("required") and not old.get(name, {}).get("required"):
            yield f"{place} {name}: needed"
    for name, said in old.items():
        if name in new:
            schemas = said["schema"], new[name]["schema"]
            yield from _of_schemas(*schemas, f"{place} {name}", both, asked=True)
        else:
            yield f"{place} {name}: gone"


def _of_contents(
    old: Mapping[str, Json], new: Mapping[str, Json], place: str, both: _Both, *, asked: bool
) -> Iterator[str]:
    for kind, said in old.items():
        if kind not in new:
            yield f"{place}: {kind} gone"
        else:
            schemas = said["schema"], new[kind]["schema"]
            yield from _of_schemas(*schemas, place, both, asked=asked)


def _of_schemas(old: Json, new: Json, place: str, both: _Both, *, asked: bool) -> Iterator[str]:
    """`asked`: of a request."""
    old, new = both.of(old, new)
    yield from _of_words(old, new, place, asked=asked)
    if "items" in old and "items" in new:
        yield from _of_schemas(old["items"], new["items"], f"{place}[]", both, asked=asked)
    for name, schema in old.get("properties", {}).items():
        other = new.get("properties", {}).get(name)
        if other is None:
            yield f"{place}.{name}: gone"
        else:
            yield from _of_schemas(schema, other, f"{place}.{name}", both, asked=asked)
    needed, needed_now = set(old.get("required", ())), set(new.get("required", ()))
    if asked:
        yield from (f"{place}.{name}: needed" for name in sorted(needed_now - needed))
    else:
        yield from (f"{place}.{name}: may be absent" for name in sorted(needed - needed_now))
    yield from _of_variants(old, new, place, both, asked=asked)


def _of_words(old: Json, new: Json, place: str, *, asked: bool) -> Iterator[str]:
    if old.get("type") != new.get("type"):
        yield f"{place}: {old.get('type')} became {new.get('type')}"
    words, words_now = _words(old), _words(new)
    if words and (words_now or not asked):
        yield from (f"{place}: {word!r} gone" for word in words if word not in words_now)
    elif words_now and asked:
        yield f"{place}: only {', '.join(map(str, words_now))}"


def _words(schema: Json) -> list[object]:
    return [schema["const"]] if "const" in schema else list(schema.get("enum", ()))


def _of_variants(old: Json, new: Json, place: str, both: _Both, *, asked: bool) -> Iterator[str]:
    kinds = {_kind(each): each for each in _variants(old)}
    kinds_now = {_kind(each): each for each in _variants(new)}
    for kind, schema in kinds.items():
        if kind in kinds_now:
            yield from _of_schemas(schema, kinds_now[kind], place, both, asked=asked)
        else:
            yield f"{place}: {kind} gone"


def _variants(schema: Json) -> list[Json]:
    return [*schema.get("anyOf", ()), *schema.get("oneOf", ())]


def _kind(schema: Json) -> str:
    """What tells it from the other variants."""
    named = schema.get("$ref") or schema.get("type")
    return str(named or json.dumps(schema, sort_keys=True))
