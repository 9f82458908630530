"""Readings are kept up beside imports and exports; a meter is forgotten; an export runs again."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import structlog
from starlette.testclient import TestClient

from meterport.bootstrap import erase
from meterport.domain.errors import ImportBusy, JobNotFound, SourceDataInvalid
from meterport.domain.exports import ExportFile
from meterport.domain.jobs import Job, JobStatus, Lease
from meterport.housekeeping import _finish_erasures
from meterport.services.keep_readings import keep_readings, scrub_readings
from meterport.services.refresh_meters import refresh_meters
from meterport.services.rerun_export import rerun_export
from meterport.sources.delta_upkeep import SMALL_FILES, DeltaUpkeep
from meterport.sources.table_folder import TableFolder
from tests import make
from tests.answers import assert_refused
from tests.unit.exports import content, error_code, files, now, submitted

MINUTE = timedelta(minutes=1)
NO_TIME, A_WEEK = timedelta(0), timedelta(days=7)


def kept_up(home: make.Home, *, keep_versions: timedelta = NO_TIME) -> None:
    s = home.services
    keep_readings(
        source=s.source,
        upkeep=s.upkeep,
        catalog=s.catalog,
        archive=s.archive,
        keep_versions=keep_versions,
    )


def one_by_one(home: make.Home, imports: int = SMALL_FILES) -> None:
    """So many imports of a reading each."""
    for n in range(imports):
        home.load(make.readings(n, start=make.JANUARY + n * MINUTE))


def erased(home: make.Home, meter: str = "123") -> int:
    return erase(home.services, meter)


def begun(home: make.Home, meter: str = "123") -> Job:
    """An attempt at work that has chosen the newest version."""
    submitted(home, meter)
    job = home.services.jobs.claim(Lease("another worker", timedelta(hours=1)))
    assert job is not None
    version = home.services.source.version()
    assert home.services.jobs.begin(job, source_version=version, rows_expected=1)
    return job


def rerun(home: make.Home, job_id: str) -> Job:
    s = home.services
    return rerun_export(
        job_id,
        at=s.intake,
        source=s.source,
    ).job


def energy_kwh(home: make.Home, job: Job) -> list[str]:
    """The values in a finished job's file."""
    return [line.split(",")[2] for line in content(home, job).splitlines()[1:]]


def data_files(home: make.Home) -> list[Path]:
    return sorted(home.settings.readings.glob("month=*/*"))


def test_the_catalogue_stays_level_with_a_compaction(home: make.Home) -> None:
    one_by_one(home)
    s = home.services
    before = s.catalog.all()

    kept_up(home)

    assert s.catalog.version() == s.source.version() == SMALL_FILES + 1
    assert s.catalog.all() == before
    assert not refresh_meters(source=s.source, catalog=s.catalog)
    assert len(data_files(home)) == 1
    home.load(make.readings(99))
    assert s.catalog.get("123") == before[0]


def test_a_catalogue_that_was_behind_is_brought_level_first(home: make.Home) -> None:
    one_by_one(home, SMALL_FILES - 1)
    s = home.services
    s.readings.merge(
        [make.readings(7.0, 8.0, meter="new")], known_intervals=lambda _: {}, fence=lambda: None
    )

    kept_up(home)

    assert s.catalog.version() == s.source.version()
    assert [meter.smart_meter_id for meter in s.catalog.all()] == ["123", "new"]


def test_earlier_versions_stay_for_their_time(home: make.Home) -> None:
    one_by_one(home)

    kept_up(home, keep_versions=A_WEEK)

    assert all(home.services.source.keeps(version) for version in range(SMALL_FILES + 2))
    kept_up(home, keep_versions=NO_TIME)
    assert not any(home.services.source.keeps(version) for version in range(SMALL_FILES + 1))


def test_upkeep_beside_an_import_gives_way_and_changes_nothing(home: make.Home) -> None:
    one_by_one(home)
    files = data_files(home)
    with home.services.catalog.writing(patience=NO_TIME), pytest.raises(ImportBusy):
        kept_up(home)

    assert home.services.source.version() == SMALL_FILES
    assert data_files(home) == files
    kept_up(home)
    assert home.services.source.version() == SMALL_FILES + 1


def test_an_import_that_begins_after_the_look_makes_forgetting_give_way(home: make.Home) -> None:
    home.load(make.readings(1))
    home.load(make.readings(2))

    with home.services.catalog.writing(patience=NO_TIME), pytest.raises(ImportBusy):
        kept_up(home)

    assert home.services.source.keeps(1)


def test_the_version_of_an_unfinished_job_is_kept(home: make.Home) -> None:
    home.load(make.readings(0.5))
    job = begun(home)
    home.load(make.readings(0.75))

    kept_up(home)
    home.services.jobs.hand_back(job)
    home.work()

    assert energy_kwh(home, job) == ["0.5"]
    kept_up(home)
    assert [version for version in range(3) if home.services.source.keeps(version)] == [2]


def test_the_version_that_a_rerun_waits_for_is_kept(home: make.Home) -> None:
    home.load(make.readings(0.5))
    first = submitted(home)
    home.work()
    home.load(make.readings(0.75))
    again = rerun(home, first.id)

    kept_up(home)
    home.work()

    assert energy_kwh(home, again) == ["0.5"]


def test_the_version_of_a_lease_is_kept_as_long_as_it_is_held(home: make.Home) -> None:
    home.load(make.readings(0.5))
    home.load(make.readings(0.75))

    with home.services.leases.holding("backup", readings_version=1):
        kept_up(home)
        kept_meanwhile = home.services.source.keeps(1)
    kept_up(home)

    assert kept_meanwhile
    assert not home.services.source.keeps(1)


def test_a_scrub_returns_and_logs_what_is_damaged(home: make.Home) -> None:
    home.load(make.readings(0.5, 0.6, meter="A"), make.readings(0.7, meter="B", interval_s=900))
    (path,) = data_files(home)
    path.write_bytes(bytes(path.stat().st_size))

    with structlog.testing.capture_logs() as logged:
        (damaged,) = scrub_readings(home.services.upkeep)

    assert (damaged.state, damaged.first_meter, damaged.last_meter) == ("changed", "A", "B")
    assert logged == [
        {
            "event": "readings_damaged",
            "log_level": "error",
            "path": f"month=2024-01/{path.name}",
            "state": "changed",
            "month": "2024-01",
            "first_meter": "A",
            "last_meter": "B",
        }
    ]


def test_an_erased_meters_file_can_no_longer_be_downloaded(
    client: TestClient, home: make.Home
) -> None:
    home.load(make.readings(0.5), make.readings(0.7, meter="other"))
    gone, other = submitted(home), submitted(home, "other")
    home.work()

    rows = erased(home)

    assert rows == 1
    answer = client.get(f"/api/export/download/{gone.id}")
    assert_refused(answer, 410, "EXPORT_EXPIRED")
    assert client.get(f"/api/export/download/{other.id}").status_code == 200
    assert files(home) == [f"{other.id}/1"]


def test_an_erased_meter_is_unknown_from_then_on(home: make.Home) -> None:
    home.load(make.readings(0.5), make.readings(0.7, meter="other"))
    erased(home)
    job, other = submitted(home), submitted(home, "other")

    home.work()

    s = home.services
    assert error_code(home, job) == "SMART_METER_NOT_FOUND"
    assert energy_kwh(home, other) == ["0.7"]
    assert [meter.smart_meter_id for meter in s.catalog.all()] == ["other"]
    assert s.catalog.version() == s.source.version() == 2
    assert not any(s.source.keeps(version) for version in (0, 1))
    assert (list(s.erasures.all()), s.erasures.unfinished()) == (["123"], [])


def test_an_erased_meters_waiting_job_is_called_off(home: make.Home) -> None:
    home.load(make.readings(0.5))
    job = submitted(home)

    erased(home)
    home.work()

    assert error_code(home, job) == "EXPORT_CANCELLED"


def test_an_erased_meters_job_at_work_cannot_publish(home: make.Home) -> None:
    home.load(make.readings(0.5))
    job = begun(home)

    erased(home)

    assert not home.services.jobs.complete(job, ExportFile(job.key, 1, 1, "ab" * 32))
    home.services.jobs.hand_back(job)
    home.work()
    assert error_code(home, job) == "EXPORT_CANCELLED"
    assert files(home) == []


def test_another_meters_job_at_work_reads_the_newest_version_after_an_erasure(
    home: make.Home,
) -> None:
    home.load(make.readings(0.5), make.readings(0.7, meter="other"))
    job = begun(home, "other")

    erased(home)
    home.services.jobs.hand_back(job)
    home.work()

    assert energy_kwh(home, job) == ["0.7"]
    assert now(home, job).source_version == 2


def test_erasing_an_unknown_meter_is_recorded_and_changes_no_reading(home: make.Home) -> None:
    home.load(make.readings(0.5))

    assert erased(home, "unknown") == 0

    assert list(home.services.erasures.all()) == ["unknown"]
    assert [meter.smart_meter_id for meter in home.services.catalog.all()] == ["123"]


def test_a_meter_that_only_earlier_versions_had_is_erased_from_them(home: make.Home) -> None:
    home.load(make.readings(0.5))
    s = home.services
    with s.catalog.writing(patience=NO_TIME):
        s.upkeep.erase("123", fence=lambda: None)

    erased(home)

    assert not s.source.keeps(1)
    assert data_files(home) == []


def test_an_erasure_that_was_cut_off_is_finished_by_housekeeping(home: make.Home) -> None:
    home.load(make.readings(0.5))
    job = submitted(home)
    home.work()
    home.services.erasures.begin("123")

    finished = _finish_erasures(home.services)

    s = home.services
    assert finished == 1
    assert now(home, job).expired
    assert (s.catalog.all(), data_files(home), list(s.objects.keys())) == ([], [], [])
    assert s.erasures.unfinished() == []
    assert _finish_erasures(home.services) == 0


class Meanwhile(DeltaUpkeep):
    """Something else happens while the meter's files are written again."""

    def __init__(self, folder: Path, act: Callable[[], object]) -> None:
        super().__init__(TableFolder(folder))
        self._act = act

    def erase(self, smart_meter_id: str, *, fence: Callable[[], None]) -> tuple[int, int]:
        self._act()
        return super().erase(smart_meter_id, fence=fence)


def during_its_erasure(home: make.Home, act: Callable[[], object]) -> make.Home:
    upkeep = Meanwhile(home.settings.readings, act)
    return replace(home, services=replace(home.services, upkeep=upkeep))


def test_an_export_that_ran_beside_the_erasure_leaves_no_file(
    client: TestClient, home: make.Home
) -> None:
    home.load(make.readings(0.5))
    made: list[Job] = []

    def export() -> None:
        made.append(submitted(home))
        home.work()

    erased(during_its_erasure(home, export))

    (job,) = made
    assert_refused(client.get(f"/api/export/download/{job.id}"), 410, "EXPORT_EXPIRED")
    assert files(home) == []


def test_another_meters_export_that_began_beside_the_erasure_is_done_after_it(
    home: make.Home,
) -> None:
    home.load(make.readings(0.5), make.readings(0.7, meter="other"))
    made: list[Job] = []

    erased(during_its_erasure(home, lambda: made.append(begun(home, "other"))))

    (job,) = made
    home.services.jobs.hand_back(job)
    home.work()
    assert energy_kwh(home, job) == ["0.7"]


def test_an_erasure_over_a_damaged_file_stays_to_be_finished(home: make.Home) -> None:
    home.load(make.readings(0.5), make.readings(0.7, meter="other"))
    (path,) = data_files(home)
    whole = path.read_bytes()
    path.write_bytes(whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])

    with pytest.raises(SourceDataInvalid):
        erased(home)

    assert home.services.erasures.unfinished() == ["123"]
    path.write_bytes(whole)
    assert _finish_erasures(home.services) == 1
    assert [meter.smart_meter_id for meter in home.services.catalog.all()] == ["other"]


def test_a_rerun_has_the_same_bytes_although_the_readings_have_changed(home: make.Home) -> None:
    home.load(make.readings(0.5))
    first = submitted(home)
    home.work()
    home.load(make.readings(0.75))

    again = rerun(home, first.id)
    home.work()

    one, two = now(home, first), now(home, again)
    assert again.id != first.id
    assert one.file is not None
    assert two.file is not None
    assert two.file.sha256 == one.file.sha256
    assert (two.source_version, two.request) == (1, one.request)


def test_a_rerun_reads_the_newest_version_when_the_first_one_is_gone(home: make.Home) -> None:
    home.load(make.readings(0.5))
    first = submitted(home)
    home.work()
    home.load(make.readings(0.75))
    kept_up(home)

    again = rerun(home, first.id)
    home.work()

    assert energy_kwh(home, again) == ["0.75"]
    assert now(home, again).source_version == 2


def test_a_job_that_failed_can_be_run_again(home: make.Home) -> None:
    first = submitted(home)
    home.work()
    home.load(make.readings(0.5))

    again = rerun(home, first.id)
    home.work()

    assert error_code(home, first) == "SMART_METER_NOT_FOUND"
    assert now(home, again).status is JobStatus.COMPLETED


@pytest.mark.parametrize("job_id", ["00000000-0000-4000-8000-000000000000", "no id", ""])
def test_a_job_that_does_not_exist_cannot_be_run_again(job_id: str, home: make.Home) -> None:
    with pytest.raises(JobNotFound, match="`meterport jobs` lists them"):
        rerun(home, job_id)

    assert home.services.archive.recent(9) == []
