"""Valid requests of every operation of the OpenAPI document, drawn with their parameters."""

import io
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from urllib.parse import quote

import polars as pl

from meterport.web.app import document
from tests import make
from tests.asgi import Raw
from tests.openapi import Operation, operations

METERS = ("123", "A", "B", "meter:7.x")
HOST = (b"host", b"127.0.0.1:8000")
_LINES = (
    "timestamp,smart_meter_id,interval_s,energy_kwh\n"
    "2024-01-01T00:00:00Z,sent,900,0.5\n2024-01-01T00:15:00Z,sent,900,0.6\n"
)
_FEED = """<?xml version="1.0" encoding="UTF-8"?>
<feed xmlns="http://www.w3.org/2005/Atom"><id>urn:uuid:1</id><title>t</title>
<updated>2024-01-01T00:00:00Z</updated></feed>
"""


def _parquet() -> bytes:
    sink = io.BytesIO()
    make.readings(1, 2, meter="sent").write_parquet(sink)
    return sink.getvalue()


FILES: Mapping[str, bytes] = {
    "text/csv": _LINES.encode(),
    "application/x-ndjson": pl.read_csv(io.StringIO(_LINES)).write_ndjson().encode(),
    "application/jsonl": pl.read_csv(io.StringIO(_LINES)).write_ndjson().encode(),
    "application/vnd.apache.parquet": _parquet(),
    "application/atom+xml": _FEED.encode(),
    "application/xml": _FEED.encode(),
    "text/xml": _FEED.encode(),
}
VALUES: Mapping[str, Sequence[str]] = {
    "smart_meter_id": METERS,
    "label": ("January, for the bill", "end"),
    "created_after": ("2024-01-01", "2024-01-01T10:00:00+01:00"),
    "created_before": ("2099-01-01T00:00:00Z",),
    "cursor": ("WyIyMDI0LTAxLTAxIiwgIjEiXQ", "WyIxMjMiXQ"),
    "search": ("1", "met"),
    "start": ("2024-01-01T00:00:00Z",),
    "end": ("2024-01-02T00:00:00Z",),
    "timezone": ("UTC", "Europe/Berlin"),
    "map": ("energy_kwh=energy_kwh", "timestamp=when"),
    "meter": METERS,
    "where": ("smart_meter_id=sent",),
    "factor": ("interval_s",),
    "quality": ("E=estimated",),
    "missing": ("n/a",),
    "wide": ("energy_kwh:Wh",),
}
"""Of the parameters that are neither words of a list, numbers nor yes and no."""

OWN_VALUES: Mapping[tuple[str, str], Sequence[str]] = {
    ("list_audit_of_meter", "cursor"): ("WyI0MSJd",)
}
"""Of one operation."""

COMMON_HEADERS: Mapping[bytes, Sequence[bytes]] = {
    b"prefer": (b"wait=20", b"respond-async, wait=5"),
    b"range": (b"bytes=0-10", b"bytes=-5", b"bytes=99-", b"lines=1-2"),
    b"if-range": (b'"0"', b"Mon, 01 Jan 2024 00:00:00 GMT"),
    b"if-none-match": (b"*", b'W/"0", "1"'),
    b"if-modified-since": (b"Mon, 01 Jan 2024 00:00:00 GMT",),
    b"x-request-id": (b"of-a-client.1",),
    b"origin": (b"http://127.0.0.1:8000",),
    b"sec-fetch-site": (b"same-origin", b"none"),
    b"accept-encoding": (b"gzip, br",),
    b"content-encoding": (b"identity",),
}


WEIGHTS: Mapping[str, float] = {
    **dict.fromkeys(("get_liveness", "get_readiness", "get_metrics", "get_capabilities"), 0.1),
    **dict.fromkeys(("get_coverage", "get_preview"), 0.6),
    **dict.fromkeys(("create_export", "submit_export"), 3),
    **dict.fromkeys(("rerun_export", "post_readings"), 2),
}
"""Less of what has nothing to be spoilt, or costs much; more of what takes a body."""


RUINS = ("delete_export", "cancel_export", "revoke_link")


@dataclass(frozen=True)
class Corpus:
    """`jobs`: ids for whatever reads; `doomed`: for what cancels and deletes.

    `link`: a link's token; `authorizations`: headers to be drawn from.
    """

    random: random.Random
    operations: Sequence[Operation]
    jobs: Sequence[str]
    doomed: list[str]
    link: str = "none"
    authorizations: list[bytes] = field(default_factory=list)

    def drawn(self) -> tuple[str, Raw]:
        """The name of an operation, and a request of it."""
        (operation,) = self.random.choices(self.operations, self._weights)
        body, kind = self._body(operation)
        headers = [HOST, *self._headers(operation)]
        if kind:
            headers.append((b"content-type", kind.encode()))
            headers.append((b"content-length", str(len(body)).encode()))
        path = self._path(operation)
        slash = "/" if self.random.random() < 0.1 else ""
        return operation.name, Raw(
            operation.method, f"{path}{slash}".encode(), self._query(operation), (*headers,), body
        )

    def sparing(self, raw: Raw) -> Raw:
        """Not to delete or cancel what others read."""
        path = raw.path
        if raw.method == "DELETE" or b"cancel" in path:
            for job in self.jobs:
                path = path.replace(job.encode(), self.random.choice(self.doomed).encode())
        return replace(raw, path=path)

    @cached_property
    def _weights(self) -> list[float]:
        return [WEIGHTS.get(each.name, 1) for each in self.operations]

    def _path(self, operation: Operation) -> str:
        ruins = operation.name in RUINS
        job = self.random.choice(self.doomed if ruins else self.jobs)
        path = operation.path.replace("{job_id}", job)
        link_id = [*self.link.split("_"), self.link][1]
        path = path.replace("{token}", self.link).replace("{link_id}", link_id)
        return path.replace("{smart_meter_id}", self.random.choice(METERS))

    def _query(self, operation: Operation) -> bytes:
        known = operation.parameters("query")
        some = [name for name in known if self.random.random() < 1.5 / len(known)]
        pairs = (
            f"{name}={quote(self._value(name, known[name]['schema'], operation))}" for name in some
        )
        return "&".join(pairs).encode()

    def _value(self, name: str, schema: Mapping[str, object], operation: Operation) -> str:
        words = schema.get("enum")
        if isinstance(words, list):
            return str(self.random.choice(words))
        if schema["type"] == "integer":
            return str(self.random.randint(1, 60))
        if schema["type"] == "boolean":
            return self.random.choice(("true", "false"))
        return self.random.choice(OWN_VALUES.get((operation.name, name), VALUES[name]))

    def _headers(self, operation: Operation) -> list[tuple[bytes, bytes]]:
        found = [
            (name, self.random.choice(values))
            for name, values in COMMON_HEADERS.items()
            if self.random.random() < 0.12
        ]
        if "idempotency-key" in operation.parameters("header") and self.random.random() < 0.5:
            found.append((b"idempotency-key", f"key-{self.random.randint(1, 40)}".encode()))
        if self.authorizations and (said := self.random.choice(self.authorizations)):
            found.append((b"authorization", said))
        return found

    def _body(self, operation: Operation) -> tuple[bytes, str]:
        """And its media type; none where the operation takes none, or may do without."""
        if not operation.bodies or self.random.random() < 0.02:
            return b"", ""
        kind = self.random.choice([*operation.bodies])
        if kind in FILES:
            return FILES[kind], kind
        examples = [each["value"] for each in operation.bodies[kind]["examples"].values()]
        return json.dumps(self.random.choice(examples)).encode(), kind


def corpus(
    chance: random.Random,
    jobs: Sequence[str],
    doomed: list[str],
    *,
    link: str = "none",
    only: Callable[[Operation], bool] = lambda _: True,
) -> Corpus:
    asked = [each for each in operations(document()) if only(each)]
    return Corpus(chance, asked, jobs, doomed, link)
