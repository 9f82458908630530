"""A fleet's export: one file, whatever parts it was made in."""

import hashlib
import threading
from datetime import timedelta

import pytest
from starlette.testclient import TestClient

from meterport.bootstrap import erase
from meterport.domain.errors import ExportLimitExceeded, InvalidRequest, InvalidSmartMeterId
from meterport.domain.exports import ExportRequest
from meterport.domain.jobs import JobStatus
from meterport.services.choose_meters import choose_meters
from meterport.services.rerun_export import rerun_export
from meterport.services.sweep import sweep
from meterport.services.work_job import work_job
from tests import make
from tests.contracts.conftest import wait_until
from tests.unit.exports import encode_with, error_code, files, now, workplace
from tests.unit.fleets import METERS, WHOLE, asked, get, work, work_once


@pytest.mark.parametrize(("part_rows", "pieces"), [(1_000, 1), (4, 2), (2, 3), (1, 3)])
def test_the_bytes_do_not_depend_on_the_parts(
    part_rows: int, pieces: int, loaded: make.Home, client: TestClient
) -> None:
    job = asked(loaded)

    work(loaded, part_rows)

    assert get(client, job).decode() == WHOLE
    assert len(files(loaded)) == pieces
    file = now(loaded, job).file
    assert file is not None
    assert (file.rows, file.size_bytes) == (6, len(WHOLE))
    assert file.sha256 == hashlib.sha256(WHOLE.encode()).hexdigest()


def test_a_meter_of_many_days_is_cut_between_them_and_reads_as_one(
    home: make.Home, client: TestClient
) -> None:
    home.load(make.many_readings(3 * 1440, meter="A"), make.readings(0.5, meter="B"))
    request = ExportRequest.of_fleet("AB", make.period(minutes=3 * 1440))
    whole, cut = home.submit(request), home.submit(request)

    assert work_job(workplace(home))
    work(home, part_rows=1440)

    assert len(home.services.jobs.pieces(now(home, cut))) == 4
    assert get(client, cut) == get(client, whole)
    assert get(client, cut).count(b"\n") == 3 * 1440 + 2


def test_the_status_is_the_contracts_with_a_name_for_many(
    loaded: make.Home, client: TestClient
) -> None:
    job = asked(loaded)
    work(loaded)

    status = client.get(f"/api/export/status/{job.id}").json()

    assert status["file_info"] == {
        "filename": "smart_meters_20240101_20240101.csv",
        "download_url": f"/api/export/download/{job.id}",
        "file_size_bytes": len(WHOLE),
        "record_count": 6,
        "export_period": {"start": "2024-01-01T00:00:00Z", "end": "2024-01-01T01:00:00Z"},
    }


@pytest.mark.parametrize(("first", "last"), [(0, 0), (60, 120), (110, 200), (150, 260), (70, 255)])
def test_a_range_may_span_parts(
    first: int, last: int, loaded: make.Home, client: TestClient
) -> None:
    job = asked(loaded)
    work(loaded)

    answer = client.get(
        f"/api/export/download/{job.id}", headers={"Range": f"bytes={first}-{last}"}
    )

    assert answer.status_code == 206
    assert answer.content == WHOLE.encode()[first : last + 1]
    assert answer.headers["Content-Range"].endswith(f"/{len(WHOLE)}")


def test_progress_counts_all_parts(loaded: make.Home, client: TestClient) -> None:
    job = asked(loaded)
    work_once(loaded)
    work_once(loaded)

    status = client.get(f"/api/export/status/{job.id}").json()

    assert status["progress"] == {"percent": 33, "records_written": 2, "records_expected": 6}


def test_an_unknown_meter_fails_the_fleet_by_its_name(loaded: make.Home) -> None:
    job = asked(loaded, "A", "NOBODY", "C")

    work(loaded)

    error = now(loaded, job).error
    assert error is not None
    assert (error.code, error.message) == (
        "SMART_METER_NOT_FOUND",
        "Smart meter with ID 'NOBODY' not found",
    )
    assert files(loaded) == []


def test_a_part_that_was_handed_back_is_the_only_one_written_again(
    loaded: make.Home, client: TestClient
) -> None:
    job = asked(loaded)
    work_once(loaded)
    stopped = threading.Event()
    stopped.set()
    assert work_job(workplace(loaded, part_rows=2, stopping=stopped))

    work(loaded)

    assert files(loaded) == [f"{job.id}/{name}" for name in ("1-2", "2-1", "3-1")]
    assert get(client, job).decode() == WHOLE


def test_a_damaged_part_is_noticed_when_they_are_joined_and_written_again(
    loaded: make.Home, client: TestClient
) -> None:
    job = asked(loaded)
    for _ in range(4):
        work_once(loaded)
    part = loaded.settings.files / job.id / "2-1"
    part.write_bytes(part.read_bytes().replace(b"0.8", b"0.9"))

    work(loaded)

    assert [piece.key for piece in loaded.services.jobs.pieces(now(loaded, job))] == [
        f"{job.id}/{name}" for name in ("1-1", "2-2", "3-1")
    ]
    assert get(client, job).decode() == WHOLE
    assert sweep(archive=loaded.services.archive, objects=loaded.services.objects) == 1


def test_a_part_that_is_damaged_again_and_again_fails_the_job(loaded: make.Home) -> None:
    job = asked(loaded)

    for _ in range(20):
        if not work_job(workplace(loaded, part_rows=2)):
            break
        for part in (loaded.settings.files / job.id).glob("2-*"):
            part.write_bytes(b"")

    assert error_code(loaded, job) == "FILE_GENERATION_FAILED"


@pytest.mark.parametrize("harm", ["change", "remove"])
def test_a_part_damaged_later_is_never_served(
    harm: str, loaded: make.Home, client: TestClient
) -> None:
    job = asked(loaded)
    work(loaded)
    assert get(client, job).decode() == WHOLE
    part = loaded.settings.files / job.id / "3-1"
    data = part.read_bytes()
    part.unlink()
    if harm == "change":
        part.write_bytes(data.replace(b"1.0", b"1.1"))

    answer = client.get(f"/api/export/download/{job.id}")

    assert (answer.status_code, answer.headers["X-Error-Code"]) == (409, "EXPORT_DAMAGED")


def test_all_parts_read_one_version(loaded: make.Home, client: TestClient) -> None:
    job = asked(loaded)
    work_once(loaded)
    work_once(loaded)
    loaded.load(make.readings(7.0, 7.0, meter="C"))

    work(loaded)

    assert get(client, job).decode() == WHOLE


def test_an_error_in_a_part_fails_the_job_and_leaves_no_file(
    loaded: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect() -> None:
        raise ZeroDivisionError

    job = asked(loaded)
    work_once(loaded)
    work_once(loaded)
    encode_with(monkeypatch, defect)

    work(loaded)
    sweep(archive=loaded.services.archive, objects=loaded.services.objects)

    assert error_code(loaded, job) == "INTERNAL_ERROR"
    assert files(loaded) == []


def test_a_cancelled_fleet_leaves_nothing(loaded: make.Home) -> None:
    job = asked(loaded)
    work_once(loaded)
    work_once(loaded)

    loaded.services.jobs.cancel(job.id)

    work(loaded)
    sweep(archive=loaded.services.archive, objects=loaded.services.objects)
    assert error_code(loaded, job) == "EXPORT_CANCELLED"
    assert files(loaded) == []


def test_an_erased_meter_takes_the_files_of_its_fleets_with_it(
    loaded: make.Home, client: TestClient
) -> None:
    finished = asked(loaded)
    work(loaded)
    others = asked(loaded, "A", "C")
    work_once(loaded)

    erase(loaded.services, "B")
    work(loaded)

    assert client.get(f"/api/export/download/{finished.id}").status_code == 410
    assert get(client, others).decode() == WHOLE.replace(
        "2024-01-01T00:00:00Z,B,,2.1,230.1,9.1\n2024-01-01T00:01:00Z,B,0.8,2.1,230.1,9.1\n", ""
    )
    assert {name.partition("/")[0] for name in files(loaded)} == {others.id}


def test_a_rerun_asks_for_the_same_meters_at_the_same_version(
    loaded: make.Home, client: TestClient
) -> None:
    job = asked(loaded, "A", "C")
    work(loaded)
    loaded.load(make.readings(7.0, meter="C"))
    s = loaded.services

    again = rerun_export(job.id, at=s.intake, source=s.source).job
    work(loaded)

    assert get(client, again) == get(client, job)


def test_the_workers_that_idle_are_told_of_parts_and_of_the_end(loaded: make.Home) -> None:
    told: list[str] = []
    job = asked(loaded)
    at = workplace(loaded, part_rows=2, wake=lambda job_id, lane: told.append(f"{job_id} {lane}"))

    counts = []
    while work_job(at):
        counts.append(len(told))

    assert counts == [3, 3, 3, 4, 4]
    assert set(told) == {f"{job.id} small"}


def test_a_worker_that_dies_while_joining_costs_nothing(
    loaded: make.Home, client: TestClient
) -> None:
    job = asked(loaded)
    for _ in range(4):
        work_once(loaded)
    dead = loaded.services.jobs.claim(make.lease(timedelta(milliseconds=1)))
    assert dead is not None
    assert dead.parts_left == 0
    wait_until(lambda: loaded.services.archive.stranded(since=timedelta(0)))

    work(loaded)

    assert get(client, job).decode() == WHOLE
    assert now(loaded, job).crashes == 1


def test_all_means_every_meter_that_is_known(loaded: make.Home, client: TestClient) -> None:
    s = loaded.services
    request = choose_meters("all", make.period(), source=s.source, catalog=s.catalog)

    job = loaded.submit(request)
    work(loaded)

    assert request.fleet == METERS
    assert get(client, job).decode() == WHOLE


@pytest.mark.parametrize(
    ("asked_for", "error", "says"),
    [
        ([], InvalidRequest, "smart_meter_ids is empty; name at least one meter"),
        ("some", InvalidRequest, "smart_meter_ids must be a list or 'all', not 'some'"),
        (["A", "*"], InvalidSmartMeterId, "and begin with a letter or digit, not '*'"),
        (["A", 3], InvalidSmartMeterId, "and begin with a letter or digit, not a number"),
    ],
)
def test_what_is_no_list_of_meters_is_refused(
    asked_for: object, error: type[Exception], says: str, loaded: make.Home
) -> None:
    s = loaded.services
    with pytest.raises(error, match=says.replace("*", r"\*")):
        choose_meters(asked_for, make.period(), source=s.source, catalog=s.catalog)


def test_all_of_nothing_is_refused(home: make.Home) -> None:
    s = home.services
    with pytest.raises(InvalidRequest, match="there is no meter yet"):
        choose_meters("all", make.period(), source=s.source, catalog=s.catalog)


@pytest.mark.parametrize(
    ("limit", "says"),
    [
        ({"max_meters": 2}, "3 meters are more than the 2 of one export"),
        ({"max_rows": 5}, "about 6 rows are more than the 5 of one export"),
    ],
)
def test_too_much_is_refused_before_anything_is_stored(
    limit: dict[str, int], says: str, loaded: make.Home
) -> None:
    narrow = make.opened(loaded, **limit)

    with pytest.raises(ExportLimitExceeded, match=says):
        asked(narrow)

    assert narrow.services.archive.recent(1) == []


def test_the_frozen_tier_knows_no_fleets(client: TestClient) -> None:
    answer = client.post("/api/export/csv", json=make.body(smart_meter_id="*"))

    assert answer.json()["error"]["code"] == "INVALID_SMART_METER_ID"


def test_a_fleet_that_waits_for_its_parts_is_pending(loaded: make.Home) -> None:
    job = asked(loaded)
    work_once(loaded)

    waiting = now(loaded, job)

    assert (waiting.status, waiting.parts_left) == (JobStatus.PENDING, 3)
