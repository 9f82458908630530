"""The OpenAPI document: valid, with an example for every status, and true."""

import json

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from starlette.testclient import TestClient

from meterport.web.errors import STATUS
from meterport.web.exports import FIELDS
from tests import make, openapi
from tests.unit import rich

OPERATIONS = {
    "create_export": {202, 400, 401, 403, 413, 415, 422, 429, 500, 503, 507},
    "get_export_status": {200, 401, 403, 404, 500, 503},
    "download_export": {200, 206, 304, 307, 401, 403, 404, 409, 410, 416, 429, 500, 503},
    "submit_export": {200, 202, 400, 401, 403, 404, 410, 413, 415, 422, 429, 500, 503, 507},
    "list_exports": {200, 401, 403, 422, 500, 503},
    "list_exports_of_meter": {200, 401, 403, 422, 500, 503},
    "get_export": {200, 401, 403, 404, 500, 503},
    "delete_export": {204, 401, 403, 404, 500, 503},
    "cancel_export": {200, 401, 403, 404, 409, 500, 503},
    "rerun_export": {202, 400, 401, 403, 404, 413, 415, 422, 429, 500, 503, 507},
    "get_export_manifest": {200, 401, 403, 404, 409, 410, 500, 503},
    "watch_export": {200, 401, 403, 404, 429, 500, 503},
    "create_link": {201, 400, 401, 403, 404, 409, 410, 413, 415, 422, 429, 500, 503},
    "list_links": {200, 401, 403, 404, 500, 503},
    "revoke_link": {204, 401, 403, 404, 500, 503},
    "follow_link": {200, 206, 304, 307, 403, 404, 409, 410, 416, 429, 500, 503},
    "post_readings": {200, 400, 401, 403, 409, 413, 415, 422, 500, 503, 507},
    "get_liveness": {200, 403, 500},
    "get_readiness": {200, 403, 500, 503},
    "get_metrics": {200, 401, 403, 500, 503},
    "get_capabilities": {200, 401, 403, 422, 500, 503},
    "list_meters": {200, 401, 403, 422, 500, 503},
    "get_meter": {200, 401, 403, 404, 422, 500, 503},
    "get_coverage": {200, 401, 403, 404, 422, 500, 503},
    "list_audit_of_meter": {200, 401, 403, 404, 422, 500, 503},
    "get_preview": {200, 401, 403, 404, 422, 500, 503},
}


@pytest.fixture
def document(client: TestClient) -> dict[str, object]:
    read: dict[str, object] = client.get("/openapi.json").json()
    return read


def operations(document: dict[str, object]) -> dict[str, dict[str, object]]:
    paths = document["paths"]
    assert isinstance(paths, dict)
    return {
        operation["operationId"]: operation
        for methods in paths.values()
        for operation in methods.values()
    }


def test_the_document_is_valid(document: dict[str, object]) -> None:
    validate(document)


def test_every_endpoint_lists_every_status(document: dict[str, object]) -> None:
    found = {
        name: {int(status) for status in operation["responses"]}  # type: ignore[attr-defined]
        for name, operation in operations(document).items()
    }

    assert found == OPERATIONS


def test_no_schema_of_the_framework_is_left(document: dict[str, object]) -> None:
    assert "ValidationError" not in json.dumps(document)


def test_every_json_response_has_an_example_that_its_schema_allows(
    document: dict[str, object],
) -> None:
    checked = 0
    for operation in operations(document).values():
        responses = operation["responses"]
        assert isinstance(responses, dict)
        for response in responses.values():
            content = response.get("content", {}).get("application/json")
            if content is None:
                continue
            schema = content["schema"] | {"components": document["components"]}
            for example in content["examples"].values():
                Draft202012Validator(schema).validate(example["value"])
                checked += 1

    assert checked >= 30


def test_every_status_that_has_a_body_shows_one(document: dict[str, object]) -> None:
    bare = [
        (operation.name, status)
        for operation in openapi.operations(document)
        for status, response in operation.said["responses"].items()
        if response.get("content")
        and not any("example" in str(list(each)) for each in response["content"].values())
    ]

    assert bare == []


def test_every_refusal_is_the_same_envelope_with_a_code_of_its_status(
    document: dict[str, object],
) -> None:
    others = {"#/components/schemas/JobNotFound", "#/components/schemas/NotReady"}
    for operation in openapi.operations(document):
        for status, response in operation.said["responses"].items():
            content = response.get("content", {}).get("application/json")
            if int(status) < 400 or content["schema"].get("$ref") in others:
                continue
            assert content["schema"] == {"$ref": "#/components/schemas/ErrorBody"}
            for code, example in content["examples"].items():
                assert example["value"]["error"]["code"] == code
                assert STATUS[code] == int(status)


def test_the_codes_are_those_of_answers_and_of_failed_jobs(document: dict[str, object]) -> None:
    codes = document["components"]["schemas"]["Error"]["properties"]["code"]["enum"]  # type: ignore[index]

    assert codes == sorted(codes)
    assert set(STATUS) <= set(codes)
    assert {"EXPORT_TIMEOUT", "FORMAT_CANNOT_HOLD", "STORAGE_FULL"} <= set(codes)
    assert not {"START_REFUSED", "LEASE_TAKEN"} & set(codes)


def test_every_code_that_an_answer_can_carry_has_an_example(document: dict[str, object]) -> None:
    text = json.dumps(document)

    documented = {code for code in STATUS if f'"code": "{code}"' in text}

    assert documented == set(STATUS) - {"INVALID_HTTP", "ROUTE_NOT_FOUND", "METHOD_NOT_ALLOWED"}


def test_the_example_request_works_as_printed(
    client: TestClient, document: dict[str, object]
) -> None:
    body = operations(document)["create_export"]["requestBody"]
    example = body["content"]["application/json"]["examples"]["january"]["value"]  # type: ignore[index]

    answer = client.post("/api/export/csv", json=example)

    assert answer.status_code == 202
    assert example == make.body()


@pytest.mark.parametrize("operation", ["submit_export", "rerun_export"])
def test_the_example_bodies_of_exports_are_allowed_and_accepted(
    operation: str, client: TestClient, loaded: make.Home, document: dict[str, object]
) -> None:
    described = operations(document)[operation]["requestBody"]
    content = described["content"]["application/json"]  # type: ignore[index]
    path = "/api/exports"
    if operation == "rerun_export":
        path = f"{client.post(path, json=rich.body()).headers['Location']}/rerun"

    for example in content["examples"].values():
        Draft202012Validator(content["schema"]).validate(example["value"])
        assert client.post(path, json=example["value"]).status_code == 202


def test_the_described_request_has_the_fields_that_are_read(document: dict[str, object]) -> None:
    body = operations(document)["submit_export"]["requestBody"]
    schema = body["content"]["application/json"]["schema"]  # type: ignore[index]
    known = Draft202012Validator(schema)

    assert tuple(schema["properties"]) == FIELDS
    assert known.is_valid(rich.echo(label="x"))
    assert not known.is_valid(rich.body(formt="csv"))
    assert not known.is_valid(rich.body(smart_meter_ids=["A"]))


def test_a_request_says_every_format_and_compression(document: dict[str, object]) -> None:
    body = operations(document)["create_export"]["requestBody"]
    fields = body["content"]["application/json"]["schema"]["properties"]  # type: ignore[index]

    assert fields["format"]["enum"] == ["csv", "json", "ndjson", "xml", "nem12", "parquet", "xlsx"]
    assert fields["format"]["default"] == "csv"
    assert fields["compression"]["enum"] == ["none", "gzip", "zstd", "auto"]
    assert fields["compression"]["default"] == "none"


@pytest.mark.parametrize("status", ["200", "206"])
def test_a_download_may_have_the_type_of_any_format_or_compression(
    document: dict[str, object], status: str
) -> None:
    responses = operations(document)["download_export"]["responses"]

    assert set(responses[status]["content"]) == {  # type: ignore[index]
        "text/csv",
        "application/json",
        "application/x-ndjson",
        "application/atom+xml",
        "application/vnd.apache.parquet",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "application/gzip",
        "application/zstd",
    }


@pytest.mark.parametrize(
    ("code", "changed"),
    [
        ("UNSUPPORTED_FORMAT", {"format": "doc"}),
        ("UNSUPPORTED_COMPRESSION", {"compression": "rar"}),
    ],
)
def test_the_example_of_a_refused_word_is_what_is_said(
    client: TestClient, document: dict[str, object], code: str, changed: dict[str, object]
) -> None:
    responses = operations(document)["create_export"]["responses"]
    examples = responses["422"]["content"]["application/json"]["examples"]  # type: ignore[index]

    answer = client.post("/api/export/csv", json=make.body(**changed))

    assert answer.json()["message"] == examples[code]["value"]["message"]
