"""Exports by way of /api/exports: asked for, looked at."""

from typing import Any

from starlette.testclient import TestClient

NOBODYS = "6f1e9d3c-8a55-4c1b-9f0e-2b7c1d4e5a60"
COLUMNS = ["timestamp", "smart_meter_id", "energy_kwh", "power_kw", "voltage_v", "current_a"]
CSV = {"delimiter": ",", "decimal": ".", "bom": False, "header": True, "line_end": "lf"}
TIMES = ("created_at", "updated_at", "started_at")


def body(**changes: object) -> dict[str, object]:
    """A request; a change to None takes the field out."""
    fields: dict[str, object] = {
        "smart_meter_id": "123",
        "start": "2024-01-01",
        "end": "2024-02-01",
    }
    return {name: value for name, value in (fields | changes).items() if value is not None}


def echo(**changes: object) -> dict[str, object]:
    """How that request is understood."""
    fields: dict[str, object] = {
        "smart_meter_id": "123",
        "start": "2024-01-01T00:00:00Z",
        "end": "2024-02-01T00:00:00Z",
        "format": "csv",
        "compression": "none",
        "columns": COLUMNS,
        "resolution": "raw",
        "timezone": "UTC",
        "gaps": "omit",
        "interval_label": "start",
        "with_count": False,
        "csv": CSV,
        "layout": "one_file",
    }
    return {name: value for name, value in (fields | changes).items() if value is not None}


def created(client: TestClient, **changes: object) -> str:
    answer = client.post("/api/exports", json=body(**changes))
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def shown(client: TestClient, job_id: str) -> dict[str, Any]:
    answer = client.get(f"/api/exports/{job_id}")
    assert answer.status_code == 200
    said: dict[str, Any] = answer.json()
    return said


def without_times(said: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if name not in TIMES}
