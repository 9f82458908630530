"""MeterPages: the meters page by page, in the catalogue and in other people's table."""

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import make_url

from meterport.adapters.sql_database import Database
from meterport.adapters.sql_meters import SqlMeters
from meterport.domain.access import ALL_METERS, Meters
from meterport.domain.readings import MeterSummary
from meterport.ports.overview import MeterPages
from meterport.sources.postgres import PostgresSource
from tests import make
from tests.contracts.conftest import Emptied, Postgres
from tests.contracts.test_postgres_source import OWN, fill

IDS = ("1", "10", "11", "2", "A", "A-1", "A-2", "A.1", "B", "a", "a-1", "z" * 64, "zz")


@pytest.fixture(params=["sqlite", "postgresql", "table"])
def pages(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MeterPages]:
    if request.param == "table":
        yield from table(request.getfixturevalue("postgres"))
        return
    if request.param == "sqlite":
        copy = shutil.copy(request.getfixturevalue("migrated_file"), tmp_path / "meterport.db")
        database = Database(f"sqlite:///{copy}")
    else:
        shared: Emptied = request.getfixturevalue("emptied")
        shared.empty()
        database = Database(shared.url)
    catalog = SqlMeters(database)
    catalog.add([summary(meter) for meter in IDS], version=1)
    yield catalog
    database.engine.dispose()


def table(server: Postgres) -> Iterator[MeterPages]:
    name = server.create()
    url = make_url(server.url(name)).set(drivername="postgresql")
    plain = url.render_as_string(hide_password=False)
    fill(plain, "readings", OWN, *(make.readings(0.5, 0.6, meter=meter) for meter in IDS))
    yield PostgresSource(f"{plain}?table=readings")
    server.drop(name)


def summary(meter: str) -> MeterSummary:
    return MeterSummary(meter, make.JANUARY, make.JANUARY + timedelta(minutes=1), 60, 2)


def ids(pages: MeterPages, *, prefix: str = "", after: str = "", limit: int = 100) -> list[str]:
    found = pages.page(prefix=prefix, after=after, limit=limit, within=ALL_METERS)
    return [meter.smart_meter_id for meter in found]


def test_a_page_tells_of_the_meters_what_is_known(pages: MeterPages) -> None:
    assert list(pages.page(prefix="", after="", limit=2, within=ALL_METERS)) == [
        summary("1"),
        summary("10"),
    ]


def test_the_pages_are_all_meters_once_in_order(pages: MeterPages) -> None:
    listed: list[str] = []
    while page := ids(pages, after=listed[-1] if listed else "", limit=3):
        listed += page

    assert sorted(listed) == sorted(IDS)
    assert listed == ids(pages)


def test_only_ids_that_begin_so_are_found(pages: MeterPages) -> None:
    assert sorted(ids(pages, prefix="A")) == ["A", "A-1", "A-2", "A.1"]
    assert sorted(ids(pages, prefix="A-")) == ["A-1", "A-2"]
    assert ids(pages, prefix="zz") == ["zz", "z" * 64]
    assert ids(pages, prefix="1", after="1") == ["10", "11"]
    assert ids(pages, prefix="C") == []


def test_behind_the_last_there_is_nothing(pages: MeterPages) -> None:
    assert ids(pages, after=ids(pages)[-1]) == []


def test_the_catalogue_is_in_order_of_the_ids_bytes(database: Database) -> None:
    catalog = SqlMeters(database)
    catalog.add([summary(meter) for meter in IDS], version=1)

    assert ids(catalog) == sorted(IDS)


@pytest.mark.parametrize(
    "patterns", [("A*",), ("a*", "1"), ("A-*", "zz"), ("A.*",), ("z" * 64,), ("nothing",), ("*",)]
)
def test_only_the_meters_of_a_key_are_told(pages: MeterPages, patterns: tuple[str, ...]) -> None:
    within = Meters(patterns)

    found = pages.page(prefix="", after="", limit=100, within=within)

    assert [meter.smart_meter_id for meter in found] == [id_ for id_ in ids(pages) if id_ in within]


def test_a_page_of_a_key_is_full_whatever_lies_between(pages: MeterPages) -> None:
    found = pages.page(prefix="", after="", limit=2, within=Meters(("zz", "1")))

    assert sorted(meter.smart_meter_id for meter in found) == ["1", "zz"]
