"""What a scan of the Delta table costs, and that it never trusts a list that is out of date."""

from pathlib import Path

import pytest
from deltalake import DeltaTable

from meterport.domain.errors import SourceUnavailable
from meterport.domain.readings import DEFAULT_COLUMNS
from meterport.sources.delta import DeltaSource
from meterport.sources.table_folder import TableFolder
from tests import make


class Counting(TableFolder):
    opened = 0

    def table(self, version: int | None = None) -> DeltaTable:
        self.opened += 1
        return super().table(version)


def energy(source: DeltaSource, version: int | None) -> list[float]:
    frames = source.scan(["123"], make.period(), columns=DEFAULT_COLUMNS, version=version)
    return [kwh for frame in frames for kwh in frame["energy_kwh"]]


def test_the_parts_of_a_fleet_open_the_table_once(home: make.Home) -> None:
    version = home.load(make.readings(0.5)).version
    files = Counting(home.settings.readings)
    source = DeltaSource(files)

    assert [energy(source, version) for _ in range(3)] == [[0.5]] * 3

    assert files.opened == 1


def test_each_version_has_its_own_files(home: make.Home) -> None:
    first = home.load(make.readings(0.5)).version
    second = home.load(make.readings(0.7)).version
    source = DeltaSource(TableFolder(home.settings.readings))

    found = [energy(source, version) for version in (first, second, None, first)]

    assert found == [[0.5], [0.7], [0.7], [0.5]]


def test_a_table_that_was_replaced_is_found_out(home: make.Home, tmp_path: Path) -> None:
    version = home.load(make.readings(0.5)).version
    other = make.home(tmp_path / "other", make.readings(0.9))
    assert other.services.source.version() == version
    source = DeltaSource(TableFolder(home.settings.readings))
    assert energy(source, version) == [0.5]
    home.settings.readings.rename(tmp_path / "aside")
    other.settings.readings.rename(home.settings.readings)

    with pytest.raises(SourceUnavailable):
        energy(source, version)

    assert energy(source, version) == [0.9]
