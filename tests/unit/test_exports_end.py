"""How exports end, and begin again: cancel, DELETE, rerun, manifest."""

import json

import pytest
from starlette.testclient import TestClient

from meterport.domain.audit import Sought
from meterport.domain.errors import StorageUnavailable
from meterport.domain.exports import ExportFile
from meterport.domain.jobs import Lease
from tests import make
from tests.answers import assert_refused
from tests.unit.exports import files
from tests.unit.fleets import work
from tests.unit.rich import body, created, echo, shown


@pytest.fixture
def done(client: TestClient, home: make.Home) -> str:
    """A finished export of two rows."""
    home.load(make.readings(0.5, 0.6))
    job_id = created(client)
    home.work()
    return job_id


def test_a_waiting_export_is_cancelled_at_once(client: TestClient) -> None:
    job_id = created(client)

    answer = client.post(f"/api/exports/{job_id}/cancel")

    said = answer.json()
    assert answer.status_code == 200
    assert said["phase"] == "cancelled"
    assert said["error"]["code"] == "EXPORT_CANCELLED"
    assert said["links"] == {
        "self": f"/api/exports/{job_id}",
        "rerun": f"/api/exports/{job_id}/rerun",
    }


def test_an_export_at_work_is_cancelled_before_its_worker_hears_of_it(
    client: TestClient, home: make.Home
) -> None:
    job_id = created(client)
    job = home.services.jobs.claim(Lease("w"))
    assert job is not None

    said = client.post(f"/api/exports/{job_id}/cancel").json()

    assert said["phase"] == "cancelled"
    assert "error" not in said
    assert said["links"] == {"self": f"/api/exports/{job_id}"}
    assert client.get(f"/api/export/status/{job_id}").json()["status"] == "pending"


def test_what_has_ended_cannot_be_cancelled(client: TestClient, done: str) -> None:
    answer = client.post(f"/api/exports/{done}/cancel")

    assert_refused(answer, 409, "EXPORT_NOT_CANCELLABLE")
    assert answer.json()["message"] == f"the export {done} is completed already"


def test_what_is_cancelled_already_cannot_be_cancelled_again(client: TestClient) -> None:
    job_id = created(client)
    client.post(f"/api/exports/{job_id}/cancel")

    answer = client.post(f"/api/exports/{job_id}/cancel")

    assert_refused(answer, 409, "EXPORT_NOT_CANCELLABLE")
    assert answer.json()["message"] == f"the export {job_id} is cancelled already"


def test_a_deleted_export_has_no_file_any_more(
    client: TestClient, home: make.Home, done: str
) -> None:
    first, second = client.delete(f"/api/exports/{done}"), client.delete(f"/api/exports/{done}")

    assert (first.status_code, second.status_code) == (204, 204)
    assert first.content == b""
    assert files(home) == []
    assert shown(client, done)["phase"] == "expired"
    assert_refused(client.get(f"/api/export/download/{done}"), 410, "EXPORT_EXPIRED")
    assert_refused(client.get(f"/api/exports/{done}/manifest"), 410, "EXPORT_EXPIRED")


def test_a_deleted_fleet_has_no_part_any_more(client: TestClient, loaded: make.Home) -> None:
    job_id = created(client, smart_meter_id=None, smart_meter_ids="all")
    work(loaded)
    parts = len(files(loaded))

    client.delete(f"/api/exports/{job_id}")

    assert (parts, files(loaded)) == (3, [])


def test_a_waiting_export_that_is_deleted_is_cancelled(client: TestClient) -> None:
    job_id = created(client)

    answers = [client.delete(f"/api/exports/{job_id}") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [204, 204]
    assert shown(client, job_id)["phase"] == "cancelled"


def test_a_failed_export_that_is_deleted_stays_failed(client: TestClient, home: make.Home) -> None:
    job_id = created(client, smart_meter_id="999")
    home.work()

    assert client.delete(f"/api/exports/{job_id}").status_code == 204
    assert shown(client, job_id)["phase"] == "failed"


def test_a_file_that_cannot_be_removed_now_can_be_had_by_nobody(
    client: TestClient, home: make.Home, done: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(key: str) -> None:
        raise StorageUnavailable("The object store failed")

    with monkeypatch.context() as patch:
        patch.setattr(home.services.objects, "delete", away)
        answer = client.delete(f"/api/exports/{done}")

    assert_refused(answer, 503, "STORAGE_UNAVAILABLE")
    assert_refused(client.get(f"/api/export/download/{done}"), 410, "EXPORT_EXPIRED")
    newest = home.services.audit.page(Sought(job_id=done), limit=1).entries[0].entry
    assert newest.action == "export_deleted"
    assert client.delete(f"/api/exports/{done}").status_code == 204
    assert files(home) == []


def test_an_export_that_runs_again_has_the_same_bytes(
    client: TestClient, home: make.Home, done: str
) -> None:
    home.load(make.readings(9.9))

    answer = client.post(f"/api/exports/{done}/rerun")
    home.work()

    again = answer.json()["id"]
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/api/exports/{again}"
    assert again != done
    assert shown(client, again)["file"]["sha256"] == shown(client, done)["file"]["sha256"]


def test_an_export_that_runs_again_keeps_its_options_and_label(client: TestClient) -> None:
    first = created(client, format="json", timezone="Asia/Tokyo", label="x")

    again = client.post(f"/api/exports/{first}/rerun", json={"shift": False}).json()

    assert again["request"] == shown(client, first)["request"]


def test_a_months_export_runs_again_for_the_next_month(
    client: TestClient, home: make.Home, done: str
) -> None:
    february = make.JANUARY.replace(month=2)
    home.load(make.readings(9.9, start=february))

    said = client.post(f"/api/exports/{done}/rerun", json={"shift": True}).json()
    home.work()

    assert said["request"] == echo(start="2024-02-01T00:00:00Z", end="2024-03-01T00:00:00Z")
    assert shown(client, said["id"])["file"]["rows"] == 1
    assert shown(client, said["id"])["source_version"] == 2


def test_the_next_period_has_to_have_begun(client: TestClient) -> None:
    job_id = created(client, end="2999-01-01")

    answer = client.post(f"/api/exports/{job_id}/rerun", json={"shift": True})

    assert_refused(answer, 422, "START_NOT_IN_PAST")
    assert answer.json()["message"] == (
        "the next period begins at 2999-01-01T00:00:00Z, which is not in the past; ask again then"
    )


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"shfit": True}, "unknown field 'shfit'; did you mean shift? known: shift"),
        ({"shift": "P1M"}, "shift must be true or false, not 'P1M'"),
    ],
)
def test_a_rerun_is_as_strict_as_a_request(
    client: TestClient, asked: dict[str, object], message: str
) -> None:
    answer = client.post(f"/api/exports/{created(client)}/rerun", json=asked)

    assert_refused(answer, 422, "INVALID_REQUEST")
    assert answer.json()["message"] == message


def test_a_rerun_under_the_same_key_is_one_export(client: TestClient, done: str) -> None:
    key = {"Idempotency-Key": "again-1"}

    first, second = (client.post(f"/api/exports/{done}/rerun", headers=key) for _ in range(2))
    shifted = client.post(f"/api/exports/{done}/rerun", headers=key, json={"shift": True})

    assert second.json() == first.json()
    assert second.headers["Idempotency-Replayed"] == "true"
    assert_refused(shifted, 422, "IDEMPOTENCY_KEY_REUSED")


def test_a_key_that_asked_for_an_export_does_not_stand_for_running_it_again(
    client: TestClient,
) -> None:
    key = {"Idempotency-Key": "order-7"}
    first = client.post("/api/exports", json=body(), headers=key).json()["id"]

    again = client.post(f"/api/exports/{first}/rerun", headers=key)

    assert again.status_code == 202
    assert again.json()["id"] != first


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_an_unusable_key_of_a_rerun_is_a_400(client: TestClient, key: str) -> None:
    path = f"/api/exports/{created(client)}/rerun"

    answer = client.post(path, headers={"Idempotency-Key": key})

    assert_refused(answer, 400, "IDEMPOTENCY_KEY_INVALID")


def test_a_finished_export_has_a_manifest(client: TestClient, done: str) -> None:
    answer = client.get(f"/api/exports/{done}/manifest")

    said = json.loads(answer.content)
    assert answer.headers["Content-Type"] == "application/json"
    assert said["job_id"] == done
    assert (said["expected"], said["present"], said["rows"]) == (2, 2, 2)
    assert said["days"] == [
        {
            "smart_meter_id": "123",
            "day": "2024-01-01",
            "expected": 2,
            "present": 2,
            "energy_kwh": 1.1,
        }
    ]


def test_head_of_a_manifest_has_no_body(client: TestClient, done: str) -> None:
    answer = client.head(f"/api/exports/{done}/manifest")

    assert (answer.status_code, answer.content) == (200, b"")


def test_the_label_is_told_in_the_manifest(client: TestClient, home: make.Home) -> None:
    home.load(make.readings(0.5))
    job_id = created(client, label="Januar")
    home.work()

    assert client.get(f"/api/exports/{job_id}/manifest").json()["request"]["label"] == "Januar"


def test_an_export_without_a_file_has_no_manifest(client: TestClient, home: make.Home) -> None:
    failed = created(client, smart_meter_id="999")
    home.work()
    waiting = created(client)

    assert_refused(client.get(f"/api/exports/{failed}/manifest"), 409, "EXPORT_FAILED")
    not_ready = client.get(f"/api/exports/{waiting}/manifest")
    assert_refused(not_ready, 409, "EXPORT_NOT_READY")
    assert not_ready.headers["Retry-After"] == "1"


def test_a_file_of_an_older_release_has_no_manifest(client: TestClient, home: make.Home) -> None:
    job_id = created(client)
    job = home.services.jobs.claim(Lease("w"))
    assert job is not None
    with home.services.objects.draft(job.key) as draft:
        draft.publish()
    home.services.jobs.complete(job, ExportFile(job.key, 0, 0, "ab" * 32))

    answer = client.get(f"/api/exports/{job_id}/manifest")

    assert_refused(answer, 410, "MANIFEST_GONE")
    assert "gaps" not in shown(client, job_id)
