"""The authorisation matrix: every operation of the OpenAPI document, by every kind of key.

An operation without a row fails.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from starlette.testclient import TestClient

from meterport.domain.access import Access, Meters, Scope
from meterport.domain.exports import ExportRequest
from meterport.services.keys import create_key, revoke_key
from meterport.services.submit_export import submit_export
from meterport.web.app import create_app, document
from meterport.web.readings import Inbox
from tests import make

UNKNOWN = "6f1e9d3c-8a55-4c1b-9f0e-2b7c1d4e5a60"
FLEET = ("A", "B")
"""Meters of the owner's export; the owner's key is for these alone."""
PERIOD = {"start": "2024-01-01", "end": "2024-01-02"}
CONTRACT = {
    "start_datetime": "2024-01-01T00:00:00Z",
    "end_datetime": "2024-01-02T00:00:00Z",
}
ALL = "*"


@dataclass(frozen=True)
class Who:
    """Who asks. `alive`: whether the key is one."""

    scopes: tuple[str, ...] = ()
    meters: tuple[str, ...] = FLEET
    owner: str = "acme"
    alive: bool = True

    def may(self, scope: Scope) -> bool:
        return str(scope) in self.scopes or "admin" in self.scopes

    def sees_the_export(self) -> bool:
        is_theirs = self.owner == "acme" or "admin" in self.scopes
        return is_theirs and all(self.has(meter) for meter in FLEET)

    def has(self, meter: str) -> bool:
        return ALL in self.meters or meter in self.meters


USUAL = ("read", "export", "import")
PEOPLE = {
    "nobody": Who(alive=False),
    "unknown_key": Who(alive=False),
    "expired": Who(USUAL, alive=False),
    "revoked": Who(USUAL, alive=False),
    "owner": Who(USUAL),
    "other_tenant": Who(USUAL, (ALL,), "other"),
    "other_meter": Who(USUAL, ("Z",)),
    "subset": Who(USUAL, ("A",)),
    "read_only": Who(("read",)),
    "export_only": Who(("export",)),
    "import_only": Who(("import",)),
    "metrics_only": Who(("metrics",)),
    "admin": Who(("admin",), (ALL,), "operator"),
    "admin_of_one_meter": Who(("admin",), ("A",), "operator"),
}


@dataclass
class World:
    """A home with a finished export of FLEET that belongs to acme, and a key for everybody."""

    home: make.Home
    client: TestClient
    finished: str
    headers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def waiting(self) -> str:
        """Another export of acme's, that nobody works on."""
        return _asked(self.home)

    def send(
        self,
        who: str,
        method: str,
        path: str,
        *,
        json: object = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        given = dict(self.headers[who]) | dict(headers or {})
        return self.client.request(method, path, json=json, content=content, headers=given)


Call = Callable[[World, str], httpx2.Response]


def _path(method: str, path: str, *, fresh: bool = False, json: object = None) -> Call:
    """`fresh`: on an export of its own, because it changes it."""

    def call(world: World, who: str) -> httpx2.Response:
        job = world.waiting() if fresh else world.finished
        return world.send(who, method, path.format(job=job, meter="A"), json=json)

    return call


def _sent(world: World, who: str) -> httpx2.Response:
    csv = b"timestamp,smart_meter_id,interval_s,energy_kwh\n2023-01-01T00:00:00Z,A,60,1\n"
    return world.send(
        who, "POST", "/api/readings", content=csv, headers={"Content-Type": "text/csv"}
    )


@dataclass(frozen=True)
class Row:
    """`needs`: a scope. `about`: what the key has to be for, beside it."""

    call: Call
    needs: Scope | None
    about: str
    status: int = 200


READ, EXPORT = Scope.READ, Scope.EXPORT
ROWS = {
    "create_export": Row(
        _path("POST", "/api/export/csv", json={"smart_meter_id": "A", **CONTRACT}),
        EXPORT,
        "asked",
        202,
    ),
    "get_export_status": Row(_path("GET", "/api/export/status/{job}"), READ, "job"),
    "download_export": Row(_path("GET", "/api/export/download/{job}"), READ, "job"),
    "submit_export": Row(
        _path("POST", "/api/exports", json={"smart_meter_id": "A", **PERIOD}), EXPORT, "asked", 202
    ),
    "list_exports": Row(_path("GET", "/api/exports"), READ, "list"),
    "list_exports_of_meter": Row(_path("GET", "/api/meters/{meter}/exports"), READ, "list"),
    "get_export": Row(_path("GET", "/api/exports/{job}"), READ, "job"),
    "delete_export": Row(_path("DELETE", "/api/exports/{job}", fresh=True), EXPORT, "job", 204),
    "cancel_export": Row(_path("POST", "/api/exports/{job}/cancel", fresh=True), EXPORT, "job"),
    "rerun_export": Row(_path("POST", "/api/exports/{job}/rerun"), EXPORT, "job", 202),
    "get_export_manifest": Row(_path("GET", "/api/exports/{job}/manifest"), READ, "job"),
    "watch_export": Row(_path("GET", "/api/exports/{job}/events"), READ, "job"),
    "create_link": Row(_path("POST", "/api/exports/{job}/links"), EXPORT, "job to share", 201),
    "list_links": Row(_path("GET", "/api/exports/{job}/links"), READ, "job"),
    "revoke_link": Row(
        _path("DELETE", "/api/exports/{job}/links/unknown", fresh=True), EXPORT, "job", 204
    ),
    "list_meters": Row(_path("GET", "/api/meters"), READ, "list"),
    "get_meter": Row(_path("GET", "/api/meters/{meter}"), READ, "meter"),
    "get_coverage": Row(_path("GET", "/api/meters/{meter}/coverage"), READ, "meter"),
    "get_preview": Row(_path("GET", "/api/meters/{meter}/preview"), READ, "meter"),
    "list_audit_of_meter": Row(_path("GET", "/api/meters/{meter}/audit"), Scope.ADMIN, "meter"),
    "post_readings": Row(_sent, Scope.IMPORT, "asked"),
    "get_metrics": Row(_path("GET", "/metrics"), Scope.METRICS, "nothing"),
    "get_capabilities": Row(_path("GET", "/api/capabilities"), None, "nothing"),
}
PROBES = {"get_liveness", "get_readiness"}
LINKS = {"follow_link"}
OPEN = PROBES | LINKS
"""What asks nobody for a key: the probes, and the links, whose address is a secret of its own."""


def expected(row: Row, who: Who) -> int:
    if not who.alive:
        return 401
    if row.needs is not None and not who.may(row.needs):
        return 403
    if row.about.startswith("job") and not who.sees_the_export():
        return 404
    if row.about == "job to share" and not who.may(READ):
        return 403
    if row.about == "meter" and not who.has("A"):
        return 404
    if row.about == "asked" and not who.has("A"):
        return 403
    return row.status


def _asked(home: make.Home, *meters: str) -> str:
    request = ExportRequest.of_fleet(meters or FLEET, make.period())
    acme = Access("acme", frozenset(Scope) - {Scope.ADMIN}, Meters((ALL,)))
    return submit_export(request, at=home.services.intake, access=acme).job.id


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = make.home(
        tmp_path_factory.mktemp("matrix"), auth="keys", creates_per_minute=0, max_active_exports=0
    )
    home.load(make.readings(0.5, meter="A"), make.readings(0.6, meter="B"))
    finished = _asked(home)
    home.work()
    app = create_app(home.services, home.settings)
    app.state.inbox = Inbox(_imported)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        made = World(home, client, finished)
        yield replace(made, headers=dict(_keys(home)))


async def _imported(path: Path, said: object, access: Access) -> dict[str, object]:
    """What the process that imports does first; that it does so is tested beside it."""
    access.check_meters(["A"])
    return {}


def _keys(home: make.Home) -> Iterator[tuple[str, dict[str, str]]]:
    keys, now = home.services.keys, datetime.now(UTC)
    for name, who in PEOPLE.items():
        if name in ("nobody", "unknown_key"):
            continue
        made = create_key(
            scopes=who.scopes,
            meters=who.meters,
            keys=keys,
            audit=home.services.audit,
            now=now - timedelta(days=2),
            owner=who.owner,
            valid_for=timedelta(days=1) if name == "expired" else None,
        )
        if name == "revoked":
            revoke_key(made.key.id, keys=keys, audit=home.services.audit)
        yield name, {"Authorization": f"Bearer {made.text}"}
    yield "nobody", {}
    yield "unknown_key", {"Authorization": f"Bearer mp_aaaaaaaaaaaa_{'x' * 43}"}


def operations() -> dict[str, tuple[str, str]]:
    return {
        operation["operationId"]: (method.upper(), path)
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
    }


def test_every_operation_has_a_row() -> None:
    assert set(operations()) == set(ROWS) | OPEN


@pytest.mark.parametrize("who", PEOPLE)
@pytest.mark.parametrize("name", ROWS)
def test_each_operation_answers_each_key_as_it_should(world: World, name: str, who: str) -> None:
    answer = ROWS[name].call(world, who)

    assert answer.status_code == expected(ROWS[name], PEOPLE[who]), answer.text
    challenge = answer.headers.get("WWW-Authenticate")
    assert challenge == ('Bearer realm="meterport"' if answer.status_code == 401 else None)


@pytest.mark.parametrize("name", sorted(PROBES))
def test_the_probes_ask_nobody(world: World, name: str) -> None:
    method, path = operations()[name]

    assert world.send("nobody", method, path).status_code in (200, 503)  # no worker is there


def reads() -> list[str]:
    return [name for name in ROWS if operations()[name][0] == "GET"]


@pytest.mark.parametrize("who", PEOPLE)
@pytest.mark.parametrize("name", reads())
def test_head_a_range_and_a_slash_behind_it_are_judged_the_same(
    world: World, name: str, who: str
) -> None:
    path = (
        operations()[name][1].replace("{smart_meter_id}", "A").replace("{job_id}", world.finished)
    )
    wanted = expected(ROWS[name], PEOPLE[who])

    statuses = [
        world.send(who, "HEAD", path).status_code,
        world.send(who, "GET", f"{path}/").status_code,
        world.send(who, "GET", path, headers={"Range": "bytes=0-9"}).status_code,
    ]

    partial = 206 if wanted == 200 and name == "download_export" else wanted
    assert statuses == [wanted, wanted, partial]


def jobs_of(answer: httpx2.Response) -> set[str]:
    return {entry["id"] for entry in answer.json()["items"]}


@pytest.mark.parametrize(
    "who", [name for name, who in PEOPLE.items() if who.alive and who.may(Scope.READ)]
)
@pytest.mark.parametrize("path", ["/api/exports", "/api/meters/A/exports"])
def test_lists_tell_of_what_the_key_may_see(world: World, who: str, path: str) -> None:
    listed = jobs_of(world.send(who, "GET", f"{path}?limit=200&created_after=2024-01-01"))

    assert (world.finished in listed) == PEOPLE[who].sees_the_export()
    for job_id in listed:
        assert world.send(who, "GET", f"/api/exports/{job_id}").status_code == 200


@pytest.mark.parametrize("who", ["owner", "other_meter", "subset", "read_only", "admin"])
def test_the_list_of_meters_has_those_of_the_key(world: World, who: str) -> None:
    answer = world.send(who, "GET", "/api/meters").json()

    assert [each["smart_meter_id"] for each in answer["items"]] == [
        meter for meter in FLEET if PEOPLE[who].has(meter)
    ]


@pytest.mark.parametrize("who", ["other_tenant", "other_meter", "subset"])
@pytest.mark.parametrize(
    "name", [name for name, row in ROWS.items() if row.about == "job" and row.needs is READ]
)
def test_a_foreign_export_is_told_of_as_one_that_is_not_there(
    world: World, name: str, who: str
) -> None:
    path = operations()[name][1]

    def told(job_id: str) -> str:
        text = world.send(who, "GET", path.replace("{job_id}", job_id), headers=SAME).text
        return text.replace(job_id, "…")

    assert told(world.finished) == told(UNKNOWN)


SAME = {"X-Request-Id": "a" * 32}


def test_a_foreign_meter_is_told_of_as_one_that_is_not_there(world: World) -> None:
    def told(meter: str) -> str:
        path = f"/api/meters/{meter}"
        return world.send("subset", "GET", path, headers=SAME).text.replace(f"'{meter}'", "…")

    assert told("B") == told("NOWHERE")


def test_a_foreign_meter_is_refused_whether_or_not_it_is_there(world: World) -> None:
    def told(meter: str) -> str:
        asked = {"smart_meter_ids": ["A", meter], **PERIOD}
        answer = world.send("subset", "POST", "/api/exports", json=asked, headers=SAME)
        assert answer.status_code == 403
        return answer.text.replace(f"'{meter}'", "…")

    assert told("B") == told("NOWHERE")


def test_all_are_the_meters_of_the_key(world: World) -> None:
    asked = {"smart_meter_ids": "all", **PERIOD}
    answer = world.send("subset", "POST", "/api/exports", json=asked)

    assert answer.status_code == 202
    assert answer.json()["request"]["smart_meter_ids"] == ["A"]


def test_a_key_that_made_it_with_more_meters_does_not_show_it_to_one_with_less(
    world: World,
) -> None:
    asked = {"smart_meter_ids": "all", **PERIOD, "label": "all of acme's"}
    key = {"Idempotency-Key": "one-for-all"}
    first = world.send("owner", "POST", "/api/exports", json=asked, headers=key)

    answer = world.send("subset", "POST", "/api/exports", json=asked, headers=key)

    assert first.status_code == 202
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "FORBIDDEN")
    assert first.json()["id"] not in answer.text
    assert "'B'" not in answer.text


def test_keys_of_two_owners_do_not_meet(world: World) -> None:
    asked = {"smart_meter_id": "A", **PERIOD}
    key = {"Idempotency-Key": "the-same-word"}

    made = {
        world.send(who, "POST", "/api/exports", json=asked, headers=key).json()["id"]
        for who in ("owner", "subset", "other_tenant", "admin")
    }

    assert len(made) == 3


def test_validate_only_is_judged_as_the_export_itself(world: World) -> None:
    asked = {"smart_meter_id": "B", **PERIOD, "validate_only": True}

    assert world.send("subset", "POST", "/api/exports", json=asked).status_code == 403
    assert world.send("owner", "POST", "/api/exports", json=asked).status_code == 200


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic bXA6eA==",
        "Bearer mp_",
        f"Bearer mp_{'a' * 12}_{'x' * 42}",
        f"Bearer mp_{'a' * 12}_{'x' * 43} ",
        "Bearer " + "x" * 5000,
        "Bearer é",
    ],
)
def test_what_is_no_key_is_refused(world: World, value: str) -> None:
    headers = [(b"Authorization", value.encode("latin-1"))]
    answer = world.client.get("/api/exports", headers=headers)

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "UNAUTHENTICATED")
    assert len(answer.content) < 1000


def test_two_keys_in_one_request_are_refused(world: World) -> None:
    key = world.headers["owner"]["Authorization"]

    answer = world.client.get(
        "/api/exports", headers=[("Authorization", key), ("Authorization", key)]
    )

    assert answer.status_code == 401


def test_a_key_in_the_url_is_none(world: World) -> None:
    key = world.headers["owner"]["Authorization"].removeprefix("Bearer ")

    assert world.client.get(f"/api/exports?access_token={key}").status_code == 401


def test_nothing_of_a_request_without_a_key_is_read(world: World) -> None:
    """Neither its JSON, nor its media type, nor its parameters."""
    for path in ("/api/export/csv", "/api/exports", "/api/readings?nonsense=1"):
        assert world.send("nobody", "POST", path, content=b"\xff").status_code == 401
