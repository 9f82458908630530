"""Parquet files of any types that hold what is meant; and readings that come back as they went."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from meterport.domain.errors import ImportRefused
from meterport.domain.period import Period
from meterport.domain.readings import KEY, READING_SCHEMA, SMART_METER_ID
from meterport.importers import importer_for, parquet
from meterport.importers.base import FileReport
from meterport.importers.options import ImportOptions
from meterport.services import import_options
from meterport.services.import_readings import import_files
from tests import make

OURS = ImportOptions()
TIME, ENERGY, ROW = pl.col("timestamp"), pl.col("energy_kwh"), pl.int_range(pl.len())
BAD_ROW = "nothing was imported; bad rows:\na.parquet: row {}: {}"
UNREADABLE = "a.parquet: this is not a readable Parquet file"


def two_rows(*changes: pl.Expr | pl.Series) -> pl.DataFrame:
    """The first two minutes of 2024, with 0.5 and 0.6 kWh, and what is changed of that."""
    columns = ["timestamp", "smart_meter_id", "energy_kwh"]
    return make.readings(0.5, 0.6).select(columns).with_columns(*changes)


def file(folder: Path, frame: pl.DataFrame) -> Path:
    path = folder / "a.parquet"
    frame.write_parquet(path)
    return path


def options(*maps: str, timezone: str | None = None) -> ImportOptions:
    return import_options.options(import_options.Said(maps, timezone=timezone))


def read(
    path: Path, chosen: ImportOptions = OURS, report: FileReport | None = None
) -> pl.DataFrame:
    batches = importer_for(path).read(path, chosen, report or FileReport(path))
    return pl.concat([READING_SCHEMA.to_frame(), *batches])


def refusal(path: Path, chosen: ImportOptions = OURS) -> str:
    with pytest.raises(ImportRefused) as refused:
        read(path, chosen)
    return refused.value.message


def import_into(home: make.Home, *paths: Path) -> None:
    services = home.services
    import_files(
        paths,
        OURS,
        source=services.source,
        store=services.readings,
        catalog=services.catalog,
        audit=services.audit,
    )


def test_columns_may_come_in_any_order_with_others_between(tmp_path: Path) -> None:
    path = file(
        tmp_path,
        two_rows(pl.lit([1, 2]).alias("samples"), pl.lit("x").alias("note")).select(
            "note", "energy_kwh", "samples", "smart_meter_id", "timestamp"
        ),
    )
    report = FileReport(path)

    frame = read(path, report=report)

    assert frame.schema == READING_SCHEMA
    assert frame.rows() == [
        (make.JANUARY, None, "123", 0.5, None, None, None, None, None),
        (make.JANUARY.replace(minute=1), None, "123", 0.6, None, None, None, None, None),
    ]
    assert report.rows == 2
    assert report.ignored_columns == ["note", "samples"]
    assert report.missing_columns == [
        "interval_s",
        "power_kw",
        "voltage_v",
        "current_a",
        "energy_export_kwh",
        "quality",
    ]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(TIME.dt.convert_time_zone("Europe/Berlin"), id="another zone"),
        pytest.param(TIME.dt.convert_time_zone("Asia/Kathmandu"), id="a zone of odd minutes"),
        pytest.param(TIME.dt.cast_time_unit("ms"), id="ms"),
        pytest.param(TIME.dt.cast_time_unit("us"), id="us"),
        pytest.param(TIME.dt.cast_time_unit("ns"), id="ns"),
        pytest.param(TIME.dt.strftime("%Y-%m-%dT%H:%M:%SZ"), id="text"),
        pytest.param(
            TIME.dt.convert_time_zone("Europe/Berlin").dt.strftime("%Y-%m-%d %H:%M%z"),
            id="text in another zone",
        ),
    ],
)
def test_times_of_any_zone_and_unit_are_the_same_instants(tmp_path: Path, change: pl.Expr) -> None:
    frame = read(file(tmp_path, two_rows(change)))

    assert frame["timestamp"].to_list() == [make.JANUARY, make.JANUARY.replace(minute=1)]


def test_both_of_an_hour_that_comes_twice_are_kept_apart(tmp_path: Path) -> None:
    start = datetime(2024, 10, 27, 0, 30, tzinfo=UTC)
    local = make.readings(0.5, 0.6, start=start, interval_s=3600).with_columns(
        TIME.dt.convert_time_zone("Europe/Berlin")
    )

    frame = read(file(tmp_path, local))

    assert frame["timestamp"].to_list() == [start, start + timedelta(hours=1)]


def test_times_without_a_zone_are_refused_with_the_remedy(tmp_path: Path) -> None:
    path = file(tmp_path, two_rows(TIME.dt.replace_time_zone(None)))

    assert refusal(path) == (
        "a.parquet: timestamps without a time zone; say which: --timezone UTC, "
        "--timezone Europe/Berlin, …"
    )


def test_times_without_a_zone_are_read_in_the_zone_that_is_said(tmp_path: Path) -> None:
    naive = [datetime(2024, 1, 15, 12), datetime(2024, 7, 15, 12)]  # noqa: DTZ001 - on purpose
    path = file(tmp_path, two_rows(pl.Series("timestamp", naive, pl.Datetime("ms"))))

    frame = read(path, options(timezone="Europe/Berlin"))

    assert frame["timestamp"].to_list() == [
        datetime(2024, 1, 15, 11, tzinfo=UTC),
        datetime(2024, 7, 15, 10, tzinfo=UTC),
    ]


@pytest.mark.parametrize(
    "local",
    [
        pytest.param(datetime(2024, 3, 31, 2, 30), id="an hour that is skipped"),  # noqa: DTZ001
        pytest.param(datetime(2024, 10, 27, 2, 30), id="an hour that comes twice"),  # noqa: DTZ001
    ],
)
def test_a_local_time_that_names_no_single_instant_is_refused(
    tmp_path: Path, local: datetime
) -> None:
    naive = [local - timedelta(hours=1), local]
    path = file(tmp_path, two_rows(pl.Series("timestamp", naive)))

    message = refusal(path, options(timezone="Europe/Berlin"))

    assert message.startswith(BAD_ROW.format(2, "timestamp: "))


@pytest.mark.parametrize(
    "times",
    [
        pytest.param(TIME + pl.duration(milliseconds=500 * ROW), id="a half second"),
        pytest.param(
            TIME.dt.cast_time_unit("ns") + pl.duration(nanoseconds=ROW, time_unit="ns"),
            id="a nanosecond",
        ),
        pytest.param(pl.when(ROW == 0).then(TIME), id="null"),
        pytest.param(pl.when(ROW == 0).then(TIME).otherwise(TIME.dt.offset_by("-125y")), id="1899"),
        pytest.param(pl.when(ROW == 0).then(TIME).otherwise(TIME.dt.offset_by("177y")), id="2201"),
        pytest.param(
            (TIME.dt.epoch("ms") * (1 + 9999 * ROW)).cast(pl.Datetime("ms", "UTC")),
            id="a year beyond 9999",
        ),
    ],
)
def test_a_time_that_is_no_whole_second_of_these_centuries_is_refused_by_row(
    tmp_path: Path, times: pl.Expr
) -> None:
    message = refusal(file(tmp_path, two_rows(times.alias("timestamp"))))

    assert message.startswith(BAD_ROW.format(2, "timestamp: "))


def test_whole_numbers_are_no_times_unless_that_is_said(tmp_path: Path) -> None:
    seconds = file(tmp_path, two_rows(TIME.dt.epoch("s")))

    message = refusal(seconds)
    frame = read(seconds, options("timestamp=timestamp:epoch_s"))

    assert message == (
        "a.parquet: the timestamp column holds Int64, not date-times; "
        "seconds since 1970 are --map timestamp=COLUMN:epoch_s"
    )
    assert frame["timestamp"].to_list() == [make.JANUARY, make.JANUARY.replace(minute=1)]


@pytest.mark.parametrize(
    ("values", "energy_kwh"),
    [
        (pl.Series([0.5, None], dtype=pl.Float32), [0.5, None]),
        (pl.Series([7, -3], dtype=pl.Int8), [7.0, -3.0]),
        (pl.Series([7, None], dtype=pl.Int64), [7.0, None]),
        (pl.Series([7, 8], dtype=pl.UInt32), [7.0, 8.0]),
        (pl.Series(["0.123", None]).cast(pl.Decimal(9, 3)), [0.123, None]),
        (pl.Series(["0.5", " "]), [0.5, None]),
        (pl.Series([None, None]), [None, None]),
    ],
    ids=lambda value: str(value.dtype) if isinstance(value, pl.Series) else "",
)
def test_values_may_be_of_any_type_of_number(
    tmp_path: Path, values: pl.Series, energy_kwh: list[float | None]
) -> None:
    frame = read(file(tmp_path, two_rows(values.alias("energy_kwh"))))

    assert frame["energy_kwh"].to_list() == energy_kwh


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        (pl.Series([7, 8], dtype=pl.Int64), ["7", "8"]),
        (pl.Series(["a", "b"], dtype=pl.Categorical), ["a", "b"]),
        (pl.Series([" a", "b "]), ["a", "b"]),
    ],
    ids=lambda value: str(value.dtype) if isinstance(value, pl.Series) else "",
)
def test_meter_ids_may_be_numbers_or_categories(
    tmp_path: Path, ids: pl.Series, text: list[str]
) -> None:
    frame = read(file(tmp_path, two_rows(ids.alias("smart_meter_id"))))

    assert frame["smart_meter_id"].to_list() == text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("kind", [pl.Float32, pl.Float64])
def test_a_number_that_is_not_finite_is_refused_by_row(
    tmp_path: Path, value: float, kind: type[pl.Float32 | pl.Float64]
) -> None:
    values = pl.Series("energy_kwh", [0.5, value], dtype=kind)

    message = refusal(file(tmp_path, two_rows(values)))

    assert message == BAD_ROW.format(2, "energy_kwh: a number is not a finite number")


def test_rows_are_counted_through_the_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "BATCH_ROWS", 10)
    path = tmp_path / "a.parquet"
    bad = pl.when(ROW == 72).then(float("nan")).otherwise(ENERGY)
    make.many_readings(100).with_columns(bad.alias("energy_kwh")).write_parquet(
        path, row_group_size=25
    )

    message = refusal(path)

    assert message == BAD_ROW.format(73, "energy_kwh: a number is not a finite number")


def test_batches_keep_the_rows_and_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "BATCH_ROWS", 10)
    path = tmp_path / "a.parquet"
    rows = make.many_readings(1000).reverse()
    rows.write_parquet(path, row_group_size=25)

    report = FileReport(path)

    frame = read(path, report=report)

    assert_frame_equal(frame, rows)
    assert report.rows == 1000


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("energy_kwh", pl.Series([[1.0], [2.0]])),
        ("energy_kwh", pl.Series([b"1", b"2"])),
        ("energy_kwh", pl.Series([True, False])),
        ("energy_kwh", pl.Series([timedelta(hours=1)] * 2)),
        ("energy_kwh", pl.Series([make.JANUARY] * 2)),
        ("interval_s", pl.Series([60.5, 60.5])),
        ("interval_s", pl.Series([timedelta(minutes=1)] * 2, dtype=pl.Duration("ms"))),
        ("interval_s", pl.Series([True, True])),
        ("timestamp", pl.Series([make.JANUARY.date()] * 2)),
    ],
    ids=lambda value: str(value.dtype) if isinstance(value, pl.Series) else value,
)
def test_a_column_that_holds_something_else_is_refused_by_name(
    tmp_path: Path, column: str, values: pl.Series
) -> None:
    path = file(tmp_path, two_rows(values.alias(column)))

    message = refusal(path)

    assert "a.parquet: " in message
    assert column in message


@pytest.mark.parametrize("content", [b"", b"timestamp,energy_kwh\n" * 9, b"PAR1" + bytes(99)])
def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(content)

    assert refusal(path) == UNREADABLE


def test_a_file_that_was_cut_is_refused(tmp_path: Path) -> None:
    path = file(tmp_path, make.many_readings(1000))
    path.write_bytes(path.read_bytes()[:-100])

    assert refusal(path) == UNREADABLE


def test_damage_in_a_later_part_keeps_the_earlier_ones_out(tmp_path: Path) -> None:
    home = make.home(tmp_path)
    path = tmp_path / "a.parquet"
    make.many_readings(60_000).write_parquet(path, row_group_size=10_000)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = bytes(2000)
    path.write_bytes(content)

    with pytest.raises(ImportRefused) as refused:
        import_into(home, path)

    assert refused.value.message == UNREADABLE
    assert (home.services.source.version(), home.services.catalog.all()) == (0, [])


@pytest.mark.parametrize("name", ["a[1].parquet", "a*.parquet", "a?.parquet", "a b.PARQUET"])
def test_a_name_is_that_of_one_file_and_no_pattern(tmp_path: Path, name: str) -> None:
    make.readings(7.0).write_parquet(tmp_path / "ab.parquet")
    make.readings(0.5).write_parquet(tmp_path / name)

    frame = read(tmp_path / name)

    assert frame["energy_kwh"].to_list() == [0.5]


@st.composite
def any_readings(draw: st.DrawFn) -> pl.DataFrame:
    """In any order; no interval reaches into the next one of its meter, which would replace it."""
    value = st.none() | st.floats(allow_nan=False, allow_infinity=False)
    row = st.tuples(
        st.integers(-2_208_988_800, 7_258_118_399).map(lambda s: datetime.fromtimestamp(s, UTC)),
        st.integers(1, 31 * 86_400),
        st.from_regex(SMART_METER_ID, fullmatch=True),
        *[value] * 5,
        st.none() | st.from_regex("[a-z][a-z0-9_-]{0,31}", fullmatch=True),
    )
    rows = draw(st.lists(row, min_size=1, max_size=20, unique_by=lambda r: (r[2], r[0])))
    drawn = pl.DataFrame(rows, READING_SCHEMA, orient="row")
    until_next_s = pl.col("timestamp").shift(-1).over("smart_meter_id", order_by="timestamp")
    until_next_s = (until_next_s - pl.col("timestamp")).dt.total_seconds()
    shortened = pl.min_horizontal("interval_s", until_next_s).cast(pl.Int32)
    return drawn.with_columns(shortened.alias("interval_s"))


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
@settings(max_examples=12, deadline=None)
@given(readings=any_readings())
def test_readings_come_back_as_they_stood_in_the_file(
    tmp_path_factory: pytest.TempPathFactory, name: str, readings: pl.DataFrame
) -> None:
    folder = tmp_path_factory.mktemp("round")
    home, path = make.home(folder), folder / name
    readings.write_csv(path) if path.suffix == ".csv" else readings.write_parquet(path)

    import_into(home, path)

    meters = readings["smart_meter_id"].unique().to_list()
    ever = Period(datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 2, tzinfo=UTC))
    found = home.services.source.scan(meters, ever, columns=READING_SCHEMA.names())
    assert_frame_equal(pl.concat(found), readings.sort(KEY), check_exact=True)
