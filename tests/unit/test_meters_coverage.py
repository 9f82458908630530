"""GET /api/meters/{id}/coverage: by local day what is there, what is missing, and the kWh."""

from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests import make
from tests.answers import assert_refused

CLOCKS_FORWARD = datetime(2024, 3, 30, 23, tzinfo=UTC)
DAY = "start=2024-01-01T00:00:00Z&end=2024-01-02T00:00:00Z"


def coverage(client: TestClient, query: str = "") -> dict[str, Any]:
    answer = client.get(f"/api/meters/123/coverage?{query}")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_days_gaps_and_sums_are_told(client: TestClient, home: make.Home) -> None:
    home.load(
        make.readings(0.1, 0.2, None, interval_s=900, power_kw=None),
        make.readings(0.5, start=datetime(2024, 1, 1, 1, 15, tzinfo=UTC), interval_s=900),
    )

    assert coverage(client, DAY) == {
        "smart_meter_id": "123",
        "start": "2024-01-01T00:00:00Z",
        "end": "2024-01-02T00:00:00Z",
        "timezone": "UTC",
        "readings": 4,
        "first_timestamp": "2024-01-01T00:00:00Z",
        "last_timestamp": "2024-01-01T01:15:00Z",
        "expected": 6,
        "present": 4,
        "energy_kwh": 0.8,
        "checks": {
            "power_is_not_energy_per_hour": 1,
            "power_exceeds_voltage_times_current": 0,
        },
        "gap_count": 1,
        "gaps": [{"start": "2024-01-01T00:45:00Z", "end": "2024-01-01T01:15:00Z", "intervals": 2}],
        "days": [{"day": "2024-01-01", "expected": 6, "present": 4, "energy_kwh": 0.8}],
    }


def test_days_are_local_ones_and_may_have_23_hours(client: TestClient, home: make.Home) -> None:
    home.load(make.readings(*[0.5] * 48, start=CLOCKS_FORWARD, interval_s=3600))

    told = coverage(client, "start=2024-03-30T23:00:00Z&timezone=Europe/Berlin")

    assert told["days"] == [
        {"day": "2024-03-31", "expected": 23, "present": 23, "energy_kwh": 11.5},
        {"day": "2024-04-01", "expected": 24, "present": 24, "energy_kwh": 12.0},
        {"day": "2024-04-02", "expected": 1, "present": 1, "energy_kwh": 0.5},
    ]


def test_without_bounds_it_is_the_newest_year(client: TestClient, home: make.Home) -> None:
    home.load(make.readings(1, start=datetime(2020, 1, 1, tzinfo=UTC)), make.readings(2))

    told = coverage(client)

    assert told["start"] == "2022-12-31T00:01:00Z"
    assert told["end"] == "2024-01-01T00:01:00Z"
    assert told["energy_kwh"] == 2.0


def test_a_bound_alone_stands_for_its_year(client: TestClient, home: make.Home) -> None:
    home.load(make.readings(1))

    assert coverage(client, "start=2024-01-01T00:00:00Z")["end"] == "2025-01-01T00:00:00Z"
    assert coverage(client, "end=2025-01-01T00:00:00Z")["start"] == "2024-01-01T00:00:00Z"


def test_a_period_without_readings_is_empty(client: TestClient, home: make.Home) -> None:
    home.load(make.readings(1))

    told = coverage(client, "start=2025-06-01T00:00:00Z")

    assert (told["expected"], told["readings"], told["energy_kwh"]) == (0, 0, None)
    assert told["first_timestamp"] is None
    assert told["days"] == told["gaps"] == []


@pytest.mark.parametrize("bound", ["start=9999-06-01T00:00:00Z", "end=0001-06-01T00:00:00Z"])
def test_the_ends_of_time_are_no_trouble(client: TestClient, home: make.Home, bound: str) -> None:
    home.load(make.readings(1))

    assert coverage(client, bound)["days"] == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("start=2024-01-01T00:00:00Z&end=2025-01-01T00:00:01Z", "DATE_RANGE_TOO_LARGE"),
        ("start=2024-01-02T00:00:00Z&end=2024-01-01T00:00:00Z", "INVALID_DATE_RANGE"),
        ("end=0001-01-01T00:00:00Z", "INVALID_DATE_RANGE"),
        ("start=2024-01-01", "INVALID_REQUEST"),
        ("from=2024-01-01T00:00:00Z", "INVALID_REQUEST"),
        ("timezone=Europe/Berln", "INVALID_TIMEZONE"),
    ],
)
def test_what_cannot_be_answered_is_refused(
    client: TestClient, home: make.Home, query: str, code: str
) -> None:
    home.load(make.readings(1))

    assert_refused(client.get(f"/api/meters/123/coverage?{query}"), 422, code)


def test_of_many_gaps_the_first_thousand_are_told(client: TestClient, home: make.Home) -> None:
    home.load(make.many_readings(2_400).gather_every(2))

    told = coverage(client)

    assert told["gap_count"] == 1_199
    assert len(told["gaps"]) == 1_000
    assert told["gaps"][999]["start"] == "2024-01-02T09:19:00Z"
