"""What may happen while a fleet is exported: erasures, failures, repeated requests."""

import errno
import io
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from starlette.testclient import TestClient

from meterport import cli_jobs
from meterport.adapters.sql_job_parts import end_parts
from meterport.bootstrap import erase
from meterport.domain.errors import ExportLimitExceeded
from meterport.domain.exports import ExportFile, ExportRequest
from meterport.domain.fleets import parts
from meterport.domain.jobs import JobStatus, Lane
from meterport.services.choose_meters import choose_meters
from meterport.services.join_parts import join_parts
from meterport.services.joined_file import joined
from meterport.services.submit_export import submit_export
from meterport.services.sweep import sweep
from meterport.services.work_job import work_job
from tests import make
from tests.contracts.conftest import wait_until
from tests.unit import backups
from tests.unit.exports import encode_with, error_code, files, now, workplace
from tests.unit.fleets import WHOLE, asked, get, work, work_once


def test_an_erasure_elsewhere_while_a_part_is_written(
    loaded: make.Home, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded.load(make.readings(0.1, meter="Z"))
    job = asked(loaded)
    work_once(loaded)  # three parts
    once: list[bool] = []

    def meanwhile() -> None:
        if once:
            return
        once.append(True)
        # The last thing that an erasure says to the jobs; quick, so that no heartbeat falls
        # between it and the next claim.
        loaded.services.erasures.begin("Z", version=10**6)
        work_once(loaded, part_rows=4)  # plans anew: (A, B), (C)
        assert loaded.services.jobs.claim(make.lease(workplace(loaded).lease.duration))

    encode_with(monkeypatch, meanwhile)
    at = workplace(loaded, part_rows=4)
    work_job(at)  # the attempt at A, which the erasure should have ended
    monkeypatch.undo()
    work(loaded, part_rows=4)

    ended = now(loaded, job)
    if ended.status is JobStatus.COMPLETED:
        assert get(client, job).decode() == WHOLE


def test_an_erasure_elsewhere_while_parts_are_joined(
    loaded: make.Home, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded.load(make.readings(0.1, meter="Z"))
    job = asked(loaded)
    for _ in range(4):
        work_once(loaded)

    def joined(*args: Any, **given: Any) -> Any:
        done = join_parts(*args, **given)
        erase(loaded.services, "Z")
        return done

    monkeypatch.setattr("meterport.services.work_job.join_parts", joined)
    work_once(loaded)
    monkeypatch.undo()
    work(loaded)

    assert get(client, job).decode() == WHOLE


def test_an_erasure_ends_an_unfinished_fleet_and_removes_its_files(loaded: make.Home) -> None:
    asked(loaded)
    for _ in range(3):
        work_once(loaded)

    erase(loaded.services, "B")

    assert files(loaded) == []


def test_a_plan_with_a_version_that_goes_is_made_anew(
    loaded: make.Home, client: TestClient
) -> None:
    loaded.load(make.readings(0.1, meter="Z"))
    job = asked(loaded)
    source = loaded.services.source

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(source, name)

        def version(self) -> int | None:
            found = source.version()
            erase(loaded.services, "Z")
            return found

    work_job(workplace(loaded, source=Slow(), part_rows=2))
    work(loaded)

    assert error_code(loaded, job) is None
    assert get(client, job).decode() == WHOLE


def test_all_with_a_key_stays_one_request_when_a_meter_comes_meanwhile(loaded: make.Home) -> None:
    s = loaded.services

    def ask() -> str:
        request = choose_meters("all", make.period(), source=s.source, catalog=s.catalog)
        return submit_export(
            request,
            at=s.intake,
            idempotency_key="k",
        ).job.id

    first = ask()
    loaded.load(make.readings(0.1, meter="NEW"))

    assert ask() == first


def test_a_replay_does_not_depend_on_what_the_catalogue_expects_now(loaded: make.Home) -> None:
    narrow = make.opened(loaded, max_rows=6)
    s = narrow.services

    def ask() -> str:
        request = ExportRequest.of_fleet("ABC", make.period())
        return submit_export(
            request,
            at=s.intake,
            idempotency_key="k",
        ).job.id

    first = ask()
    loaded.load(make.readings(1.0, 1.0, 1.0, meter="C"))

    assert ask() == first


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE])
def test_a_part_that_cannot_be_read_just_now_is_tried_again(
    number: int, loaded: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = asked(loaded)
    for _ in range(4):
        work_once(loaded)
    objects = loaded.services.objects

    def fails(key: str) -> Any:
        raise OSError(number, "no")

    monkeypatch.setattr(objects, "open", fails)
    work_job(workplace(loaded))
    monkeypatch.undo()

    assert error_code(loaded, job) is None


def test_a_rerun_keeps_to_the_limits_of_the_settings(loaded: make.Home) -> None:
    job = asked(loaded)
    work(loaded)
    narrow = make.opened(loaded, max_meters=2)
    with pytest.raises(ExportLimitExceeded):
        cli_jobs.run_again(narrow.settings, job.id)


def test_no_pieces_are_not_an_empty_file(loaded: make.Home, client: TestClient) -> None:
    job = asked(loaded)
    work(loaded)
    with loaded.services.jobs._database.write() as connection:  # type: ignore[attr-defined]
        end_parts(connection, [job.id])

    answer = client.get(f"/api/export/download/{job.id}", headers={"Range": "bytes=0-9"})
    assert (answer.status_code, answer.headers["X-Error-Code"]) == (409, "EXPORT_DAMAGED")


def test_backup_and_restore_keep_finished_fleets_and_restart_others(
    loaded: make.Home, tmp_path: Path
) -> None:
    finished = asked(loaded)
    work(loaded)
    begun = asked(loaded)
    for _ in range(3):
        work_once(loaded)
    backups.backed_up(loaded, tmp_path / "backup")
    there = backups.restored(tmp_path / "backup", tmp_path / "there")
    with backups.asked(there) as client:
        assert get(client, finished).decode() == WHOLE
        work(there)
        assert get(client, begun).decode() == WHOLE
        assert sweep(archive=there.services.archive, objects=there.services.objects) == 0


def test_restore_forgets_fleets_of_a_meter_erased_since(loaded: make.Home, tmp_path: Path) -> None:
    asked(loaded)
    work(loaded)
    begun = asked(loaded)
    for _ in range(3):
        work_once(loaded)
    backups.backed_up(loaded, tmp_path / "backup")
    erase(loaded.services, "B")
    backups.put_back(loaded, tmp_path / "backup")
    there = backups.opened(loaded.settings)
    work(there)
    assert files(there) == []
    assert now(there, begun).status is JobStatus.FAILED


def test_an_erasure_of_nobody_costs_a_fleet_at_the_newest_version_nothing(
    loaded: make.Home,
) -> None:
    job = asked(loaded)
    for _ in range(3):
        work_once(loaded)
    erase(loaded.services, "NOBODY")
    assert now(loaded, job).parts_left == 1


def test_an_erasure_that_cannot_be_finished_lets_fleets_finish(
    loaded: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded.load(make.readings(0.1, meter="Z"))
    job = asked(loaded)
    objects = loaded.services.objects

    def refuses(key: str) -> None:
        raise OSError(30, "Read-only file system", key)

    (loaded.settings.files / ("0" * 8 + "-0000-4000-8000-" + "0" * 12)).mkdir(parents=True)
    (loaded.settings.files / ("0" * 8 + "-0000-4000-8000-" + "0" * 12) / "1").write_bytes(b"x")
    monkeypatch.setattr(objects, "delete", refuses)
    for _ in range(6):
        for _ in range(3):  # what workers get done between two turns of finish_erasures
            work_once(loaded)
            if now(loaded, job).status is JobStatus.COMPLETED:
                return
        with pytest.raises(OSError, match="Read-only"):
            erase(loaded.services, "Z")
    pytest.fail("six turns, 18 attempts, 5 needed; not finished")


def test_a_part_that_ends_every_worker_is_given_up_with_its_fleet(loaded: make.Home) -> None:
    job = asked(loaded)
    work_once(loaded)
    brief = make.lease(timedelta(milliseconds=1))
    for _ in range(5):
        assert wait_until(lambda: loaded.services.jobs.claim(brief))
        wait_until(lambda: len(loaded.services.archive.stranded(since=timedelta(0))) == 3)
        # The other two are held elsewhere, so that it is always the first.
    work(loaded)

    assert error_code(loaded, job) == "EXPORT_CRASHED"
    assert loaded.services.jobs.claim(brief) is None


def test_a_fleet_that_is_called_off_while_it_is_joined_ends_at_once(
    loaded: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = asked(loaded)
    for _ in range(4):
        work_once(loaded)

    def late(*args: Any, **given: Any) -> Any:
        loaded.services.jobs.cancel(job.id)
        return join_parts(*args, **given)

    monkeypatch.setattr("meterport.services.work_job.join_parts", late)
    work_once(loaded)

    assert error_code(loaded, job) == "EXPORT_CANCELLED"
    sweep(archive=loaded.services.archive, objects=loaded.services.objects)
    assert files(loaded) == []


def test_a_fleet_that_is_called_off_while_it_is_planned_ends_at_once(
    loaded: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = asked(loaded)

    def planned(*args: Any, **given: Any) -> Any:
        loaded.services.jobs.cancel(job.id)
        return parts(*args, **given)

    monkeypatch.setattr("meterport.services.work_job.parts", planned)
    work_once(loaded)

    assert error_code(loaded, job) == "EXPORT_CANCELLED"


def test_a_worker_that_is_told_to_stop_hands_back_what_it_joins(
    loaded: make.Home, client: TestClient
) -> None:
    job = asked(loaded)
    for _ in range(4):
        work_once(loaded)
    stopped = threading.Event()
    stopped.set()

    assert work_job(workplace(loaded, stopping=stopped))

    assert now(loaded, job).status is JobStatus.PENDING
    work(loaded)
    assert get(client, job).decode() == WHOLE
    assert now(loaded, job).crashes == 0


def test_the_source_that_is_away_when_a_job_is_asked_for_refuses_nothing(
    loaded: make.Home,
) -> None:
    class Away:
        def some(self, meters: object) -> object:
            raise make.error()

    s = loaded.services
    away = replace(s.intake, catalog=Away())  # type: ignore[arg-type]  # all that is asked of it
    job = submit_export(make.request("A"), at=away).job

    assert job.lane is Lane.SMALL


@pytest.mark.parametrize(
    ("offset", "whence", "then"),
    [(-4, io.SEEK_END, b"9.1\n"), (0, io.SEEK_SET, b"time"), (70, io.SEEK_SET, b"01-0")],
)
def test_a_joined_file_reads_like_a_plain_one(
    offset: int, whence: int, then: bytes, loaded: make.Home
) -> None:
    job = asked(loaded)
    work(loaded)
    pieces = loaded.services.jobs.pieces(now(loaded, job))
    opened: list[BinaryIO] = []

    def open_piece(piece: ExportFile) -> BinaryIO:
        opened.append(loaded.services.objects.open(piece.key))
        return opened[-1]

    with joined(pieces, open_piece) as file:
        assert file.read() == WHOLE.encode()
        file.seek(offset, whence)
        assert file.read(4) == then
        file.seek(0)
        file.seek(1, io.SEEK_CUR)
        assert file.read() == WHOLE.encode()[1:]

    assert all(piece.closed for piece in opened)
