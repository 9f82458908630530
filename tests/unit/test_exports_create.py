"""POST /api/exports: what is understood, what is refused, what comes again under one key."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from meterport.domain.errors import SourceUnavailable
from meterport.domain.jobs import Lease
from meterport.web.app import create_app
from meterport.web.exports import FIELDS
from tests import make
from tests.answers import assert_refused
from tests.unit.rich import body, created, echo, shown, without_times


def test_an_export_is_accepted_with_what_was_understood(client: TestClient) -> None:
    answer = client.post("/api/exports", json=body())

    said = answer.json()
    own = f"/api/exports/{said['id']}"
    assert answer.status_code == 202
    assert without_times(said) == {
        "id": said["id"],
        "phase": "queued",
        "attempt": 0,
        "request": echo(),
        "meters": 1,
        "links": {"self": own, "cancel": f"{own}/cancel"},
    }
    assert answer.headers["Location"] == own
    assert answer.headers["Retry-After"] == "1"
    assert shown(client, said["id"]) == said


def test_every_option_is_understood_and_reaches_the_file(
    client: TestClient, home: make.Home
) -> None:
    home.load(make.readings(0.5, 0.6, None, 0.8))
    asked = body(
        end="2024-01-01T01:04",
        columns=["timestamp", "energy_kwh"],
        resolution="1m",
        timezone="Europe/Berlin",
        gaps="flag",
        interval_label="both",
        with_count=True,
        csv={"decimal": ",", "header": False, "line_end": "crlf"},
        as_of=1,
        label="January, for the bill",
    )

    job_id = created(client, **asked)
    home.work()

    assert shown(client, job_id)["request"] == echo(
        start="2023-12-31T23:00:00Z",
        end="2024-01-01T00:04:00Z",
        columns=["timestamp", "energy_kwh"],
        resolution="1m",
        timezone="Europe/Berlin",
        gaps="flag",
        interval_label="both",
        with_count=True,
        csv={"delimiter": ";", "decimal": ",", "bom": False, "header": False, "line_end": "crlf"},
        as_of=1,
        label="January, for the bill",
    )
    assert client.get(f"/api/export/download/{job_id}").text.splitlines()[0] == (
        "2024-01-01T01:00:00+01:00;2024-01-01T01:01:00+01:00;0,5;1;"
    )


@pytest.mark.parametrize(
    "format_name", ["csv", "json", "ndjson", "xml", "nem12", "parquet", "xlsx"]
)
def test_what_was_understood_may_be_asked_for_again(client: TestClient, format_name: str) -> None:
    first = shown(client, created(client, format=format_name, label="x"))["request"]

    again = client.post("/api/exports", json=first)

    assert again.status_code == 202
    assert again.json()["request"] == first


def test_a_fleet_is_told_by_name(client: TestClient, loaded: make.Home) -> None:
    said = shown(client, created(client, smart_meter_id=None, smart_meter_ids=["C", "A", "C"]))

    assert said["meters"] == 2
    assert said["request"] == echo(smart_meter_id=None, smart_meter_ids=["A", "C"])


def test_all_are_the_meters_that_are_known_then(client: TestClient, loaded: make.Home) -> None:
    job_id = created(client, smart_meter_id=None, smart_meter_ids="all")
    loaded.load(make.readings(0.1, meter="D"))
    loaded.work()

    said = shown(client, job_id)

    assert said["request"]["smart_meter_ids"] == ["A", "B", "C"]
    assert said["file"]["filename"] == "smart_meters_20240101_20240201.csv"


def test_of_more_than_100_meters_the_number_is_told(client: TestClient) -> None:
    meters = [f"m{n}" for n in range(101)]

    said = shown(client, created(client, smart_meter_id=None, smart_meter_ids=meters))

    assert said["meters"] == 101
    assert "smart_meter_ids" not in said["request"]


def test_a_list_of_one_meter_is_that_meter(client: TestClient) -> None:
    said = shown(client, created(client, smart_meter_id=None, smart_meter_ids=["A"]))

    assert said["request"]["smart_meter_id"] == "A"


def test_one_meter_may_be_called_all(client: TestClient) -> None:
    said = shown(client, created(client, smart_meter_id="all"))

    assert (said["request"]["smart_meter_id"], said["meters"]) == ("all", 1)


def test_a_period_may_be_longer_than_a_year(client: TestClient) -> None:
    assert created(client, start="2020-01-01", end="2024-01-01")


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        (
            {"formt": "csv"},
            "INVALID_REQUEST",
            f"unknown field 'formt'; did you mean format? known: {', '.join(FIELDS)}",
        ),
        (
            {"csv": {"delimeter": ";"}},
            "INVALID_REQUEST",
            "field csv.'delimeter' is not known; did you mean delimiter? "
            "known: delimiter, decimal, bom, header, line_end",
        ),
        ({"start": None}, "MISSING_FIELD", "required and missing: start"),
        (
            {"smart_meter_id": None, "end": None},
            "MISSING_FIELD",
            "required and missing: smart_meter_id or smart_meter_ids, end",
        ),
        (
            {"smart_meter_ids": ["A"]},
            "INVALID_REQUEST",
            "say smart_meter_id or smart_meter_ids, and not both",
        ),
        (
            {"smart_meter_id": None, "smart_meter_ids": "A"},
            "INVALID_REQUEST",
            "smart_meter_ids must be a list or 'all', not 'A'",
        ),
        (
            {"smart_meter_id": None, "smart_meter_ids": []},
            "INVALID_REQUEST",
            "smart_meter_ids is empty; name at least one meter",
        ),
        (
            {"smart_meter_id": None, "smart_meter_ids": "all"},
            "INVALID_REQUEST",
            "there is no meter yet; import readings first",
        ),
        (
            {"smart_meter_id": None, "smart_meter_ids": ["A", 7]},
            "INVALID_SMART_METER_ID",
            "smart_meter_id must be 1 to 64 letters, digits or . _ : - and begin with a letter "
            "or digit, not a number",
        ),
        (
            {"start": 7},
            "INVALID_REQUEST",
            "start must be a date such as 2024-03-31 or a date-time such as "
            "2024-03-31T00:00:00Z, not a number",
        ),
        (
            {"start": "2099-01-01", "end": "2099-02-01"},
            "START_NOT_IN_PAST",
            "start 2099-01-01T00:00:00Z is not in the past; choose an earlier one",
        ),
        (
            {"end": "2024-01-01"},
            "INVALID_DATE_RANGE",
            "end (2024-01-01T00:00:00Z) must be after start (2024-01-01T00:00:00Z)",
        ),
        (
            {"start": "2024-03-31T02:30", "end": "2024-05-01", "timezone": "Europe/Berlin"},
            "INVALID_REQUEST",
            "start 2024-03-31 02:30:00: the clock of Europe/Berlin skips that time; choose another",
        ),
        (
            {"timezone": "Europe/Berln"},
            "INVALID_TIMEZONE",
            "timezone 'Europe/Berln' is not known; did you mean Europe/Berlin?",
        ),
        (
            {"label": ""},
            "INVALID_REQUEST",
            "label must be 1 to 100 printable characters, not ''",
        ),
        (
            {"label": "x" * 101},
            "INVALID_REQUEST",
            "label must be 1 to 100 printable characters, not a string of 101 characters",
        ),
        (
            {"label": "two\nlines"},
            "INVALID_REQUEST",
            "label must be 1 to 100 printable characters, not a string of 9 characters",
        ),
        (
            {"validate_only": "yes"},
            "INVALID_REQUEST",
            "validate_only must be true or false, not 'yes'",
        ),
        (
            {"format": "json", "csv": {"bom": True}},
            "INVALID_REQUEST",
            "the options under csv say nothing in format json",
        ),
    ],
)
def test_what_is_wrong_is_named_with_the_way_out(
    client: TestClient, home: make.Home, changes: dict[str, object], code: str, message: str
) -> None:
    answer = client.post("/api/exports", json=body(**changes))

    assert_refused(answer, 422, code)
    assert answer.json()["message"] == message
    assert home.services.jobs.claim(Lease("w")) is None


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"smart_meter_id": "=1"}, "INVALID_SMART_METER_ID"),
        ({"format": "doc"}, "UNSUPPORTED_FORMAT"),
        ({"format": ["csv"]}, "UNSUPPORTED_FORMAT"),
        ({"compression": "rar"}, "UNSUPPORTED_COMPRESSION"),
        ({"compression": "gzip", "layout": "file_per_meter"}, "UNSUPPORTED_COMPRESSION"),
        ({"resolution": "15min"}, "INVALID_RESOLUTION"),
        ({"columns": "energy_kwh"}, "INVALID_COLUMNS"),
        ({"columns": [{}]}, "INVALID_COLUMNS"),
        ({"timezone": 1}, "INVALID_TIMEZONE"),
        ({"csv": []}, "INVALID_REQUEST"),
        ({"as_of": -1}, "INVALID_REQUEST"),
        ({"layout": "zip"}, "INVALID_REQUEST"),
        ({"with_count": "no"}, "INVALID_REQUEST"),
        ({"label": ["x"]}, "INVALID_REQUEST"),
        ({"start": "9999-12-31T23:59:59-14:00"}, "INVALID_REQUEST"),
    ],
)
def test_each_broken_rule_has_its_code(
    client: TestClient, changes: dict[str, object], code: str
) -> None:
    assert_refused(client.post("/api/exports", json=body(**changes)), 422, code)


def test_a_body_is_json_of_at_most_64_kib(client: TestClient) -> None:
    text = client.post("/api/exports", content="{}", headers={"Content-Type": "text/plain"})
    large = client.post("/api/exports", json=body(label="x" * 66_000))

    assert_refused(text, 415, "UNSUPPORTED_MEDIA_TYPE")
    assert_refused(large, 413, "REQUEST_TOO_LARGE")


def test_more_meters_than_one_export_may_have_are_refused(tmp_path: Path) -> None:
    home = make.home(tmp_path, max_meters=2)
    with TestClient(create_app(home.services, home.settings), "http://localhost") as client:
        asked = body(smart_meter_id=None, smart_meter_ids=["A", "B", "C"])
        answer = client.post("/api/exports", json=asked)

    assert_refused(answer, 422, "EXPORT_LIMIT_EXCEEDED")
    assert answer.json()["message"] == "3 meters are more than the 2 of one export"


def test_the_same_key_gives_the_first_export_again(client: TestClient) -> None:
    key = {"Idempotency-Key": "order-7"}

    first = client.post("/api/exports", json=body(), headers=key)
    again = client.post("/api/exports", json=body(), headers=key)

    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers["Location"] == first.headers["Location"]
    assert "Idempotency-Replayed" not in first.headers


@pytest.mark.parametrize(
    "changes", [{"label": "x"}, {"format": "json"}, {"smart_meter_id": "9"}, {"resolution": "1h"}]
)
def test_a_key_of_either_tier_stands_for_one_request(
    client: TestClient, changes: dict[str, object]
) -> None:
    key = {"Idempotency-Key": "order-7"}
    frozen = make.body(end_datetime="2024-02-01T00:00:00Z")
    job_id = client.post("/api/export/csv", json=frozen, headers=key).json()["job_id"]

    same = client.post("/api/exports", json=body(), headers=key)
    other = client.post("/api/exports", json=body(**changes), headers=key)

    assert same.json()["id"] == job_id
    assert_refused(other, 422, "IDEMPOTENCY_KEY_REUSED")


def test_a_key_of_the_rich_tier_is_known_to_the_frozen_one(client: TestClient) -> None:
    key = {"Idempotency-Key": "order-7"}
    client.post("/api/exports", json=body(label="x"), headers=key)

    answer = client.post("/api/export/csv", json=make.body(), headers=key)

    assert_refused(answer, 422, "IDEMPOTENCY_KEY_REUSED")


def test_without_readings_to_look_into_all_cannot_be_named(
    client: TestClient, home: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> int:
        raise SourceUnavailable("The readings store cannot be read", "The log names the cause")

    monkeypatch.setattr(home.services.source, "version", gone)

    answer = client.post("/api/exports", json=body(smart_meter_id=None, smart_meter_ids="all"))

    assert_refused(answer, 503, "SOURCE_UNAVAILABLE")
    assert answer.headers["Retry-After"] == "5"


def test_a_frozen_client_can_follow_an_export_of_the_rich_tier(
    client: TestClient, home: make.Home
) -> None:
    job_id = created(client, label="not told there")
    home.work()

    said = client.get(f"/api/export/status/{job_id}").json()

    assert list(said) == ["job_id", "status", "message", "created_at", "updated_at", "error"]


@pytest.mark.parametrize("path", ["/api/exports", "/api/exports/"])
def test_a_slash_behind_the_path_makes_no_difference(client: TestClient, path: str) -> None:
    assert client.post(path, json=body()).status_code == 202
    assert client.get(path).status_code == 200
    assert client.head(path).status_code == 200
