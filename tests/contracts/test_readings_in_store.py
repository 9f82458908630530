"""Readings in an object store: one winner of a version, cut-off imports, and a store that fails."""

import json
import sys
import traceback
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import obstore
import polars as pl
import pytest
from obstore.exceptions import AlreadyExistsError, GenericError

from meterport.bootstrap import connect, prepare
from meterport.cli_backup import backed_up
from meterport.domain.errors import (
    BackupRefused,
    ImportBusy,
    ImportRefused,
    SourceUnavailable,
    StartRefused,
)
from meterport.domain.findings import Finding
from meterport.restore import restore
from meterport.services.examine import examine
from meterport.settings import Settings
from meterport.sources import delta_log
from meterport.sources.delta import DeltaSource
from meterport.sources.delta_store import DeltaReadings
from meterport.sources.delta_table import commit, write_data_file
from meterport.sources.delta_upkeep import DeltaUpkeep
from meterport.sources.table_files import TableFiles
from tests import brokers, make
from tests.contracts.conftest import Readings, at_once, delta_folder, delta_table
from tests.contracts.places import Killed, Place, StorePlace, new_store_place
from tests.contracts.test_readings_versions import forget_all

ONE = ("A", "01-01T00:00", 1.0)


@pytest.fixture
def place(s3: brokers.Store, tmp_path: Path) -> Place:
    return new_store_place(s3, tmp_path / "staging")


def of(meter: str, *energy_kwh: float) -> pl.DataFrame:
    return make.readings(*energy_kwh, meter=meter)


def test_of_two_writers_of_one_version_exactly_one_makes_it(place: Place) -> None:
    writers = 4
    delta_table(place)
    file = write_data_file(place.files, "2024-01", of("A", 1))
    tables = [place.files.table() for _ in range(writers)]

    def write(n: int) -> str:
        try:
            return str(commit(place.files, tables[n], [file], []))
        except ImportBusy:
            return "busy"

    for version in range(1, 6):
        tables = [place.files.table() for _ in range(writers)]
        assert sorted(at_once(writers, write)) == [str(version), *["busy"] * (writers - 1)]

    marks = {mark(place.files, version) for version in range(1, 6)}
    assert len(marks) == 5


def mark(files: TableFiles, version: int) -> str:
    """What tells an entry from another with the same change."""
    (info,) = (a["commitInfo"] for a in delta_log.actions(files, version) if "commitInfo" in a)
    return str(info["mark"])


def test_a_checkpoint_is_there_before_the_pointer_to_it(
    readings: Readings, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, sent = obstore.put, list[str]()

    def noted(store: Any, path: str, data: bytes, **how: Any) -> object:
        sent.append(path)
        return put(store, path, data, **how)

    readings.merge(of("A", 1))
    monkeypatch.setattr(obstore, "put", noted)

    delta_log.checkpoint(readings.files, 1)

    assert sent == [
        f"_delta_log/{1:020}.checkpoint.parquet",
        "_delta_log/_last_checkpoint",
    ]


def killed() -> None:
    raise Killed


def test_an_import_that_was_cut_off_before_its_commit_changes_nothing_and_is_cleared_away(
    readings: Readings,
) -> None:
    readings.merge(of("A", 1))
    before = readings.files.data_files()

    with pytest.raises(Killed):
        readings.merge(of("A", 2), of("B", 3), fence=killed)

    upkeep = DeltaUpkeep(readings.files)
    (left,) = set(readings.files.data_files()) - set(before)
    assert (readings.source.version(), readings.rows()) == (1, [ONE])
    assert upkeep.unnamed_files() == [left]
    assert forget_all(upkeep) == 1
    assert readings.files.data_files() == before
    assert readings.rows() == [ONE]


def test_a_spool_of_an_import_is_on_this_machine_and_gone_at_its_end(readings: Readings) -> None:
    staging, seen = readings.place.staging, list[str]()

    def batches() -> Iterator[pl.DataFrame]:
        yield of("A", 1)
        seen.extend(path.name[:9] for path in staging.iterdir())

    readings.store.merge(batches(), known_intervals=lambda _: {}, fence=lambda: None)

    assert seen == ["_staging-"]
    assert list(staging.iterdir()) == []


Put = Callable[..., object]


def entries_put_by(monkeypatch: pytest.MonkeyPatch, act: Callable[[Put], object]) -> None:
    """Each log entry is sent by `act`, which is given what would send it."""
    put = obstore.put

    def instead(store: Any, path: str, data: bytes, **how: Any) -> object:
        def send() -> object:
            return put(store, path, data, **how)

        return act(send) if path.endswith(".json") else send()

    monkeypatch.setattr(obstore, "put", instead)


@pytest.mark.parametrize("error", [GenericError("no answer"), AlreadyExistsError("asked again")])
def test_a_commit_whose_answer_was_lost_is_done(
    error: Exception, readings: Readings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer_is_lost(send: Put) -> None:
        send()
        raise error

    entries_put_by(monkeypatch, answer_is_lost)

    assert readings.merge(of("A", 1)).version == 1
    assert readings.rows() == [ONE]


def test_a_commit_of_which_nobody_knows_keeps_the_files_that_it_may_name(
    readings: Readings, monkeypatch: pytest.MonkeyPatch
) -> None:
    late: list[Put] = []

    def comes_late(send: Put) -> None:
        late.append(send)
        raise GenericError("no answer")

    entries_put_by(monkeypatch, comes_late)

    with pytest.raises(ImportRefused, match="nobody knows whether the import is done; import agai"):
        readings.merge(of("A", 1))
    assert readings.rows() == []
    late[0]()

    assert readings.rows() == [ONE]
    assert readings.merge(of("A", 1)).version == 1


def test_a_store_that_fails_in_an_import_refuses_it_and_leaves_nothing(
    readings: Readings, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings.merge(of("A", 1))
    before, put, sent = readings.files.data_files(), obstore.put, []

    def fail_the_second(*what: Any, **how: Any) -> object:
        sent.append(what[1])
        if len(sent) == 2:
            raise GenericError("the disk of the store is full")
        return put(*what, **how)

    monkeypatch.setattr(obstore, "put", fail_the_second)
    february = make.readings(3, meter="A", start=make.JANUARY.replace(month=2))

    with pytest.raises(ImportRefused) as refusal:
        readings.merge(of("A", 2), february)

    assert refusal.value.message == (
        "The object store of the readings failed (GenericError); nothing was imported"
    )
    assert "METERPORT_READINGS_URL" in refusal.value.details
    assert len(sent) == 2
    assert readings.files.data_files() == before
    assert readings.rows() == [ONE]


@pytest.fixture
def gone(tmp_path: Path) -> Place:
    """A place in a store that does not answer."""
    nowhere = brokers.Store(f"http://127.0.0.1:{brokers.free_port()}")
    return new_store_place(nowhere, tmp_path / "staging")


def test_a_store_that_does_not_answer_is_unavailable(gone: Place) -> None:
    source = DeltaSource(gone.files)
    for read in (source.version, lambda: source.keeps(1), lambda: list(source.summaries())):
        with pytest.raises(SourceUnavailable) as failure:
            read()
        assert failure.value.retryable
        assert brokers.SECRET_KEY not in "".join(traceback.format_exception(failure.value))


def test_no_file_is_called_damaged_because_the_store_does_not_answer(
    readings: Readings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object) -> None:
        raise GenericError("no answer")

    readings.merge(of("A", 1))
    kept, upkeep = DeltaUpkeep(readings.files).kept_files(), DeltaUpkeep(readings.files)
    monkeypatch.setattr(upkeep, "kept_files", lambda: kept)
    monkeypatch.setattr("meterport.sources.delta_upkeep._copy_log", lambda *_: None)
    delta_folder(tmp_path / "copy").merge(of("A", 1))
    monkeypatch.setattr(obstore, "get", fail)
    monkeypatch.setattr(obstore, "head", fail)

    for ask in (upkeep.scrub, upkeep.look_over, lambda: upkeep.copy(tmp_path / "copy", 1)):
        with pytest.raises(SourceUnavailable):
            list(ask())


def test_an_import_into_a_store_that_does_not_answer_is_refused(gone: Place) -> None:
    readings = Readings(DeltaReadings(gone.files), DeltaSource(gone.files), gone)

    with pytest.raises(ImportRefused, match=r"the readings store could not be .*; import again$"):
        readings.merge(of("A", 1))


def settings_in(place: StorePlace) -> dict[str, object]:
    return {"readings_url": place.uri, **place.store.settings()}


def settings_of(place: StorePlace, folder: Path, **given: object) -> Settings:
    return make.settings(folder / "data", **settings_in(place) | given)


WRONG: dict[str, tuple[dict[str, object], str]] = {
    "no bucket": (
        {"readings_url": f"s3://none-{uuid.uuid4().hex}/readings"},
        "The bucket of the readings does not exist",
    ),
    "no store": (
        {"store_endpoint": f"http://127.0.0.1:{brokers.free_port()}"},
        "The object store of the readings failed (GenericError)",
    ),
    "wrong secret": (
        {"store_secret_access_key": "not-the-secret"},
        "The object store of the readings failed (GenericError)",
    ),
    "no account": ({"readings_url": "az://container/readings"}, "METERPORT_READINGS_URL cannot be"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_used_is_named_at_the_start(
    wrong: str, s3: brokers.Store, tmp_path: Path
) -> None:
    given, message = WRONG[wrong]
    settings = settings_of(new_store_place(s3, tmp_path), tmp_path, **given)

    with pytest.raises(StartRefused) as refusal:
        prepare(settings)

    assert refusal.value.message.startswith(message)
    assert "METERPORT_READINGS_URL" in refusal.value.message + refusal.value.details
    assert "not-the-secret" not in "".join(traceback.format_exception(refusal.value))


@pytest.mark.parametrize(
    "url",
    ["s3://", "s3://key:secret@b/x", "s3://b/a b", "s3://b/a%20b", "s3://b/x?a", "s3://b/../x"],
)
def test_a_wrong_url_is_named_at_the_start_and_not_repeated(url: str, tmp_path: Path) -> None:
    with pytest.raises(StartRefused, match="METERPORT_READINGS_URL cannot be used; write one such"):
        prepare(make.settings(tmp_path, readings_url=url))


def test_a_missing_library_is_named_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "meterport.sources.table_store", raising=False)
    monkeypatch.setitem(sys.modules, "obstore", None)

    with pytest.raises(StartRefused, match=r"need obstore; install meterport\[distributed\]"):
        prepare(make.settings(tmp_path, readings_url="s3://bucket/readings"))


@pytest.fixture
def home(s3: brokers.Store, tmp_path: Path) -> make.Home:
    place = new_store_place(s3, tmp_path)
    settings = settings_of(place, tmp_path)
    home = make.Home(settings, prepare(settings))
    home.load(make.readings(0.5), make.readings(0.7, meter="other"))
    return home


def test_a_home_with_its_readings_in_a_store_exports_them(home: make.Home) -> None:
    job = home.submit(make.request())
    home.work()

    done = home.services.jobs.get(job.id)
    assert done is not None
    assert done.file is not None
    with home.services.objects.open(done.file.key) as file:
        assert file.read().decode() == make.csv_lines("2024-01-01T00:00:00Z,123,0.5,2.1,230.1,9.1")
    assert not (home.settings.data / "readings").exists()


def examined(home: make.Home) -> list[Finding]:
    s = connect(home.settings)
    return list(
        examine(
            checkups=s.checkups,
            source=s.source,
            upkeep=s.upkeep,
            catalog=s.catalog,
            archive=s.archive,
            objects=s.objects,
            audit=s.audit,
            scrub=True,
        )
    )


def test_the_doctor_looks_at_the_store(home: make.Home) -> None:
    told = [finding.message for finding in examined(home)]

    assert "version 1, 2 meters" in told
    assert "every file has the right SHA-256" in told


def test_a_home_with_its_readings_in_a_store_is_backed_up_into_a_folder(
    home: make.Home, tmp_path: Path
) -> None:
    report, whole = backed_up(home.settings, tmp_path / "backup", as_json=True)

    assert whole
    assert json.loads(report)["readings_version"] == 1
    restored = make.settings(tmp_path / "restored")
    restore(restored, tmp_path / "backup", replace=False)
    frames = prepare(restored).source.scan(["123"], make.period(), columns=["energy_kwh"])
    assert [frame.item() for frame in frames] == [0.5]


def test_restored_readings_can_be_copied_into_a_store(
    home: make.Home, s3: brokers.Store, tmp_path: Path
) -> None:
    backed_up(home.settings, tmp_path / "backup", as_json=False)
    restored = make.settings(tmp_path / "restored")
    restore(restored, tmp_path / "backup", replace=False)
    there = new_store_place(s3, tmp_path)
    for path in sorted(restored.readings.rglob("*/*"), reverse=True):
        there.at(path.relative_to(restored.readings).as_posix()).write_bytes(path.read_bytes())

    again = prepare(make.settings(tmp_path / "restored", **settings_in(there)))

    frames = again.source.scan(["123"], make.period(), columns=["energy_kwh"])
    assert [frame.item() for frame in frames] == [0.5]
    assert list(again.upkeep.scrub()) == []


def test_credentials_may_come_from_the_store_s_own_environment(
    s3: brokers.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", brokers.ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", brokers.SECRET_KEY)
    url = new_store_place(s3, tmp_path).uri

    home = make.home(tmp_path, make.readings(0.5), readings_url=url, store_endpoint=s3.endpoint)

    frames = home.services.source.scan(["123"], make.period(), columns=["energy_kwh"])
    assert [frame.item() for frame in frames] == [0.5]


def test_a_restore_into_a_store_is_refused_by_name(home: make.Home, tmp_path: Path) -> None:
    backed_up(home.settings, tmp_path / "backup", as_json=False)

    with pytest.raises(BackupRefused, match=r"METERPORT_READINGS_URL names no folder.*empty it"):
        restore(home.settings, tmp_path / "backup", replace=True)
    with pytest.raises(BackupRefused, match=r"METERPORT_FILES_URL names no folder.*empty it"):
        restore(
            make.settings(tmp_path / "new", files_url="s3://exports/x"),
            tmp_path / "backup",
            replace=True,
        )
