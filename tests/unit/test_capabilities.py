"""GET /api/capabilities: what a client may ask for, as the service's own rules have it."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from meterport import __version__
from meterport.domain.options import WORDS
from meterport.services.capabilities import _UNUSUAL
from meterport.web.app import create_app
from tests import make
from tests.answers import assert_refused

VALUES = ["energy_kwh", "power_kw", "voltage_v", "current_a"]


@pytest.fixture
def told(client: TestClient) -> dict[str, Any]:
    read: dict[str, Any] = client.get("/api/capabilities").json()
    return read


def of(told: dict[str, Any], kind: str, name: str) -> dict[str, Any]:
    (found,) = [each for each in told[kind] if each["name"] == name]
    return found  # type: ignore[no-any-return]


def test_all_formats_are_there_by_name(told: dict[str, Any]) -> None:
    names = [each["name"] for each in told["formats"]]

    assert names == ["csv", "json", "ndjson", "xml", "nem12", "parquet", "xlsx"]


def test_csv_takes_every_column_resolution_and_option(told: dict[str, Any]) -> None:
    assert of(told, "formats", "csv") == {
        "name": "csv",
        "media_type": "text/csv; charset=utf-8",
        "extension": "csv",
        "default_columns": ["timestamp", "smart_meter_id", *VALUES],
        "columns": [
            *("timestamp", "interval_s", "smart_meter_id", *VALUES),
            *("energy_export_kwh", "quality"),
        ],
        "qualities": None,
        "resolutions": ["raw", "1m", "5m", "15m", "30m", "1h", "1d", "1mo"],
        "options": [
            *("columns", "resolution", "timezone", "gaps", "interval_label", "with_count"),
            *("csv", "layout", "as_of"),
        ],
    }


def test_nem12_says_what_it_has_no_place_for(told: dict[str, Any]) -> None:
    nem12 = ("timestamp", "interval_s", "smart_meter_id", "energy_kwh", "energy_export_kwh")
    assert of(told, "formats", "nem12") == {
        "name": "nem12",
        "media_type": "text/csv; charset=utf-8",
        "extension": "nem12.csv",
        "default_columns": [*nem12, "quality"],
        "columns": [*nem12, "quality"],
        "qualities": [None, "final_substituted", "substituted", "estimated"],
        "resolutions": ["raw", "5m", "15m", "30m"],
        "options": ["columns", "resolution", "timezone", "layout", "as_of"],
    }


def test_only_csv_takes_the_options_under_csv(told: dict[str, Any]) -> None:
    assert [each["name"] for each in told["formats"] if "csv" in each["options"]] == ["csv"]


def test_there_is_a_value_to_try_for_every_option() -> None:
    assert tuple(_UNUSUAL) == WORDS


def test_columns_have_their_units(told: dict[str, Any]) -> None:
    assert {each["name"]: each["unit"] for each in told["columns"]} == {
        "timestamp": None,
        "interval_s": "s",
        "smart_meter_id": None,
        "energy_kwh": "kWh",
        "power_kw": "kW",
        "voltage_v": "V",
        "current_a": "A",
        "energy_export_kwh": "kWh",
        "quality": None,
    }


def test_compressions_change_the_name_and_the_type(told: dict[str, Any]) -> None:
    assert told["compressions"] == [
        {"name": "none", "extension": None, "media_type": None},
        {"name": "gzip", "extension": "gz", "media_type": "application/gzip"},
        {"name": "zstd", "extension": "zst", "media_type": "application/zstd"},
        {"name": "auto", "extension": None, "media_type": None},
    ]


def test_words_are_those_of_an_export(told: dict[str, Any]) -> None:
    assert told["resolutions"] == ["raw", "1m", "5m", "15m", "30m", "1h", "1d", "1mo"]
    assert told["gaps"] == ["omit", "null", "flag"]
    assert told["interval_labels"] == ["start", "end", "both"]
    assert told["layouts"] == ["one_file", "file_per_meter"]


def test_files_to_import_have_their_endings_and_options(told: dict[str, Any]) -> None:
    assert of(told, "imports", "nem12") == {
        "name": "nem12",
        "extensions": ["nem12"],
        "media_types": [],
        "options": ["meter", "timezone"],
    }
    assert "skip_bad_rows" in of(told, "imports", "csv")["options"]


def test_the_version_and_the_source_of_time_zones_are_told(told: dict[str, Any]) -> None:
    assert told["version"] == __version__
    assert told["timezones"]["source"] == f"tzdata {version('tzdata')}"
    assert told["timezones"]["count"] > 500


def test_limits_are_those_that_were_set(tmp_path: Path) -> None:
    home = make.home(tmp_path, max_meters=7, max_rows=1_000)
    client = TestClient(create_app(home.services, home.settings), base_url="http://localhost")

    limits = client.get("/api/capabilities").json()["limits"]

    assert limits["meters_per_export"] == 7
    assert limits["rows_per_export"] == 1_000
    assert limits["json_body_bytes"] == 65_536
    assert limits["entries_per_page"] == 200


def test_an_unknown_parameter_is_refused(client: TestClient) -> None:
    assert_refused(client.get("/api/capabilities?format=csv"), 422, "INVALID_REQUEST")


@pytest.mark.parametrize("path", ["/api/capabilities", "/api/capabilities/"])
def test_a_head_request_and_a_slash_are_no_other_place(client: TestClient, path: str) -> None:
    assert client.head(path).status_code == 200
    assert client.get(path).status_code == 200
