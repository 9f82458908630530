"""What the sweep takes for its own: files that are named like an attempt, and no others."""

from pathlib import Path

import pytest

from meterport.services.sweep import sweep
from tests import make

JOB = "0b4ea0ae-64c5-4d2e-8a53-0d5e3ff1a4a7"


def swept(home: make.Home) -> int:
    return sweep(archive=home.services.archive, objects=home.services.objects)


def there(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("name", [f"{JOB}/1", f"{JOB}/23", f".parts/{JOB}.1"])
def test_a_file_of_an_attempt_that_nobody_needs_goes(name: str, home: make.Home) -> None:
    make.file(home.settings.files / name)

    assert swept(home) == 1
    assert there(home.settings.files) == []


def test_a_draft_beside_a_result_goes_and_the_result_stays(home: make.Home) -> None:
    home.load(make.readings(0.5))
    job = home.submit(make.request())
    home.work()
    make.file(home.settings.files / ".parts" / f"{job.id}.1")

    assert swept(home) == 1
    assert there(home.settings.files) == [f"{job.id}/1"]


@pytest.mark.parametrize(
    "name",
    ["2024/01", "notes.txt", f"{JOB}/notes", f"{JOB}/1/deeper", "x/1", f"{JOB.upper()}/1", "1"],
)
def test_a_file_of_somebody_else_stays(name: str, home: make.Home) -> None:
    make.file(home.settings.files / name)

    assert swept(home) == 0
    assert there(home.settings.files) == [name]


def test_a_folder_in_the_way_does_not_stop_the_sweep(home: make.Home) -> None:
    (home.settings.files / "2024" / "02").mkdir(parents=True)
    make.file(home.settings.files / JOB / "1")

    assert swept(home) == 1
