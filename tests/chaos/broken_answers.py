"""Variants of the product that answer malformed requests badly: R18 must notice each."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from fastapi import FastAPI

from meterport.domain.errors import MeterportError
from meterport.services import find_job
from meterport.services.tokens import Token
from meterport.web import contract, edge, errors, exports, meters, strict

Spoil = Callable[[pytest.MonkeyPatch], None]


def the_frameworks_own_errors(patch: pytest.MonkeyPatch) -> None:
    """Routes and methods that are not there are answered by the framework."""

    def install(app: FastAPI) -> None:
        app.add_exception_handler(MeterportError, errors.meterport_error)

    patch.setattr(errors, "install", install)


def ids_are_parsed_unguarded(patch: pytest.MonkeyPatch) -> None:
    """An id that is none is a ValueError that nobody foresaw."""

    def plain_id(job_id: str) -> str:
        return str(uuid.UUID(job_id))

    patch.setattr(contract, "plain_id", plain_id)
    patch.setattr(exports, "plain_id", plain_id)


def everything_is_quoted(patch: pytest.MonkeyPatch) -> None:
    """A refusal repeats what it refuses, however much that is."""
    patch.setattr(strict, "shown", repr)


def any_request_id_comes_back(patch: pytest.MonkeyPatch) -> None:
    """What a client calls its request goes into the head of the answer as it is."""

    def request_id(headers: Any) -> str:
        return headers.get("x-request-id") or uuid.uuid4().hex

    patch.setattr(edge, "_request_id", request_id)


VARIANTS: Mapping[str, Spoil] = {
    variant.__name__: variant
    for variant in (
        the_frameworks_own_errors,
        ids_are_parsed_unguarded,
        everything_is_quoted,
        any_request_id_comes_back,
    )
}


def a_key_is_known_by_its_id(patch: pytest.MonkeyPatch) -> None:
    """Whatever its secret is."""
    patch.setattr(Token, "is_known_as", lambda self, sha256: sha256 is not None)


def everybody_sees_every_export(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(find_job, "sees", lambda access, job, jobs: True)


OF_KEYS: Mapping[str, Spoil] = {
    variant.__name__: variant for variant in (a_key_is_known_by_its_id, everybody_sees_every_export)
}


def a_field_is_left_out(patch: pytest.MonkeyPatch) -> None:
    """A meter is told without its number of rows, which the document promises."""
    summary = meters._summary

    def shorter(meter: Any) -> dict[str, object]:
        return {name: value for name, value in summary(meter).items() if name != "rows"}

    patch.setattr(meters, "_summary", shorter)


AGAINST_THE_DOCUMENT: Mapping[str, tuple[str, Spoil]] = {
    "ids_are_parsed_unguarded": ("get_export_status", ids_are_parsed_unguarded),
    "a_field_is_left_out": ("list_meters", a_field_is_left_out),
}
"""With the operation that they spoil."""
