"""What an export's options may say: their words, their defaults, and how each mistake is told."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterport.domain.errors import InvalidRequest
from meterport.domain.exports import ExportRequest
from meterport.domain.options import (
    Compression,
    CsvDialect,
    ExportOptions,
    Layout,
    compression_of,
)
from meterport.domain.readings import READING_SCHEMA
from meterport.domain.shapes import Gaps, Label, Resolution, Shape
from meterport.services.submit_export import check_options, known_format
from tests import make

OTHERS = [name for name in READING_SCHEMA if name != "timestamp"]
COLUMNS = st.none() | st.lists(st.sampled_from(OTHERS), unique=True).flatmap(
    lambda names: st.permutations(["timestamp", *names]).map(tuple)
)
DIALECTS = st.builds(
    CsvDialect,
    delimiter=st.sampled_from(";|\t"),
    decimal=st.sampled_from(".,"),
    bom=st.booleans(),
    header=st.booleans(),
    line_end=st.sampled_from(["\n", "\r\n"]),
) | st.just(CsvDialect())
OPTIONS = st.builds(
    ExportOptions,
    shape=st.builds(
        Shape,
        resolution=st.sampled_from(Resolution),
        zone=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu"]),
        gaps=st.sampled_from(Gaps),
        label=st.sampled_from(Label),
        columns=COLUMNS,
        with_count=st.booleans(),
    ),
    csv=DIALECTS,
    layout=st.sampled_from(Layout),
    as_of=st.none() | st.integers(0, 2**63 - 1),
)
KNOWN = "raw, 1m, 5m, 15m, 30m, 1h, 1d, 1mo"
RESOLUTIONS = f"known: {KNOWN}"
VERSIONS = "as_of must be a version, a whole number from 0 to 9223372036854775807"
FORMAT_NAMES = "csv, json, ndjson, xml, nem12, parquet, xlsx"
NAMES = (
    "known: timestamp, interval_s, smart_meter_id, energy_kwh, power_kw, voltage_v, current_a, "
    "energy_export_kwh, quality"
)
FIELDS = (
    "known: columns, resolution, timezone, gaps, interval_label, with_count, csv, layout, as_of"
)


def refusal(**words: object) -> tuple[str, str]:
    with pytest.raises(InvalidRequest) as refused:
        ExportOptions.requested(words)
    return refused.value.code, refused.value.message


def requested(
    format: str,  # noqa: A002 - the contract's word
    compression: str = "none",
    **words: object,
) -> ExportRequest:
    options = ExportOptions.requested(words)
    return ExportRequest(
        "123", make.period(), format, compression=compression_of(compression), options=options
    )


@given(OPTIONS)
def test_the_words_of_options_make_the_same_options(options: ExportOptions) -> None:
    stored = json.dumps(options.words())

    assert ExportOptions.requested(json.loads(stored)) == options


@given(OPTIONS)
def test_stored_options_are_the_same_when_they_are_read(options: ExportOptions) -> None:
    assert ExportOptions.stored(json.loads(json.dumps(options.words()))) == options


def test_without_a_word_the_options_are_the_contracts_own() -> None:
    options = ExportOptions.requested({})

    assert options == ExportOptions()
    assert options.words() == {}
    assert options.shape.written == (
        *("timestamp", "smart_meter_id", "energy_kwh", "power_kw", "voltage_v", "current_a"),
    )
    assert (options.shape.resolution, options.shape.zone) == ("raw", "UTC")
    assert (options.shape.gaps, options.shape.label) == ("omit", "start")
    assert options.shape.with_count is False
    assert options.csv == CsvDialect(
        delimiter=",", decimal=".", bom=False, header=True, line_end="\n"
    )
    assert (options.layout, options.as_of) == ("one_file", None)


def test_every_option_is_taken_as_it_is_said() -> None:
    options = ExportOptions.requested(
        {
            "columns": ["quality", "timestamp"],
            "resolution": "15m",
            "timezone": "Europe/Berlin",
            "gaps": "flag",
            "interval_label": "both",
            "with_count": True,
            "csv": {
                "delimiter": "tab",
                "decimal": ",",
                "bom": True,
                "header": False,
                "line_end": "crlf",
            },
            "layout": "file_per_meter",
            "as_of": 7,
        }
    )

    assert options.shape.written == ("quality", "timestamp", "interval_end", "readings", "gap")
    assert (options.shape.step_s, options.shape.zone) == (900, "Europe/Berlin")
    assert options.csv == CsvDialect("\t", ",", bom=True, header=False, line_end="\r\n")
    assert (options.layout, options.as_of) == (Layout.FILE_PER_METER, 7)


def test_what_was_said_is_repeated_without_what_goes_without_saying() -> None:
    options = ExportOptions.requested(
        {"resolution": "1h", "timezone": "UTC", "csv": {"decimal": ","}, "columns": ["timestamp"]}
    )

    assert options.words() == {
        "columns": ["timestamp"],
        "resolution": "1h",
        "csv": {
            "delimiter": ";",
            "decimal": ",",
            "bom": False,
            "header": True,
            "line_end": "lf",
        },
    }


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("10m", f"'10m' is not known; did you mean 1m? {RESOLUTIONS}"),
        ("1H", f"'1H' is not known; did you mean 1h? {RESOLUTIONS}"),
        ("weekly", f"'weekly' is not known; {RESOLUTIONS}"),
        ("", f"'' is not known; {RESOLUTIONS}"),
        (900, f"must be one of {KNOWN}, not a number"),
        (None, f"must be one of {KNOWN}, not null"),
        (["1h"], f"must be one of {KNOWN}, not a list of 1 items"),
    ],
)
def test_an_unknown_resolution_is_told_those_that_are_known(word: object, shown: str) -> None:
    assert refusal(resolution=word) == ("INVALID_RESOLUTION", f"resolution {shown}")


@pytest.mark.parametrize(
    ("zone", "shown"),
    [
        ("Europe/Berlni", "'Europe/Berlni' is not known; did you mean Europe/Berlin?"),
        ("europe/berlin", "'europe/berlin' is not known; did you mean Europe/Berlin?"),
        ("+01:00", "'+01:00' is not known; use an IANA name: Europe/Berlin"),
        ("", "'' is not known; use an IANA name: Europe/Berlin"),
        ("localtime", "'localtime' is not known; use an IANA name: Europe/Berlin"),
        ("Factory", "'Factory' is not known; use an IANA name: Europe/Berlin"),
        ("posixrules", "'posixrules' is not known; use an IANA name: Europe/Berlin"),
        ("../../etc/passwd", "'../../etc/passwd' is not known; use an IANA name: Europe/Berlin"),
        (1, "a number is not known; use an IANA name: Europe/Berlin"),
        (None, "null is not known; use an IANA name: Europe/Berlin"),
        ({}, "an object of 0 items is not known; use an IANA name: Europe/Berlin"),
    ],
)
def test_an_unknown_time_zone_is_told_a_known_one(zone: object, shown: str) -> None:
    assert refusal(timezone=zone) == ("INVALID_TIMEZONE", f"timezone {shown}")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("timestamp", "columns must be a list that names at least one column"),
        ([], "columns must be a list that names at least one column"),
        (7, "columns must be a list that names at least one column"),
        ({"timestamp": 1}, "columns must be a list that names at least one column"),
        (
            ["timestamp", "powr_kw"],
            f"column 'powr_kw' is not known; did you mean power_kw? {NAMES}",
        ),
        (["timestamp", "zzz"], f"column 'zzz' is not known; {NAMES}"),
        (["timestamp", None], f"column null is not known; {NAMES}"),
        (["timestamp", ["x"]], f"column a list of 1 items is not known; {NAMES}"),
        (
            ["timestamp", "quality", "quality"],
            "column 'quality' is named twice; name it once",
        ),
        (["energy_kwh"], "columns lacks timestamp; add it"),
    ],
)
def test_columns_that_cannot_be_written_are_told(columns: object, message: str) -> None:
    assert refusal(columns=columns) == ("INVALID_COLUMNS", message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"gaps": "nul"}, "gaps 'nul' is not known; did you mean null? known: omit, null, flag"),
        ({"gaps": None}, "gaps must be one of omit, null, flag, not null"),
        (
            {"interval_label": "ends"},
            "interval_label 'ends' is not known; did you mean end? known: start, end, both",
        ),
        ({"with_count": "yes"}, "with_count must be true or false, not 'yes'"),
        ({"with_count": 1}, "with_count must be true or false, not a number"),
        ({"layout": "zip"}, "layout 'zip' is not known; known: one_file, file_per_meter"),
        ({"as_of": -1}, f"{VERSIONS}, not a number"),
        ({"as_of": 2**63}, f"{VERSIONS}, not a number"),
        ({"as_of": 10**400}, f"{VERSIONS}, not a number"),
        ({"as_of": True}, f"{VERSIONS}, not true"),
        ({"as_of": 1.0}, f"{VERSIONS}, not a number"),
        ({"as_of": "3"}, f"{VERSIONS}, not '3'"),
        (
            {"resolutoin": "1h"},
            f"field 'resolutoin' is not known; did you mean resolution? {FIELDS}",
        ),
        ({"zzz": 1}, f"field 'zzz' is not known; {FIELDS}"),
        ({"x" * 65: 1}, f"field a string of 65 characters is not known; {FIELDS}"),
    ],
)
def test_any_other_mistake_names_the_field_and_what_it_may_be(
    words: dict[str, object], message: str
) -> None:
    assert refusal(**words) == ("INVALID_REQUEST", message)


@pytest.mark.parametrize(
    ("dialect", "message"),
    [
        (None, "csv must be an object, not null"),
        ([], "csv must be an object, not a list of 0 items"),
        (
            {"delimeter": ";"},
            "field csv.'delimeter' is not known; did you mean delimiter? "
            "known: delimiter, decimal, bom, header, line_end",
        ),
        ({"delimiter": "::"}, "csv.delimiter '::' is not known; known: , ; | \\t tab"),
        ({"delimiter": ""}, "csv.delimiter '' is not known; known: , ; | \\t tab"),
        ({"delimiter": None}, "csv.delimiter null is not known; known: , ; | \\t tab"),
        ({"decimal": ";"}, "csv.decimal ';' is not known; known: . ,"),
        ({"bom": "true"}, "csv.bom must be true or false, not 'true'"),
        ({"header": 0}, "csv.header must be true or false, not a number"),
        (
            {"line_end": "\r\n"},
            "csv.line_end a string of 2 characters is not known; known: lf crlf",
        ),
        (
            {"delimiter": ",", "decimal": ","},
            "csv.delimiter and csv.decimal are both a comma; let the delimiter be ; or tab",
        ),
    ],
)
def test_a_csv_dialect_that_nobody_could_read_is_refused(dialect: object, message: str) -> None:
    assert refusal(csv=dialect) == ("INVALID_REQUEST", message)


@pytest.mark.parametrize(
    ("words", "delimiter"),
    [
        ({}, ","),
        ({"decimal": "."}, ","),
        ({"decimal": ","}, ";"),
        ({"decimal": ",", "delimiter": "|"}, "|"),
        ({"delimiter": "tab"}, "\t"),
        ({"delimiter": "\t"}, "\t"),
    ],
)
def test_a_decimal_comma_brings_the_semicolon_unless_another_is_asked_for(
    words: dict[str, object], delimiter: str
) -> None:
    assert CsvDialect.requested(words).delimiter == delimiter


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("GZIP", "'GZIP' is not known; did you mean gzip? known: none, gzip, zstd, auto"),
        ("gzpi", "'gzpi' is not known; did you mean gzip? known: none, gzip, zstd, auto"),
        ("rar", "'rar' is not known; known: none, gzip, zstd, auto"),
        (None, "must be one of none, gzip, zstd, auto, not null"),
        (Compression, "must be one of none, gzip, zstd, auto, not a value of another type"),
    ],
)
def test_an_unknown_compression_is_told_those_that_are_known(word: object, shown: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        compression_of(word)

    assert refused.value.code == "UNSUPPORTED_COMPRESSION"
    assert refused.value.message == f"compression {shown}"


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("doc", f"'doc' is not supported; known: {FORMAT_NAMES}"),
        ("CSV", f"'CSV' is not supported; did you mean csv? known: {FORMAT_NAMES}"),
        ("XML", f"'XML' is not supported; did you mean xml? known: {FORMAT_NAMES}"),
        ("xls", f"'xls' is not supported; did you mean xlsx? known: {FORMAT_NAMES}"),
        (7, f"must be one of {FORMAT_NAMES}, not a number"),
        (None, f"must be one of {FORMAT_NAMES}, not null"),
        ([], f"must be one of {FORMAT_NAMES}, not a list of 0 items"),
    ],
)
def test_an_unknown_format_is_told_those_that_are_known(word: object, told: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        known_format(word)

    assert refused.value.code == "UNSUPPORTED_FORMAT"
    assert refused.value.message == f"format {told}"


@pytest.mark.parametrize("format_", ["json", "ndjson", "xml", "nem12", "parquet", "xlsx"])
def test_the_csv_options_of_another_format_are_refused_and_not_passed_over(format_: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_options(requested(format_, csv={"bom": True}))

    assert refused.value.code == "INVALID_REQUEST"
    assert refused.value.message == f"the options under csv say nothing in format {format_}"
    check_options(requested(format_, csv={"bom": False}))


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ({"interval_label": "end"}, "interval_label"),
        ({"interval_label": "both"}, "interval_label"),
        ({"with_count": True}, "with_count"),
        ({"gaps": "null"}, "gaps"),
        ({"gaps": "flag"}, "gaps"),
    ],
)
@pytest.mark.parametrize("format_", ["xml", "nem12"])
def test_a_format_that_tells_of_intervals_itself_takes_no_word_for_it(
    format_: str, words: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_options(requested(format_, **words))

    assert refused.value.code == "INVALID_REQUEST"
    assert refused.value.message == (
        f"format {format_} has its own way to tell of intervals and gaps; leave {field} out"
    )


@pytest.mark.parametrize("resolution", ["1m", "1h", "1d", "1mo"])
def test_intervals_that_nem12_has_not_are_refused_before_anything_is_made(resolution: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_options(requested("nem12", resolution=resolution))

    assert refused.value.code == "INVALID_RESOLUTION"
    assert refused.value.message == (
        f"format nem12 has no intervals of {resolution}; ask for 5m, 15m, 30m or raw"
    )


@pytest.mark.parametrize("resolution", ["raw", "5m", "15m", "30m"])
def test_intervals_that_nem12_has_are_taken(resolution: str) -> None:
    check_options(requested("nem12", resolution=resolution))


@pytest.mark.parametrize("format_", ["csv", "json", "ndjson", "xml", "parquet", "xlsx"])
def test_any_other_format_takes_any_resolution(format_: str) -> None:
    for resolution in Resolution:
        check_options(requested(format_, resolution=str(resolution)))


def of_meters(meters: str, format_: str = "csv", **words: object) -> ExportRequest:
    options = ExportOptions.requested({"columns": ["timestamp", "energy_kwh"]} | words)
    return ExportRequest.of_fleet(meters, make.period(), format_, options=options)


@pytest.mark.parametrize("format_", ["csv", "json", "ndjson", "parquet", "xlsx"])
def test_rows_that_do_not_say_whose_they_are_are_refused(format_: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_options(of_meters("ABC", format_))

    assert refused.value.code == "INVALID_COLUMNS"
    assert refused.value.message == (
        "columns lacks smart_meter_id, so nobody could tell the rows of 3 meters apart; "
        "add it, or ask for layout file_per_meter"
    )


@pytest.mark.parametrize(
    "request_",
    [
        of_meters("A"),
        of_meters("ABC", layout="file_per_meter"),
        of_meters("ABC", columns=None),
        of_meters("ABC", columns=["timestamp", "smart_meter_id"]),
        of_meters("ABC", "xml"),
        of_meters("ABC", "nem12"),
        requested("csv", columns=["timestamp", "energy_kwh"]),
    ],
)
def test_a_file_that_says_otherwise_whose_rows_they_are_may_leave_the_meter_out(
    request_: ExportRequest,
) -> None:
    check_options(request_)


@pytest.mark.parametrize("format_", ["csv", "json", "ndjson", "parquet", "xlsx"])
def test_a_table_takes_labels_counts_and_flags(format_: str) -> None:
    check_options(requested(format_, interval_label="both", with_count=True, gaps="flag"))


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_zip_of_files_is_not_compressed_once_more(compression: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_options(requested("csv", compression, layout="file_per_meter"))

    assert refused.value.code == "UNSUPPORTED_COMPRESSION"
    assert refused.value.message == (
        f"compression {compression} with layout file_per_meter: the zip compresses its files "
        "already; ask for none"
    )


@pytest.mark.parametrize("compression", ["none", "auto"])
def test_a_zip_of_files_may_be_asked_for_without_a_compression_of_its_own(compression: str) -> None:
    check_options(requested("csv", compression, layout="file_per_meter"))
