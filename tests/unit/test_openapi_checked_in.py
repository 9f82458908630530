"""docs/openapi.json is what the service says of itself; what breaks clients shows as such."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from meterport.cli import app
from meterport.web.app import document
from tests.openapi import CHECKED_IN, breaking, checked_in

COMMAND = "meterport openapi > docs/openapi.json"
Change = Callable[[dict[str, Any]], object]


def test_the_document_is_the_one_that_the_command_prints() -> None:
    printed = CliRunner().invoke(app, ["openapi"]).stdout

    assert printed == CHECKED_IN.read_text(encoding="utf-8"), f"the API has changed; run {COMMAND}"


def test_no_client_of_the_document_is_broken() -> None:
    broken = breaking(checked_in(), document())

    assert broken == [], f"clients rely on it; if it has to be, tell it and run {COMMAND}"


def schemas(document: dict[str, Any], name: str) -> dict[str, Any]:
    schema: dict[str, Any] = document["components"]["schemas"][name]
    return schema


def created(document: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = document["paths"]["/api/export/csv"]["post"]
    return operation


def request(document: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = created(document)["requestBody"]["content"]["application/json"][
        "schema"
    ]
    return schema


def listed(document: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = document["paths"]["/api/meters"]["get"]
    return operation


BREAKING: dict[str, tuple[Change, str]] = {
    "a path": (lambda d: d["paths"].pop("/livez"), "GET /livez: gone"),
    "an operation": (
        lambda d: d["paths"]["/api/exports/{job_id}"].pop("delete"),
        "DELETE /api/exports/{job_id}: gone",
    ),
    "an operation's id": (
        lambda d: created(d).update(operationId="createExport"),
        "POST /api/export/csv: its id was create_export",
    ),
    "a status": (lambda d: created(d)["responses"].pop("507"), "POST /api/export/csv: 507: gone"),
    "a media type": (
        lambda d: d["paths"]["/metrics"]["get"]["responses"]["200"]["content"].clear(),
        "GET /metrics: 200: text/plain gone",
    ),
    "a field of an answer": (
        lambda d: schemas(d, "JobCreated")["properties"].pop("message"),
        "POST /api/export/csv: 202.message: gone",
    ),
    "a field below": (
        lambda d: schemas(d, "Links")["properties"].pop("rerun"),
        "GET /api/exports: 200.items[].links.rerun: gone",
    ),
    "a field that was always there": (
        lambda d: schemas(d, "JobCreated")["required"].remove("job_id"),
        "POST /api/export/csv: 202.job_id: may be absent",
    ),
    "the type of a field": (
        lambda d: schemas(d, "JobCreated")["properties"]["job_id"].update(type="integer"),
        "POST /api/export/csv: 202.job_id: string became integer",
    ),
    "a code": (
        lambda d: schemas(d, "Error")["properties"]["code"]["enum"].remove("STORAGE_FULL"),
        "POST /api/export/csv: 507.error.code: 'STORAGE_FULL' gone",
    ),
    "a state": (
        lambda d: schemas(d, "JobFailed")["properties"]["status"].update(const="broken"),
        "GET /api/export/status/{job_id}: 200.status: 'failed' gone",
    ),
    "one answer of several": (
        lambda d: d["paths"]["/api/export/status/{job_id}"]["get"]["responses"]["200"]["content"][
            "application/json"
        ]["schema"]["anyOf"].pop(),
        "GET /api/export/status/{job_id}: 200: #/components/schemas/JobFailed gone",
    ),
    "a new required field": (
        lambda d: request(d)["required"].append("tariff"),
        "POST /api/export/csv: body.tariff: needed",
    ),
    "a field of a request": (
        lambda d: request(d)["properties"].pop("compression"),
        "POST /api/export/csv: body.compression: gone",
    ),
    "a word of a request": (
        lambda d: request(d)["properties"]["format"]["enum"].remove("xml"),
        "POST /api/export/csv: body.format: 'xml' gone",
    ),
    "any word": (
        lambda d: request(d)["properties"]["smart_meter_id"].update(enum=["1"]),
        "POST /api/export/csv: body.smart_meter_id: only 1",
    ),
    "a new required parameter": (
        lambda d: listed(d)["parameters"].append(
            {"name": "owner", "in": "query", "required": True, "schema": {"type": "string"}}
        ),
        "GET /api/meters: query owner: needed",
    ),
    "a parameter": (
        lambda d: listed(d)["parameters"].pop(0),
        "GET /api/meters: query search: gone",
    ),
}


@pytest.mark.parametrize("name", BREAKING)
def test_what_breaks_clients_is_seen_as_such(name: str) -> None:
    change, said = BREAKING[name]
    changed = copy.deepcopy(checked_in())

    change(changed)

    assert said in breaking(checked_in(), changed)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["paths"].update({"/new": {"get": {"operationId": "new", "responses": {}}}}),
        lambda d: created(d)["responses"].update({"418": {"description": "A teapot"}}),
        lambda d: schemas(d, "JobCreated")["properties"].update(more={"type": "string"}),
        lambda d: request(d)["properties"].update(more={"type": "string"}),
        lambda d: request(d)["properties"]["format"]["enum"].append("ods"),
        lambda d: request(d)["required"].clear(),
        lambda d: schemas(d, "Error")["properties"]["code"]["enum"].append("RATE_LIMITED"),
        lambda d: listed(d)["parameters"].append(
            {"name": "owner", "in": "query", "schema": {"type": "string"}}
        ),
        lambda d: listed(d).update(summary="Otherwise"),
    ],
)
def test_what_is_only_more_breaks_nobody(change: Change) -> None:
    changed = copy.deepcopy(checked_in())

    change(changed)

    assert json.dumps(changed) != json.dumps(checked_in())
    assert breaking(checked_in(), changed) == []
