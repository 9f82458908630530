"""Readings in a table of PostgreSQL: the same frames as from the Delta table of the same data."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from urllib.parse import urlencode

import polars as pl
import psycopg
import pytest
from sqlalchemy import make_url

from meterport.domain.errors import (
    ImportRefused,
    SourceDataInvalid,
    SourceUnavailable,
    StartRefused,
)
from meterport.domain.period import Period
from meterport.domain.readings import READING_SCHEMA, MeterSummary
from meterport.sources.postgres import PostgresSource
from tests import make
from tests.contracts.conftest import ALL, Postgres, Readings, delta_folder

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
FRAMES = (
    make.readings(1, None, 3.25, meter="A"),
    make.readings(4, 5, meter="A", start=make.JANUARY + 40 * DAY, interval_s=900),
    make.readings(6, meter="B-2", start=make.JANUARY - DAY),
    make.readings(7, 8, 9, meter="a", interval_s=3600),
    make.many_readings(3 * 1440, meter="long"),
)
METERS = ["A", "B-2", "a", "long"]
TABLE = """
    CREATE TABLE {name} (
        {timestamp} timestamptz NOT NULL, {interval_s} integer, {smart_meter_id} text NOT NULL,
        {energy_kwh} double precision, {power_kw} double precision, {voltage_v} double precision,
        {current_a} double precision, {energy_export_kwh} double precision, {quality} text,
        PRIMARY KEY ({smart_meter_id}, {timestamp}))
"""
OWN = {name: name for name in READING_SCHEMA}


@pytest.fixture(scope="module")
def database(postgres: Postgres) -> Iterator[str]:
    """The plain URL of a database of its own."""
    name = postgres.create()
    url = make_url(postgres.url(name)).set(drivername="postgresql")
    yield url.render_as_string(hide_password=False)
    postgres.drop(name)


@pytest.fixture(scope="module")
def table(database: str) -> str:
    """Its readings are those of FRAMES."""
    fill(database, "readings", OWN, *FRAMES)
    return f"{database}?table=readings"


@pytest.fixture(scope="module")
def delta(tmp_path_factory: pytest.TempPathFactory) -> Readings:
    made = delta_folder(tmp_path_factory.mktemp("delta") / "readings")
    made.merge(*FRAMES)
    return made


def fill(database: str, table: str, names: Mapping[str, str], *frames: pl.DataFrame) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(TABLE.format(name=table, **names).encode())
        with connection.cursor().copy(f"COPY {table} FROM STDIN".encode()) as copy:
            for row in pl.concat(frames).iter_rows():
                copy.write_row(row)


def rows(source: PostgresSource, *meters: str, period: Period = ALL) -> pl.DataFrame:
    frames = source.scan(meters or METERS, period, columns=READING_SCHEMA.names())
    return pl.concat([pl.DataFrame(schema=READING_SCHEMA), *frames])


def test_all_readings_are_those_of_the_delta_table(table: str, delta: Readings) -> None:
    found = rows(PostgresSource(table))

    expected = delta.source.scan(METERS, ALL, columns=READING_SCHEMA.names())
    assert found.equals(pl.concat(expected))
    assert found.schema == READING_SCHEMA
    assert found.height == 9 + 3 * 1440


@pytest.mark.parametrize("first", [-1441, 0, 1, 2, 57_600, 100_000])
@pytest.mark.parametrize("minutes", [1, 60, 1440, 90_000])
def test_a_period_is_half_open_as_in_the_delta_table(
    first: int, minutes: int, table: str, delta: Readings
) -> None:
    period = make.period(make.JANUARY + first * MINUTE, minutes=minutes)

    found = rows(PostgresSource(table), period=period)

    expected = delta.source.scan(METERS, period, columns=READING_SCHEMA.names())
    assert found.equals(pl.concat([pl.DataFrame(schema=READING_SCHEMA), *expected]))


def test_a_long_meter_is_split_between_days_and_short_ones_stay_whole(table: str) -> None:
    source = PostgresSource(table, frame_rows=1440)

    frames = list(source.scan(METERS, ALL, columns=("smart_meter_id", "timestamp")))

    assert [(f["smart_meter_id"][0], f["smart_meter_id"][-1], f.height) for f in frames] == [
        ("A", "a", 9),
        ("long", "long", 1440),
        ("long", "long", 1440),
        ("long", "long", 1440),
    ]


def test_the_meters_are_those_of_the_delta_table(table: str, delta: Readings) -> None:
    source = PostgresSource(table)

    assert list(source.summaries()) == list(delta.source.summaries())
    assert [meter.smart_meter_id for meter in source.all()] == METERS


def test_a_meter_is_found_by_its_first_and_last_reading(table: str) -> None:
    last = make.JANUARY + 3 * DAY - MINUTE

    assert PostgresSource(table).get("long") == MeterSummary(
        "long", make.JANUARY, last, interval_s=60, rows=3 * 1440
    )


@pytest.mark.parametrize("meter", ["", "nobody", "a'; DROP TABLE readings; --"])
def test_an_unknown_meter_has_no_readings(meter: str, table: str) -> None:
    source = PostgresSource(table)

    assert source.get(meter) is None
    assert rows(source, meter).is_empty()


def test_a_table_may_have_other_names_and_fewer_columns(database: str) -> None:
    names = OWN | {"timestamp": "ts", "smart_meter_id": '"Zähler Nr"', "energy_kwh": "kwh"}
    fill(database, "others", names, make.readings(0.5, 0.75, meter="A"))
    asked = {
        **{"table": "public.others", "timestamp": "ts", "smart_meter_id": "Zähler Nr"},
        **{"energy_kwh": "kwh", "power_kw": "", "quality": "", "interval_s": "", "interval": "60"},
    }

    found = rows(PostgresSource(f"{database}?{urlencode(asked)}"), "A")

    assert found["energy_kwh"].to_list() == [0.5, 0.75]
    assert found["interval_s"].to_list() == [60, 60]
    assert found["power_kw"].to_list() == [None, None]
    assert found["voltage_v"].to_list() == [230.1, 230.1]


def test_it_has_no_versions(table: str) -> None:
    source = PostgresSource(table)

    assert source.version() is None
    assert not source.keeps(1)


def test_nothing_is_written_to_it(table: str) -> None:
    with (
        pytest.raises(ImportRefused, match="write, erase and back them up there"),
        PostgresSource(table).writing(patience=MINUTE),
    ):
        pass


@pytest.mark.parametrize(
    "wrong", ["", "?table=", "?table=readings&interval=1.5", "?table=readings&interval_s="]
)
def test_a_wrong_url_is_told(wrong: str, database: str) -> None:
    with pytest.raises(StartRefused, match="METERPORT_READINGS_URL"):
        PostgresSource(database + wrong)


@pytest.mark.parametrize("wrong", ["?table=nothing", "?table=readings&energy_kwh=nothing"])
def test_a_table_or_column_that_is_not_there_is_told(wrong: str, database: str, table: str) -> None:
    with pytest.raises(SourceDataInvalid, match="does not exist"):
        rows(PostgresSource(database + wrong))


@pytest.mark.usefixtures("table")
def test_readings_that_are_there_twice_are_told(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(
            "CREATE VIEW doubled AS SELECT * FROM readings UNION ALL SELECT * FROM readings"
        )

    with pytest.raises(SourceDataInvalid, match="more than one reading"):
        rows(PostgresSource(f"{database}?table=doubled"), "A")


def test_a_database_that_is_away_may_come_back() -> None:
    with pytest.raises(SourceUnavailable) as failure:
        rows(PostgresSource("postgresql://nobody@127.0.0.1:1/none?table=readings"))

    assert failure.value.retryable
