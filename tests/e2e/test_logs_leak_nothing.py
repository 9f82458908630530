"""No line of a log tells what was measured, whose it is or what was sent; it may tell job ids.

Everything that must not be told is a word which stands nowhere else. Exports and imports live
their lives, good and bad ones, asked for over HTTP, by the client and by the command, while each
process of the service logs whatever it has to say, at every level.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2

from meterport.client import Client, MeterportRefused
from tests import make
from tests.chaos.harness import spoilt
from tests.e2e.service import Service, meterport, running

METER, UNKNOWN, LABEL, KEY = "Canary-Meter", "Canary-Nobody", "Canary label", "Canary-Key"
READING, EXACT = "4711.0815", "0.4711081547110815"
HEADERS = {
    "Authorization": "Bearer Canary-Token",
    "Cookie": "session=Canary-Cookie",
    "User-Agent": "Canary-Agent",
    "Prefer": "wait=1, Canary-Preference",
    "X-Api-Key": "Canary-Api-Key",
}
SECRETS = ("canary", READING, EXACT, "4711", "secret")
"""As they would stand in a line, whatever the case of their letters."""

PERIOD = {"start": "2024-01-01", "end": "2024-01-02"}
CSV = make.csv_lines(
    f"2024-01-01T00:00:00Z,{METER},{READING},2.1,230.1,9.1",
    f"2024-01-01T00:15:00Z,{METER},{EXACT},2.1,230.1,9.1",
)


def lived(service: Service, folder: Path) -> list[str]:
    """The ids of exports that were made."""
    with connected(service) as http:
        imported(http)
        refused_imports(http)
        ids = [*exports(http), *failures(http)]
        odd_requests(http, ids[0])
    by_the_client(service, folder)
    return ids


def connected(service: Service) -> httpx2.Client:
    return httpx2.Client(base_url=service.url, headers=HEADERS, trust_env=False, timeout=60)


def imported(http: httpx2.Client) -> None:
    answer = http.post(
        "/api/readings?interval=900", content=CSV.encode(), headers=typed("text/csv")
    )
    assert answer.status_code == 200, answer.text


def refused_imports(http: httpx2.Client) -> None:
    damaged = b"PAR1 canary" + CSV.encode() + b"PAR1"
    bad = CSV + f"2024-01-01T00:30:00Z,{METER},much {READING},,,\n"
    sent = [
        (bad.encode(), "text/csv"),
        (damaged, "application/vnd.apache.parquet"),
        (f'{{"smart_meter_id": "{METER}", "canary'.encode(), "application/x-ndjson"),
        (b"<feed><canary>4711.0815", "application/atom+xml"),
    ]
    for body, kind in sent:
        answer = http.post("/api/readings?interval=900", content=body, headers=typed(kind))
        assert answer.status_code == 422, answer.text
    answer = http.post(
        "/api/readings?map=Canary=x", content=CSV.encode(), headers=typed("text/csv")
    )
    assert answer.status_code == 422


def typed(kind: str) -> dict[str, str]:
    return {"Content-Type": kind}


def exports(http: httpx2.Client) -> list[str]:
    asked = {"smart_meter_id": METER, **PERIOD, "label": LABEL}
    made = http.post("/api/exports", json=asked, headers={"Idempotency-Key": KEY}).json()["id"]
    again = http.post("/api/exports", json=asked, headers={"Idempotency-Key": KEY}).json()["id"]
    ended(http, made)
    for path in (
        *(f"/api/export/status/{made}", f"/api/exports/{made}/events"),
        *(f"/api/export/download/{made}", f"/api/exports/{made}/manifest"),
        *(f"/api/exports?smart_meter_id={METER}&label=Canary%20label", "/api/meters?search=Canary"),
        *(f"/api/meters/{METER}", f"/api/meters/{METER}/coverage", f"/api/meters/{METER}/preview"),
        f"/api/meters/{METER}/exports",
    ):
        assert http.get(path).status_code == 200, path
    rerun = http.post(f"/api/exports/{made}/rerun").json()["id"]
    assert http.delete(f"/api/exports/{rerun}").status_code == 204
    assert again == made
    return [made, str(rerun)]


def failures(http: httpx2.Client) -> list[str]:
    """Accepted, and failed later: nobody's readings, and one that a format cannot hold."""
    asked: list[Mapping[str, object]] = [
        make.body(smart_meter_id=UNKNOWN),
        make.body(smart_meter_id=METER, format="nem12"),
        make.body(smart_meter_id=METER, format="xml"),
    ]
    ids = [http.post("/api/export/csv", json=body).json()["job_id"] for body in asked]
    for job_id in ids:
        ended(http, job_id)
    return ids


def ended(http: httpx2.Client, job_id: str) -> str:
    for _ in range(60):
        said = http.get(f"/api/exports/{job_id}", headers={"Prefer": "wait=20"}).json()
        if said["phase"] not in ("queued", "running", "finalizing"):
            return str(said["phase"])
    raise AssertionError(f"{job_id} does not end")


def odd_requests(http: httpx2.Client, made: str) -> None:
    for method, path, status in (
        *(("GET", "/canary", 404), ("GET", "/api/export/status/canary", 404)),
        *(("GET", "/api/exports?canary=1", 422), ("PATCH", f"/api/exports/{made}", 405)),
        *(("GET", "/api/exports?cursor=canary", 422), ("GET", "/api/meters/Canary-Nobody", 404)),
    ):
        assert http.request(method, path).status_code == status, path
    broken = http.post("/api/exports", content=b'{"canary', headers=typed("application/json"))
    foreign = http.get("/livez", headers={"Host": "canary.example"})
    body = {"smart_meter_id": METER, **PERIOD}
    unfit = http.post("/api/exports", json=body, headers={"Idempotency-Key": "canary" * 50})
    ranged = http.get(f"/api/export/download/{made}", headers={"Range": "canary=4711-"})
    statuses = [each.status_code for each in (broken, foreign, unfit, ranged)]
    assert statuses == [400, 403, 400, 200]


def by_the_client(service: Service, folder: Path) -> None:
    client = Client(service.url)
    export = client.submit({"smart_meter_id": METER, **PERIOD, "label": LABEL})
    client.wait_for(export["id"])
    client.download(export["id"], folder / "file")
    with suppress(MeterportRefused):
        client.submit({"smart_meter_id": "=Canary", **PERIOD})
    period = ("--from", "2024-01-01", "--to", "2024-01-02")
    done = meterport(
        *("export", METER, *period, "--server", service.url, "-o", str(folder / "other")),
        METERPORT_LOG_LEVEL="debug",
    )
    assert done.returncode == 0, done.stderr


def told(log: str) -> list[str]:
    """The lines with something that must not be told."""
    lines = log.lower().splitlines()
    return [line for line in lines if any(secret in line for secret in SECRETS)]


def test_nothing_of_readings_or_requests_is_logged(tmp_path: Path) -> None:
    with running(tmp_path / "data", METERPORT_LOG_LEVEL="debug") as service:
        ids = lived(service, tmp_path)
        service.stop()

    log = service.log.read_text()
    assert told(log) == []
    assert all(job_id in log for job_id in ids)
    assert log.count("export_completed") >= 3
    assert "SMART_METER_NOT_FOUND" in log
    assert "FORMAT_CANNOT_HOLD" in log


def test_a_product_that_logs_what_it_gets_is_caught(tmp_path: Path) -> None:
    variables: dict[str, Any] = {**spoilt("logs_tell_all"), "METERPORT_LOG_LEVEL": "debug"}
    with running(tmp_path / "data", **variables) as service:
        with connected(service) as http:
            imported(http)
            exports(http)
        service.stop()

    leaked = told(service.log.read_text())
    assert any("canary-meter" in line and "export_begins" in line for line in leaked)
    assert any("canary-token" in line for line in leaked)
