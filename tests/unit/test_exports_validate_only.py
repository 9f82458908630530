"""POST /api/exports with validate_only: what an export would come to, and nothing stored."""

from datetime import timedelta

import pytest
from starlette.testclient import TestClient

from meterport.domain.errors import SourceDataInvalid
from meterport.services import estimate_export
from tests import make
from tests.answers import assert_refused
from tests.unit.rich import body, created, shown


def validated(client: TestClient, **changes: object) -> dict[str, object]:
    answer = client.post("/api/exports", json=body(validate_only=True, **changes))
    assert answer.status_code == 200, answer.text
    said: dict[str, object] = answer.json()
    return said


def test_an_estimate_is_told_and_nothing_is_stored(client: TestClient, home: make.Home) -> None:
    home.load(make.many_readings(60))

    answer = client.post("/api/exports", json=body(validate_only=True))

    assert answer.status_code == 200
    assert answer.json() == {
        "valid": True,
        "estimate": {"rows": 60, "bytes": 60 * 57, "compression": "none"},
        "meters": 1,
        "gaps": 0,
    }
    assert "Location" not in answer.headers
    assert home.services.archive.recent(9) == []


def test_an_idempotency_key_that_is_none_is_refused_here_too(
    client: TestClient, home: make.Home
) -> None:
    home.load(make.many_readings(60))

    asked = body(validate_only=True)
    answer = client.post("/api/exports", json=asked, headers={"Idempotency-Key": "x" * 256})

    assert_refused(answer, 400, "IDEMPOTENCY_KEY_INVALID")


def test_longer_intervals_are_fewer_rows(client: TestClient, home: make.Home) -> None:
    home.load(make.many_readings(120))

    said = validated(client, resolution="1h", format="parquet")

    assert said["estimate"] == {"rows": 2, "compression": "none"}


def test_auto_says_what_it_would_choose(client: TestClient, home: make.Home) -> None:
    home.load(make.readings(0.5), make.readings(0.5, start=make.JANUARY + timedelta(days=365)))

    year = validated(client, end="2025-01-01", compression="auto")
    day = validated(client, end="2024-01-02", compression="auto")

    assert year["estimate"]["compression"] == "gzip"  # type: ignore[index]
    assert day["estimate"]["compression"] == "none"  # type: ignore[index]


def test_missing_intervals_are_those_that_the_export_tells_of(
    client: TestClient, home: make.Home
) -> None:
    later = [make.JANUARY + timedelta(minutes=minutes) for minutes in (3, 90)]
    home.load(*(make.readings(0.7, start=start) for start in (make.JANUARY, *later)))
    job_id = created(client)
    home.work()

    whole, hour = validated(client), validated(client, end="2024-01-01T01:00")

    told = shown(client, job_id)["gaps"]
    assert whole["gaps"] == told["intervals_expected"] - told["intervals_present"] == 88
    assert hour["gaps"] == 58


def test_in_many_readings_or_earlier_ones_gaps_are_not_counted(
    client: TestClient, home: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.load(make.readings(0.5))
    home.load(make.readings(0.6, 0.7))
    earlier, newest = validated(client, as_of=1), validated(client, as_of=2)
    monkeypatch.setattr(estimate_export, "COUNTED", 1)

    many = validated(client)

    assert "gaps" not in earlier
    assert newest["gaps"] == 0
    assert "gaps" not in many


def test_damaged_readings_are_told_of(
    client: TestClient, home: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*args: object, **named: object) -> None:
        raise SourceDataInvalid("Part of the readings is damaged")

    home.load(make.readings(0.5))
    monkeypatch.setattr(home.services.source, "scan", damaged)

    answer = client.post("/api/exports", json=body(validate_only=True))

    assert_refused(answer, 500, "SOURCE_DATA_INVALID")


def test_seconds_are_told_once_there_are_three_exports_like_it(
    client: TestClient, home: make.Home
) -> None:
    home.load(make.many_readings(10_000))
    told = []

    for _ in range(4):
        told.append("seconds" in validated(client)["estimate"])  # type: ignore[operator]
        created(client)
        home.work()

    assert told == [False, False, False, True]
    assert "seconds" not in validated(client, format="json")["estimate"]  # type: ignore[operator]


def test_all_meters_are_counted(client: TestClient, loaded: make.Home) -> None:
    said = validated(client, smart_meter_id=None, smart_meter_ids="all")

    assert said["meters"] == 3
    assert said["estimate"]["rows"] == 6  # type: ignore[index]


@pytest.mark.parametrize("meters", [["999"], ["A", "999"]])
def test_an_unknown_meter_is_a_404(
    client: TestClient, loaded: make.Home, meters: list[str]
) -> None:
    asked = body(smart_meter_id=None, smart_meter_ids=meters, validate_only=True)

    answer = client.post("/api/exports", json=asked)

    assert_refused(answer, 404, "SMART_METER_NOT_FOUND")
    assert answer.json()["message"] == "Smart meter with ID '999' not found"


def test_a_version_that_is_not_kept_is_gone(client: TestClient, loaded: make.Home) -> None:
    answer = client.post("/api/exports", json=body(smart_meter_id="A", as_of=7, validate_only=True))

    assert_refused(answer, 410, "VERSION_GONE")
    assert answer.json()["message"] == "Version 7 of the readings is not kept; the newest is 1"


def test_what_would_be_refused_is_refused(client: TestClient) -> None:
    answer = client.post("/api/exports", json=body(format="doc", validate_only=True))

    assert_refused(answer, 422, "UNSUPPORTED_FORMAT")
