"""GET /api/meters/{id}/preview: the least, mean and largest value of each bucket, for a chart."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from starlette.testclient import TestClient

from meterport.domain.readings import MeterSummary
from meterport.services.preview import Preview, preview
from tests import make
from tests.answers import assert_refused

EMPTY = {"min": None, "mean": None, "max": None, "readings": 0}


class Frames:
    """A source that gives what it is given, in frames of so many rows."""

    def __init__(self, frame: pl.DataFrame, rows: int) -> None:
        self._frame, self._rows = frame, rows

    def scan(self, *args: object, columns: tuple[str, ...], **kwargs: object) -> Any:
        yield from self._frame.select(columns).iter_slices(self._rows)


def preview_of(frame: pl.DataFrame, *, rows: int = 100, points: int = 10) -> Preview:
    meter = MeterSummary("123", make.JANUARY, frame["timestamp"][-1], 60, frame.height)
    source: Any = Frames(frame, rows)
    return preview(meter, make.period(minutes=frame.height), "energy_kwh", points, source=source)


def told(client: TestClient, query: str) -> dict[str, Any]:
    answer = client.get(f"/api/meters/123/preview?{query}")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_readings_are_merged_to_so_many_points(client: TestClient, home: make.Home) -> None:
    home.load(make.many_readings(60))

    found = told(client, "points=10")

    assert found | {"buckets": []} == {
        "smart_meter_id": "123",
        "start": "2024-01-01T00:00:00Z",
        "end": "2024-01-01T01:00:00Z",
        "column": "energy_kwh",
        "step_s": 360,
        "buckets": [],
    }
    assert len(found["buckets"]) == 10
    assert found["buckets"][0] == {
        "start": "2024-01-01T00:00:00Z",
        "min": 0.0,
        "mean": 0.0025,
        "max": 0.005,
        "readings": 6,
    }
    assert found["buckets"][9]["start"] == "2024-01-01T00:54:00Z"
    assert found["buckets"][9]["max"] == 0.059


def test_few_readings_make_no_holes(client: TestClient, home: make.Home) -> None:
    home.load(make.readings(1, 2, 3, interval_s=900))

    found = told(client, "points=300")

    assert found["step_s"] == 900
    assert [bucket["mean"] for bucket in found["buckets"]] == [1.0, 2.0, 3.0]


def test_where_there_is_nothing_there_is_null(client: TestClient, home: make.Home) -> None:
    home.load(make.readings(1, None), make.readings(4, start=make.JANUARY + timedelta(minutes=3)))

    found = told(client, "end=2024-01-01T00:05:00Z")

    assert [bucket["max"] for bucket in found["buckets"]] == [1.0, None, None, 4.0, None]
    assert found["buckets"][1] == {"start": "2024-01-01T00:01:00Z"} | EMPTY


def test_another_column_and_period_may_be_asked_for(client: TestClient, home: make.Home) -> None:
    home.load(make.many_readings(60))

    found = told(
        client,
        "column=voltage_v&start=2024-01-01T01:30:00%2B01:00&end=2024-01-01T00:40:00Z&points=10",
    )

    assert (found["start"], found["column"]) == ("2024-01-01T00:30:00Z", "voltage_v")
    assert [bucket["min"] for bucket in found["buckets"]] == [230.1] * 10


def test_a_period_without_readings_is_all_null(client: TestClient, home: make.Home) -> None:
    home.load(make.readings(1))

    found = told(client, "start=2025-01-01T00:00:00Z&end=2025-01-02T00:00:00Z&points=10")

    assert len(found["buckets"]) == 10
    assert {bucket["readings"] for bucket in found["buckets"]} == {0}


def test_all_of_time_has_no_more_points_than_a_day(client: TestClient, home: make.Home) -> None:
    home.load(make.readings(1, 2))

    found = told(client, "start=0001-01-01T00:00:00Z&end=9999-12-31T23:59:59Z")

    assert len(found["buckets"]) == 300
    assert sum(bucket["readings"] for bucket in found["buckets"]) == 2


@pytest.mark.parametrize("rows", [1, 7, 1_000])
def test_how_frames_are_cut_makes_no_difference(rows: int) -> None:
    frame = make.many_readings(1_000)

    assert preview_of(frame, rows=rows) == preview_of(frame)


def test_what_is_no_number_is_no_value() -> None:
    frame = make.readings(1, math.nan, math.inf, -math.inf, 3)

    values = [(bucket.low, bucket.readings) for bucket in preview_of(frame).buckets]

    assert values == [(1.0, 1), (None, 0), (None, 0), (None, 0), (3.0, 1)]


def test_a_mean_beyond_what_a_number_can_be_is_null() -> None:
    frame = make.readings(*[1.7e308] * 20)

    (first, *_) = preview_of(frame).buckets

    assert (first.low, first.mean, first.high) == (1.7e308, None, 1.7e308)


def test_more_readings_than_a_request_shall_read_are_refused(
    client: TestClient, home: make.Home
) -> None:
    century = datetime(2124, 1, 1, tzinfo=UTC)
    home.load(make.readings(1), make.readings(1, start=century))

    assert_refused(client.get("/api/meters/123/preview"), 422, "DATE_RANGE_TOO_LARGE")
    assert told(client, "end=2025-01-01T00:00:00Z")["buckets"][0]["readings"] == 1


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("points=9", "INVALID_REQUEST"),
        ("points=2001", "INVALID_REQUEST"),
        ("points=1e3", "INVALID_REQUEST"),
        ("column=energy", "INVALID_COLUMNS"),
        ("column=quality", "INVALID_COLUMNS"),
        ("start=2024-01-01T00:01:00Z", "INVALID_DATE_RANGE"),
        ("end=yesterday", "INVALID_REQUEST"),
        ("point=10", "INVALID_REQUEST"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    client: TestClient, home: make.Home, query: str, code: str
) -> None:
    home.load(make.readings(1))

    assert_refused(client.get(f"/api/meters/123/preview?{query}"), 422, code)
