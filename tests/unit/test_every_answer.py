"""What every answer of every operation has: the headers of security, a request id, the envelope.

The operations come from the OpenAPI document, the requests from the corpus of R18.
"""

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import pytest
from fastapi import FastAPI

from meterport.bootstrap import Services
from meterport.web.app import create_app, document
from tests import make
from tests.asgi import Raw, Reply, call, complaint
from tests.chaos.corpus import HOST, corpus
from tests.chaos.harness import quiet_logs
from tests.openapi import operations

NAMES = sorted(operation.name for operation in operations(document()))
NOBODYS = "6f1e9d3c-8a55-4c1b-9f0e-2b7c1d4e5a60"
LONG = b"9" * 15


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with quiet_logs():
        yield


@pytest.fixture
def app(loaded: make.Home) -> FastAPI:
    made = create_app(loaded.services, loaded.settings)
    made.state.watch.stop()
    return made


def request(name: str, job_id: str = NOBODYS) -> Raw:
    """A good one of that operation."""
    drawn = corpus(random.Random(name), [job_id], [job_id], only=lambda each: each.name == name)  # noqa: S311
    return drawn.drawn()[1]


def answer(app: FastAPI, raw: Raw) -> Reply:
    return asyncio.run(call(app, raw))


def complaints(replies: Mapping[str, Reply]) -> dict[str, str]:
    said = {name: complaint(reply, provoked=500) for name, reply in replies.items()}
    return {name: wrong for name, wrong in said.items() if wrong}


@pytest.mark.parametrize("name", NAMES)
def test_a_good_request_is_answered_in_full_form(
    app: FastAPI, loaded: make.Home, name: str
) -> None:
    job_id = loaded.submit(make.request("A")).id
    loaded.work()
    leave = loaded.services.presence.announce("worker-of-the-test")

    reply = answer(app, request(name, job_id))
    leave()

    assert complaint(reply) == ""


@pytest.mark.parametrize(
    ("status", "changed"),
    [
        (403, lambda raw: replace(raw, headers=((b"host", b"evil.example"),))),
        (405, lambda raw: replace(raw, method="PATCH", headers=(HOST,))),
        (413, lambda raw: replace(raw, headers=(HOST, (b"content-length", LONG)))),
        (404, lambda raw: replace(raw, path=b"/nothing" + raw.path)),
    ],
    ids=["host", "method", "size", "route"],
)
def test_a_refusal_is_answered_in_full_form(
    app: FastAPI, status: int, changed: Callable[[Raw], Raw]
) -> None:
    replies = {name: answer(app, changed(request(name))) for name in NAMES}

    assert {name for name, reply in replies.items() if reply.status != status} == set()
    assert complaints(replies) == {}


class Broken:
    """Whatever is asked of it, it fails in a way that nobody foresaw."""

    def __getattr__(self, name: str) -> object:
        raise KeyError(name)


def test_a_crash_is_answered_in_full_form(loaded: make.Home) -> None:
    whole = create_app(loaded.services, loaded.settings)
    fields: dict[str, object] = dict.fromkeys(Services.__dataclass_fields__, Broken())
    whole.state.services = Services(**fields)  # type: ignore[arg-type]
    whole.state.readiness = whole.state.watch = Broken()
    whole.state.upload_bytes = object()

    replies = {name: answer(whole, request(name)) for name in NAMES if name != "get_liveness"}

    assert {name: reply.status for name, reply in replies.items() if reply.status != 500} == {}
    assert complaints(replies) == {}
