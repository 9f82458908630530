"""POST /api/export/csv: the frozen tier's first endpoint, rule by rule."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from meterport.domain.jobs import Lease
from meterport.web.app import create_app
from tests import make
from tests.answers import assert_refused

SECOND = "2024-01-01T00:00:59Z"


def test_a_good_request_is_accepted_with_the_contracts_answer(client: TestClient) -> None:
    answer = client.post("/api/export/csv", json=make.body())

    assert answer.status_code == 202
    job_id = answer.json()["job_id"]
    assert answer.json() == {
        "job_id": job_id,
        "status": "pending",
        "message": "Export job created successfully",
    }
    assert answer.headers["Location"] == f"/api/export/status/{job_id}"
    assert answer.headers["Retry-After"] == "1"


def test_the_accepted_job_is_stored_as_asked(client: TestClient, home: make.Home) -> None:
    job_id = client.post("/api/export/csv", json=make.body()).json()["job_id"]

    job = home.services.jobs.get(job_id)

    assert job is not None
    assert job.request.smart_meter_id == "123"
    assert job.request.period.start.isoformat() == "2024-01-01T00:00:00+00:00"
    assert job.request.period.end.isoformat() == "2024-01-31T23:59:59+00:00"
    assert job.request.format == "csv"


@pytest.mark.parametrize(
    "changes",
    [
        {"format": None},
        {"compression": "none"},
        {"a_field_of_tomorrow": {"x": 1}},
        {"end_datetime": "2024-12-31T23:59:59Z"},
        {"start_datetime": "2024-01-01T00:00:00"},
        {"start_datetime": "2024-01-01 00:00:00+01:00"},
        {"start_datetime": "2024-01-01t00:00:00.123456z"},
        {"end_datetime": "2025-01-01T00:00:00Z"},
        {"end_datetime": "2024-01-01T00:01:00Z"},
        {"start_datetime": "2024-02-29T12:00:00Z", "end_datetime": "2025-03-01T12:00:00Z"},
        {"smart_meter_id": "a" * 64},
        {"smart_meter_id": "A-1.b_c:9"},
    ],
)
def test_what_the_contract_allows_is_accepted(
    client: TestClient, changes: dict[str, object]
) -> None:
    answer = client.post("/api/export/csv", json=make.body(**changes))

    assert answer.status_code == 202, answer.text


def test_an_end_in_the_future_is_accepted(client: TestClient) -> None:
    start = datetime.now(UTC) - timedelta(days=1)
    body = make.body(
        start_datetime=start.isoformat(), end_datetime=(start + timedelta(days=30)).isoformat()
    )

    answer = client.post("/api/export/csv", json=body)

    assert answer.status_code == 202, answer.text


def test_a_time_without_offset_is_read_as_utc(client: TestClient, home: make.Home) -> None:
    body = make.body(start_datetime="2024-01-01T00:00:00", end_datetime="2024-01-02T00:00:00+02:00")

    job = home.services.jobs.get(client.post("/api/export/csv", json=body).json()["job_id"])

    assert job is not None
    assert job.request.period.start.isoformat() == "2024-01-01T00:00:00+00:00"
    assert job.request.period.end.isoformat() == "2024-01-01T22:00:00+00:00"


@pytest.mark.parametrize("field", ["smart_meter_id", "start_datetime", "end_datetime"])
def test_each_missing_field_is_named(client: TestClient, field: str) -> None:
    answer = client.post("/api/export/csv", json=make.body(**{field: None}))

    assert_refused(answer, 422, "MISSING_FIELD")
    assert answer.json()["message"] == f"required and missing: {field}"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"smart_meter_id": ""}, "INVALID_SMART_METER_ID"),
        ({"smart_meter_id": "=1+1"}, "INVALID_SMART_METER_ID"),
        ({"smart_meter_id": "-1"}, "INVALID_SMART_METER_ID"),
        ({"smart_meter_id": "../etc"}, "INVALID_SMART_METER_ID"),
        ({"smart_meter_id": "a b"}, "INVALID_SMART_METER_ID"),
        ({"smart_meter_id": "a\n"}, "INVALID_SMART_METER_ID"),
        ({"smart_meter_id": "é"}, "INVALID_SMART_METER_ID"),
        ({"smart_meter_id": "a" * 65}, "INVALID_SMART_METER_ID"),
        ({"smart_meter_id": 123}, "INVALID_SMART_METER_ID"),
        ({"smart_meter_id": ["123"]}, "INVALID_SMART_METER_ID"),
        ({"start_datetime": "2024-01-01"}, "INVALID_REQUEST"),
        ({"start_datetime": 1704067200}, "INVALID_REQUEST"),
        ({"start_datetime": "1704067200"}, "INVALID_REQUEST"),
        ({"start_datetime": "2024-02-30T00:00:00Z"}, "INVALID_REQUEST"),
        ({"start_datetime": "2024-01-01T25:00:00Z"}, "INVALID_REQUEST"),
        ({"start_datetime": "2024-W01-1T00:00:00Z"}, "INVALID_REQUEST"),
        ({"start_datetime": "0001-01-01T00:00:00+14:00"}, "INVALID_REQUEST"),
        ({"start_datetime": "yesterday"}, "INVALID_REQUEST"),
        ({"end_datetime": True}, "INVALID_REQUEST"),
        ({"end_datetime": "9999-12-31T23:59:59-14:00"}, "INVALID_REQUEST"),
        ({"start_datetime": "2098-01-01T00:00:00Z"}, "START_NOT_IN_PAST"),
        ({"end_datetime": "2024-01-01T00:00:00Z"}, "INVALID_DATE_RANGE"),
        ({"end_datetime": "2023-12-31T00:00:00Z"}, "INVALID_DATE_RANGE"),
        ({"end_datetime": SECOND}, "DATE_RANGE_TOO_SMALL"),
        ({"end_datetime": "2025-01-01T00:00:01Z"}, "DATE_RANGE_TOO_LARGE"),
        ({"end_datetime": "9999-12-31T23:59:59Z"}, "DATE_RANGE_TOO_LARGE"),
        ({"format": "doc"}, "UNSUPPORTED_FORMAT"),
        ({"format": "CSV"}, "UNSUPPORTED_FORMAT"),
        ({"format": ["csv"]}, "UNSUPPORTED_FORMAT"),
        ({"format": {}}, "UNSUPPORTED_FORMAT"),
        ({"compression": "rar"}, "UNSUPPORTED_COMPRESSION"),
        ({"compression": []}, "UNSUPPORTED_COMPRESSION"),
    ],
)
def test_each_broken_rule_has_its_code(
    client: TestClient, changes: dict[str, object], code: str
) -> None:
    answer = client.post("/api/export/csv", json=make.body(**changes))

    assert_refused(answer, 422, code)


def test_null_is_a_value_and_not_a_missing_field(client: TestClient) -> None:
    answer = client.post("/api/export/csv", json=make.body() | {"start_datetime": None})

    assert_refused(answer, 422, "INVALID_REQUEST")


def test_missing_fields_come_first_and_then_the_first_rule(client: TestClient) -> None:
    all_wrong = {"smart_meter_id": "=", "start_datetime": "x", "format": "doc"}

    missing = client.post("/api/export/csv", json=all_wrong)
    first_rule = client.post("/api/export/csv", json=all_wrong | {"end_datetime": "y"})

    assert_refused(missing, 422, "MISSING_FIELD")
    assert_refused(first_rule, 422, "INVALID_SMART_METER_ID")


def test_a_refused_request_stores_nothing(client: TestClient, home: make.Home) -> None:
    client.post("/api/export/csv", json=make.body(smart_meter_id="=1"))

    assert home.services.jobs.claim(Lease("w")) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"{'a': 1}", b'{"a": NaN}', b"[" * 60_000, b'{"a": 1' + b"0" * 5000],
)
def test_what_is_not_json_is_a_400(client: TestClient, content: bytes) -> None:
    answer = client.post(
        "/api/export/csv", content=content, headers={"Content-Type": "application/json"}
    )

    assert_refused(answer, 400, "INVALID_JSON")


@pytest.mark.parametrize("content", [b"[]", b'"x"', b"1", b"null"])
def test_json_that_is_no_object_is_a_422(client: TestClient, content: bytes) -> None:
    answer = client.post(
        "/api/export/csv", content=content, headers={"Content-Type": "application/json"}
    )

    assert_refused(answer, 422, "INVALID_REQUEST")


def test_a_lone_surrogate_is_named_by_its_length_only(client: TestClient) -> None:
    content = b'{"smart_meter_id": "\\ud800", "start_datetime": "x", "end_datetime": "y"}'

    answer = client.post(
        "/api/export/csv", content=content, headers={"Content-Type": "application/json"}
    )

    assert_refused(answer, 422, "INVALID_SMART_METER_ID")
    assert "a string of 1 characters" in answer.json()["message"]


@pytest.mark.parametrize(
    "kind", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonx"]
)
def test_another_content_type_is_told_the_header_to_add(
    client: TestClient, kind: str | None
) -> None:
    headers = {} if kind is None else {"Content-Type": kind}

    answer = client.post("/api/export/csv", content=b"{}", headers=headers)

    assert_refused(answer, 415, "UNSUPPORTED_MEDIA_TYPE")
    assert answer.json()["message"] == "add the header Content-Type: application/json"


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_over_64_kib_is_refused_also_when_it_comes_unannounced(
    client: TestClient, *, announced: bool
) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(70):
            yield b" " * 1024

    content = b" " * 70 * 1024 if announced else chunks()
    answer = client.post(
        "/api/export/csv", content=content, headers={"Content-Type": "application/json"}
    )

    assert_refused(answer, 413, "REQUEST_TOO_LARGE")


def test_no_reply_repeats_a_long_or_unprintable_input(client: TestClient) -> None:
    secret = "S3CRET" * 500

    answer = client.post("/api/export/csv", json=make.body(smart_meter_id=secret, format="\x1b[2J"))

    assert_refused(answer, 422, "INVALID_SMART_METER_ID")
    assert "S3CRET" not in answer.text
    assert "a string of 3000 characters" in answer.json()["message"]


def test_the_same_idempotency_key_gives_the_first_answer_again(client: TestClient) -> None:
    headers = {"Idempotency-Key": "order-7"}

    first = client.post("/api/export/csv", json=make.body(), headers=headers)
    again = client.post("/api/export/csv", json=make.body(), headers=headers)

    assert again.status_code == 202
    assert again.json() == first.json()
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers


def test_the_same_key_with_another_request_is_refused(client: TestClient) -> None:
    headers = {"Idempotency-Key": "order-7"}
    client.post("/api/export/csv", json=make.body(), headers=headers)

    answer = client.post("/api/export/csv", json=make.body(smart_meter_id="9"), headers=headers)

    assert_refused(answer, 422, "IDEMPOTENCY_KEY_REUSED")


@pytest.mark.parametrize("key", ["", "k" * 256, "tab\there"])
def test_an_unusable_idempotency_key_is_a_400(client: TestClient, key: str) -> None:
    answer = client.post("/api/export/csv", json=make.body(), headers={"Idempotency-Key": key})

    assert_refused(answer, 400, "IDEMPOTENCY_KEY_INVALID")


def test_a_disk_down_to_its_reserve_accepts_no_job(tmp_path: Path) -> None:
    home = make.home(tmp_path, disk_reserve_mib=10**9)
    with TestClient(create_app(home.services, home.settings), "http://localhost") as client:
        answer = client.post("/api/export/csv", json=make.body())

    assert_refused(answer, 507, "STORAGE_FULL")
    assert answer.headers["Retry-After"] == "60"
    assert answer.json()["message"] == "There is too little space left on the disk"
    assert home.services.archive.recent(9) == []


def test_what_was_accepted_is_answered_again_though_the_disk_is_full_now(tmp_path: Path) -> None:
    headers = {"Idempotency-Key": "order-7"}
    answers = []
    for reserve in (0, 10**9):
        home = make.home(tmp_path, disk_reserve_mib=reserve)
        with TestClient(create_app(home.services, home.settings), "http://localhost") as client:
            answers.append(client.post("/api/export/csv", json=make.body(), headers=headers))

    first, again = answers
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert again.headers["Idempotency-Replayed"] == "true"


def test_a_files_folder_that_is_gone_is_no_reason_to_refuse(
    client: TestClient, home: make.Home
) -> None:
    shutil.rmtree(home.settings.files)

    answer = client.post("/api/export/csv", json=make.body())

    assert answer.status_code == 202
