"""What OpenAPI says of the meters' routes."""

from typing import Any

from pydantic import BaseModel

from meterport.domain.readings import VALUE_COLUMNS
from meterport.web.doc_parts import EVERYWHERE, Answers, answer, refusals


class MeterEntry(BaseModel):
    smart_meter_id: str
    first: str
    last: str
    end: str
    interval_s: int
    rows: int


class MeterPage(BaseModel):
    items: list[MeterEntry]
    next_cursor: str | None = None


class Meter(MeterEntry):
    source_version: int | None


class MissingPeriod(BaseModel):
    start: str
    end: str
    intervals: int


class Day(BaseModel):
    day: str
    expected: int
    present: int
    energy_kwh: float | None


class Checks(BaseModel):
    power_is_not_energy_per_hour: int
    power_exceeds_voltage_times_current: int


class Coverage(BaseModel):
    smart_meter_id: str
    start: str
    end: str
    timezone: str
    readings: int
    first_timestamp: str | None
    last_timestamp: str | None
    expected: int
    present: int
    energy_kwh: float | None
    checks: Checks
    gap_count: int
    gaps: list[MissingPeriod]
    days: list[Day]


class PreviewBucket(BaseModel):
    start: str
    min: float | None
    mean: float | None
    max: float | None
    readings: int


class Preview(BaseModel):
    smart_meter_id: str
    start: str
    end: str
    column: str
    step_s: int
    buckets: list[PreviewBucket]


_ENTRY = {
    "smart_meter_id": "123",
    "first": "2024-01-01T00:00:00Z",
    "last": "2024-01-02T23:59:00Z",
    "end": "2024-01-03T00:00:00Z",
    "interval_s": 60,
    "rows": 2_879,
}
_OF_TWO_DAYS = {
    "smart_meter_id": "123",
    "start": "2024-01-01T00:00:00Z",
    "end": "2024-01-03T00:00:00Z",
}
_COVERAGE = _OF_TWO_DAYS | {
    "timezone": "UTC",
    "readings": 2_879,
    "first_timestamp": "2024-01-01T00:00:00Z",
    "last_timestamp": "2024-01-02T23:59:00Z",
    "expected": 2_880,
    "present": 2_879,
    "energy_kwh": 20.5,
    "checks": {"power_is_not_energy_per_hour": 0, "power_exceeds_voltage_times_current": 0},
    "gap_count": 1,
    "gaps": [{"start": "2024-01-01T10:00:00Z", "end": "2024-01-01T10:01:00Z", "intervals": 1}],
    "days": [
        {"day": "2024-01-01", "expected": 1_440, "present": 1_439, "energy_kwh": 10.0},
        {"day": "2024-01-02", "expected": 1_440, "present": 1_440, "energy_kwh": 10.5},
    ],
}
_PREVIEW = _OF_TWO_DAYS | {
    "column": "energy_kwh",
    "step_s": 86_400,
    "buckets": [
        {
            "start": "2024-01-01T00:00:00Z",
            "min": 0.001,
            "mean": 0.01,
            "max": 0.2,
            "readings": 1_439,
        },
        {"start": "2024-01-02T00:00:00Z", "min": None, "mean": None, "max": None, "readings": 0},
    ],
}
_PARAMETER = {"INVALID_REQUEST": "unknown parameter 'ends'; did you mean end? known: start, end"}
OF_METER = {
    "SMART_METER_NOT_FOUND": "Smart meter with ID '999' not found",
    "INVALID_SMART_METER_ID": "smart_meter_id must be 1 to 64 letters, digits or . _ : - "
    "and begin with a letter or digit, not '=1'",
    **_PARAMETER,
    **EVERYWHERE,
}
_OF_READINGS = {
    "INVALID_DATE_RANGE": "end (2024-01-01T00:00:00Z) must be after start (2024-01-02T00:00:00Z)",
    "DATE_RANGE_TOO_LARGE": "the period is longer than 366 days; ask for one year after the other",
    "SOURCE_UNAVAILABLE": "The readings store cannot be read",
    "SOURCE_DATA_INVALID": "A file of the readings store is damaged",
}


def route(name: str, summary: str, parameters: list[Any], responses: Answers) -> dict[str, Any]:
    return {
        "operation_id": name,
        "summary": summary,
        "tags": ["meters"],
        "responses": responses,
        "openapi_extra": {"parameters": parameters},
    }


def asked(name: str, description: str, **schema: object) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": description,
        "schema": {"type": "string"} | schema,
    }


_START = asked("start", "The first instant", format="date-time")
_END = asked("end", "The first instant that does not belong to it", format="date-time")

LIST = route(
    "list_meters",
    "The meters, in order of their ids",
    [
        asked("search", "What the ids begin with"),
        asked("limit", "Entries of a page", type="integer", minimum=1, maximum=200, default=50),
        asked("cursor", "next_cursor of the page before"),
    ],
    {
        200: answer(
            MeterPage,
            "A page; the Link header has the next one's address",
            meters={"items": [_ENTRY], "next_cursor": "WyIxMjMiXQ"},
        ),
        **refusals(
            _PARAMETER
            | EVERYWHERE
            | {name: _OF_READINGS[name] for name in ("SOURCE_UNAVAILABLE", "SOURCE_DATA_INVALID")}
        ),
    },
)
DETAIL = route(
    "get_meter",
    "A meter: its first and last reading, and how many there are",
    [],
    {
        200: answer(
            Meter, "As the readings of source_version are", meter=_ENTRY | {"source_version": 4}
        ),
        **refusals(
            OF_METER
            | {name: _OF_READINGS[name] for name in ("SOURCE_UNAVAILABLE", "SOURCE_DATA_INVALID")}
        ),
    },
)
COVERAGE = route(
    "get_coverage",
    "How complete a meter's readings are",
    [
        _START,
        _END,
        asked("timezone", "Whose days", default="UTC"),
    ],
    {
        200: answer(
            Coverage,
            "By day; gaps are the first 1,000. Without bounds it is of the meter's newest year",
            coverage=_COVERAGE,
        ),
        **refusals(
            OF_METER
            | _OF_READINGS
            | {
                "INVALID_TIMEZONE": "timezone 'Europe/Berln' is not known; "
                "did you mean Europe/Berlin?"
            }
        ),
    },
)
PREVIEW = route(
    "get_preview",
    "A meter's readings in few points, for a chart",
    [
        _START,
        _END,
        asked("column", "Of which value", enum=list(VALUE_COLUMNS), default=VALUE_COLUMNS[0]),
        asked("points", "Buckets at most", type="integer", minimum=10, maximum=2_000, default=300),
    ],
    {
        200: answer(
            Preview,
            "Buckets of step_s seconds; null where there is no value. Without bounds all readings",
            preview=_PREVIEW,
        ),
        **refusals(
            OF_METER
            | _OF_READINGS
            | {"INVALID_COLUMNS": "column 'energy' is not known; did you mean energy_kwh?"}
        ),
    },
)
