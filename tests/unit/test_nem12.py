"""NEM12, byte for byte, read back by two independent readers, and by our own import."""

import io
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain

import aemo_mdff_reader
import nemreader
import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from meterport.domain.errors import FormatCannotHold
from meterport.domain.period import Period
from meterport.domain.readings import READING_SCHEMA
from meterport.domain.sheets import Sheet
from meterport.encoders import nem12
from meterport.importers import nem12 as importer
from meterport.importers.base import FileReport
from meterport.importers.options import ImportOptions

MIDNIGHT = datetime(2024, 1, 31, 14, tzinfo=UTC)
"""The first of February in market time."""
HALF_HOUR = timedelta(minutes=30)
NMI = "6001234567"
SHEET = Sheet(
    (NMI,), Period(MIDNIGHT, MIDNIGHT + timedelta(days=7)), datetime(2024, 2, 8, 20, 5, tzinfo=UTC)
)
HEADER, END = "100,NEM12,202402090605,METERPORT,METERPORT", "900"
BEHIND = ",,,20240209060500,"
METHODS = {None: "A", "estimated": "E", "substituted": "S", "final_substituted": "F"}
Cell = tuple[float | None, float | None, str | None]
"""Energy, energy fed in, quality."""


def readings(
    *cells: Cell | None, start: datetime = MIDNIGHT, meter: str = NMI, interval_s: int = 1800
) -> pl.DataFrame:
    """One interval after another; None is a gap."""
    rows = [
        (start + timedelta(seconds=interval_s * at), interval_s, meter, cell)
        for at, cell in enumerate(cells)
        if cell is not None
    ]
    empty = (None, None, None)
    return pl.DataFrame(
        [(t, s, m, cell[0], *empty, cell[1], cell[2]) for t, s, m, cell in rows],
        schema=READING_SCHEMA,
        orient="row",
    )


def encoded(*frames: pl.DataFrame) -> str:
    sink = io.BytesIO()
    nem12.FORMAT.encode(frames, sink, SHEET)
    return sink.getvalue().decode()


def lines(*frames: pl.DataFrame) -> list[str]:
    first, *between, last, rest = encoded(*frames).split("\r\n")
    assert (first, last, rest) == (HEADER, END, "")
    return between


def refusal(*frames: pl.DataFrame) -> FormatCannotHold:
    with pytest.raises(FormatCannotHold) as refused:
        encoded(*frames)
    return refused.value


def test_a_day_is_written_as_it_stands_here() -> None:
    frame = readings((0.5, None, None), (0.25, None, None), *[(1.0, None, None)] * 46)

    assert encoded(frame) == (
        "100,NEM12,202402090605,METERPORT,METERPORT\r\n"
        "200,6001234567,E1,E1,E1,,,kWh,30,\r\n"
        "300,20240201,0.5,0.25,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,"
        "1,1,1,1,1,1,1,1,1,1,1,1,A,,,20240209060500,\r\n"
        "900\r\n"
    )


def test_feed_in_is_a_channel_of_its_own_behind_all_the_consumption() -> None:
    frame = readings(*[(1.0, None, None)] * 48, *[(2.0, 3.0, None)] * 48)
    ones, twos, threes, noughts = (",".join([n] * 48) for n in "1230")

    assert lines(frame) == [
        "200,6001234567,E1B1,E1,E1,,,kWh,30,",
        f"300,20240201,{ones},A{BEHIND}",
        f"300,20240202,{twos},A{BEHIND}",
        "200,6001234567,E1B1,B1,B1,,,kWh,30,",
        f"300,20240201,{noughts},N,,,,",
        f"300,20240202,{threes},A{BEHIND}",
    ]


def test_what_is_missing_or_outside_of_the_period_is_null_data() -> None:
    frame = readings((None, None, None), (1.0, None, None), None, start=MIDNIGHT + HALF_HOUR)

    assert lines(frame)[1:] == [
        f"300,20240201,0,0,1,{','.join('0' * 45)},V{BEHIND}",
        "400,1,2,N,,",
        "400,3,3,A,,",
        "400,4,48,N,,",
    ]


def test_a_day_without_readings_is_left_out() -> None:
    frame = readings((1.0, None, None), *[None] * 95, (1.0, None, None))

    assert [line[:12] for line in lines(frame) if line[:3] == "300"] == [
        "300,20240201",
        "300,20240203",
    ]


def test_qualities_are_methods() -> None:
    words = ["estimated", "substituted", "final_substituted", None]

    found = lines(readings(*((1.0, None, word) for word in words for _ in range(12))))

    assert found[2:] == ["400,1,12,E,,", "400,13,24,S,,", "400,25,36,F,,", "400,37,48,A,,"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e-7, "0.0000001"),
        (1.5e-9, "0.0000000015"),
        (999_999_999_999_999.9, "999999999999999.9"),
    ],
)
def test_numbers_are_written_in_full_without_exponent(value: float, text: str) -> None:
    assert lines(readings((value, None, None)))[1].split(",")[2] == text


def test_another_interval_length_is_another_200_record() -> None:
    frames = [
        readings((1.0, None, None)),
        readings((2.0, None, None), start=MIDNIGHT + timedelta(days=1), interval_s=300),
        readings((3.0, None, None), start=MIDNIGHT + timedelta(days=2), interval_s=900),
    ]

    found = [line for line in lines(*frames) if line[:3] == "200"]

    assert found == [f"200,6001234567,E1,E1,E1,,,kWh,{minutes}," for minutes in (30, 5, 15)]


def test_without_readings_there_is_a_header_and_an_end() -> None:
    assert lines() == []
    assert lines(readings()) == []


REFUSED = {
    "a long id": (
        readings((1.0, None, None), meter="60012345678"),
        "Meter '60012345678': NEM12 holds ids (NMIs) of at most 10 characters",
        "Choose another format, or meters with shorter ids",
    ),
    "an interval of a minute": (
        readings((1.0, None, None), interval_s=60),
        "Meter 6001234567 at 2024-01-31T14:00:00Z: an interval of 60 seconds, but NEM12 holds "
        "those of 5, 15 and 30 minutes",
        "Choose another format, or a resolution that NEM12 has",
    ),
    "two lengths on a day": (
        pl.concat(
            [
                readings((1.0, None, None)),
                readings((1.0, None, None), start=MIDNIGHT + HALF_HOUR, interval_s=900),
            ]
        ),
        "Meter 6001234567 at 2024-01-31T14:30:00Z: an interval of 900 seconds on a day (UTC+10) "
        "that began with 1800; a day of NEM12 has one length",
        "Choose another format, or periods that leave this day out",
    ),
    "between two intervals": (
        readings((1.0, None, None), start=MIDNIGHT + timedelta(minutes=7)),
        "Meter 6001234567 at 2024-01-31T14:07:00Z: NEM12 counts its 30-minute intervals from "
        "midnight (UTC+10), and this one begins between two of them",
        "Choose another format",
    ),
    "below zero": (
        readings((1.0, None, None), (-0.5, None, None)),
        "Meter 6001234567 at 2024-01-31T14:30:00Z: energy_kwh is -0.5, but NEM12 holds values "
        "from 0 to below 1e15",
        "Choose another format, or mend the reading",
    ),
    "too large": (
        readings((1.0, 1e15, None)),
        "Meter 6001234567 at 2024-01-31T14:00:00Z: energy_export_kwh is 1000000000000000.0, but "
        "NEM12 holds values from 0 to below 1e15",
        "Choose another format, or mend the reading",
    ),
    "an unknown quality": (
        readings((1.0, None, "edited")),
        "Meter 6001234567 at 2024-01-31T14:00:00Z: NEM12 has no quality 'edited'; it has "
        "estimated, substituted and final_substituted",
        "Choose another format, or import the readings with one of these words",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_nem12_cannot_hold_is_refused_with_meter_time_and_remedy(name: str) -> None:
    frame, message, remedy = REFUSED[name]

    error = refusal(frame)

    assert (error.message, error.details) == (message, remedy)
    assert (error.code, error.retryable) == ("FORMAT_CANNOT_HOLD", False)


VALUES = (
    st.none() | st.floats(0, 1e15, exclude_max=True) | st.integers(0, 9999).map(lambda n: n / 1000)
)
CELLS = st.none() | st.tuples(VALUES, VALUES, st.sampled_from(list(METHODS)))
METERS = st.lists(st.lists(CELLS, min_size=1, max_size=100), min_size=1, max_size=3)


def some_frames(
    meters: list[list[Cell | None]], offset: int, rows_per_frame: int
) -> list[pl.DataFrame]:
    start = MIDNIGHT + offset * HALF_HOUR
    whole = pl.concat(
        [readings(*cells, start=start, meter=f"NMI{at}") for at, cells in enumerate(meters)]
    )
    return [
        whole.slice(at, rows_per_frame) for at in range(0, max(1, whole.height), rows_per_frame)
    ]


def expected(frames: list[pl.DataFrame]) -> dict[tuple[str, str, datetime], tuple[float, str]]:
    """By meter, channel and start in market time: the value and the quality method."""
    return {
        (
            row["smart_meter_id"],
            channel,
            row["timestamp"].replace(tzinfo=None) + timedelta(hours=10),
        ): (
            row[column],
            METHODS[row["quality"]],
        )
        for frame in frames
        for row in frame.iter_rows(named=True)
        for channel, column in (("E1", "energy_kwh"), ("B1", "energy_export_kwh"))
        if row[column] is not None
    }


@hypothesis_settings(max_examples=25, deadline=None)
@given(METERS, st.integers(0, 47), st.integers(1, 120))
def test_nemreader_reads_every_value_time_and_quality(
    meters: list[list[Cell | None]], offset: int, rows_per_frame: int
) -> None:
    frames = some_frames(meters, offset, rows_per_frame)

    text = encoded(*frames)

    parser = nemreader.NEMFile("a.csv")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = parser.parse_nem_file(io.StringIO(text)).readings
    found = {
        (nmi, channel, row.t_start): (row.read_value, row.quality_method)
        for nmi, channels in theirs.items()
        for channel, rows in channels.items()
        for row in rows
        if row.quality_method != "N"
    }
    assert found == expected(frames)


@hypothesis_settings(max_examples=25, deadline=None)
@given(METERS, st.integers(0, 47), st.integers(1, 120))
def test_aemo_mdff_reader_reads_every_value_time_and_quality(
    meters: list[list[Cell | None]], offset: int, rows_per_frame: int
) -> None:
    frames = some_frames(meters, offset, rows_per_frame)

    text = encoded(*frames)

    assert [
        issue for issue in aemo_mdff_reader.validate_file(io.StringIO(text)) if "NMI" not in issue
    ] == []
    ranges = {
        (event.nmi, event.register_id, event.interval_date, index): event.quality_method
        for event in aemo_mdff_reader.parse_events(io.StringIO(text))
        for index in range(event.start_interval, event.end_interval + 1)
    }
    found = {}
    for row in aemo_mdff_reader.parse(io.StringIO(text)):
        key = (row.nmi, row.register_id, row.interval_date, row.interval_index)
        method = ranges[key] if row.quality_method == "V" else row.quality_method
        if method != "N":
            found[row.nmi, row.nmi_suffix, row.interval_start] = (row.value, method)
    assert found == expected(frames)


@hypothesis_settings(max_examples=25, deadline=None)
@given(METERS, st.integers(0, 47), st.integers(1, 120))
def test_an_import_of_the_export_gives_the_same_readings(
    tmp_path_factory: pytest.TempPathFactory,
    meters: list[list[Cell | None]],
    offset: int,
    rows_per_frame: int,
) -> None:
    known: list[list[Cell | None]] = [
        [cell for cell in cells if cell and cell[:2] != (None, None)] for cells in meters
    ]
    frames = some_frames([*known, [(1.0, None, None)]], offset, rows_per_frame)
    path = tmp_path_factory.mktemp("nem12") / "a.csv"
    path.write_bytes(encoded(*frames).encode())

    again = pl.concat(importer.read(path, ImportOptions(), FileReport(path)))

    assert again.rows() == list(chain.from_iterable(frame.rows() for frame in frames))


@hypothesis_settings(max_examples=15, deadline=None)
@given(METERS, st.integers(1, 120))
def test_the_bytes_do_not_depend_on_how_the_frames_are_cut(
    meters: list[list[Cell | None]], rows_per_frame: int
) -> None:
    assert encoded(*some_frames(meters, 3, rows_per_frame)) == encoded(
        *some_frames(meters, 3, 10_000)
    )


def test_a_meter_is_written_when_the_one_after_the_next_has_been_read() -> None:
    sink = io.BytesIO()
    written: list[bool] = []

    def frames() -> Iterator[pl.DataFrame]:
        for meter in ("a", "b", "c", "d"):
            written.append(b"200,a," in sink.getvalue())
            yield readings((1.0, None, None), meter=meter)

    nem12.FORMAT.encode(frames(), sink, SHEET)

    assert written == [False, False, False, True]
