"""A service that asks for keys, as its operator and its users meet it."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meterport.client import Client, MeterportRefused
from tests import make
from tests.e2e.service import COMMAND, ENVIRONMENT, WITHIN_S, Service, running

EXPORT = {"smart_meter_id": "A", "start": "2024-01-01", "end": "2024-01-02"}


def keys(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "keys", *arguments, "--data", str(data)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )


def created(data: Path, scopes: str, meters: str, *more: str) -> dict[str, Any]:
    done = keys(data, "create", "--scopes", scopes, "--meters", meters, "--json", *more)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make.home(
        tmp_path, make.readings(0.5, meter="A"), make.readings(1, meter="B")
    ).settings.data


@pytest.fixture
def user(data: Path) -> dict[str, Any]:
    return created(data, "export,read", "A*", "--owner", "acme")


@pytest.fixture
def service(data: Path, user: dict[str, Any]) -> Iterator[Service]:
    with running(data, METERPORT_AUTH="keys", METERPORT_LOG_LEVEL="debug") as made:
        yield made


def test_a_user_gets_their_file_with_our_client(
    service: Service, user: dict[str, Any], tmp_path: Path
) -> None:
    client = Client(service.url, key=user["key"])

    export = client.wait_for(client.submit(EXPORT)["id"])
    client.download(export["id"], tmp_path / "a.csv")

    assert (tmp_path / "a.csv").read_text() == make.csv_lines(
        "2024-01-01T00:00:00Z,A,0.5,2.1,230.1,9.1"
    )
    assert user["key"] not in service.log.read_text()


def test_without_a_key_nobody_gets_anything(service: Service) -> None:
    with pytest.raises(MeterportRefused, match="this service needs a key") as refused:
        Client(service.url).submit(EXPORT)

    assert refused.value.code == "UNAUTHENTICATED"


def test_a_key_revoked_on_the_command_line_is_refused_from_then_on(
    service: Service, user: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    client = Client(service.url, key=user["key"])
    export = client.wait_for(client.submit(EXPORT)["id"])

    assert keys(data, "revoke", user["id"]).stdout == f"{user['id']} is revoked\n"

    with pytest.raises(MeterportRefused) as refused:
        client.download(export["id"], tmp_path / "a.csv")
    assert refused.value.code == "UNAUTHENTICATED"
    assert not (tmp_path / "a.csv").exists()


def test_the_key_that_takes_its_place_sees_the_same_exports(
    service: Service, user: dict[str, Any], data: Path
) -> None:
    export = Client(service.url, key=user["key"]).submit(EXPORT)

    done = keys(data, "rotate", user["id"], "--json")

    new = json.loads(done.stdout)
    assert Client(service.url, key=new["key"]).export(export["id"])["id"] == export["id"]
    listed = json.loads(keys(data, "list", "--json").stdout)
    assert [(key["id"], key["state"], key["owner"]) for key in listed] == [
        (user["id"], "alive", "acme"),
        (new["id"], "alive", "acme"),
    ]
    assert listed[0]["expires_at"] is not None
    assert listed[1]["expires_at"] is None
    assert listed[1]["last_used_at"] is not None


def test_the_command_shows_its_key_from_the_environment(
    service: Service, user: dict[str, Any], tmp_path: Path
) -> None:
    command = [*COMMAND, "export", "A", "--from", "2024-01-01", "--to", "2024-01-02"]
    done = subprocess.run(
        [*command, "--server", service.url, "-o", str(tmp_path / "a.csv")],
        env=ENVIRONMENT | {"METERPORT_API_KEY": user["key"]},
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.csv").read_text().count("\n") == 2
    assert user["key"] not in done.stdout + done.stderr


def test_readings_of_other_meters_are_refused_whole(service: Service, data: Path) -> None:
    key = created(data, "import", "A*")["key"]
    csv = "timestamp,smart_meter_id,interval_s,energy_kwh\n"
    csv += "2024-02-01T00:00:00Z,A,60,1\n2024-02-01T00:00:00Z,B,60,1\n"
    headers = {"Content-Type": "text/csv", "Authorization": f"Bearer {key}"}

    answer = service.http.post("/api/readings", content=csv.encode(), headers=headers)
    allowed = service.http.post(
        "/api/readings", content=csv.replace(",B,", ",A1,").encode(), headers=headers
    )

    assert answer.status_code == 403, answer.text
    assert answer.json()["error"]["code"] == "FORBIDDEN"
    assert "this key is not for meter 'B'" in answer.json()["message"]
    assert (allowed.status_code, allowed.json()["rows_new"]) == (200, 2)
    assert allowed.json()["version"] == 2  # that of the home and one: of the refused file none


def test_the_first_key_of_an_empty_home_is_made_before_the_service(tmp_path: Path) -> None:
    key = created(tmp_path / "data", "admin", "*")["key"]
    everywhere = "0.0.0.0"  # noqa: S104
    with running(tmp_path / "data", METERPORT_HOST=everywhere) as service:
        address = f"http://127.0.0.1:{service.url.rpartition(':')[2]}"
        headers = {"Host": "any.example"}
        refused = service.http.get(f"{address}/api/exports", headers=headers)
        headers["Authorization"] = f"Bearer {key}"
        let_in = service.http.get(f"{address}/api/exports", headers=headers)

    assert (refused.status_code, let_in.status_code) == (401, 200)
    assert refused.headers["WWW-Authenticate"] == 'Bearer realm="meterport"'


def test_the_command_says_what_is_wrong_with_a_key(data: Path) -> None:
    done = keys(data, "create", "--scopes", "reed", "--meters", "A")

    assert done.returncode == 1
    assert done.stderr.startswith("meterport: INVALID_KEY: scope 'reed' is not known; did you mean")
    assert keys(data, "revoke", "nobody").stderr == (
        "meterport: KEY_NOT_FOUND: there is no key 'nobody'; meterport keys list shows them\n"
    )
    assert keys(data, "list").stdout == "no keys yet; `meterport keys create` makes one\n"


def test_a_new_key_is_the_only_thing_on_standard_output(data: Path) -> None:
    done = keys(data, "create", "--scopes", "read", "--meters", "A-*, B", "--expires-days", "30")

    (line,) = done.stdout.splitlines()
    assert line.startswith("mp_")
    assert line not in done.stderr
    assert "A-*,B" in done.stderr
