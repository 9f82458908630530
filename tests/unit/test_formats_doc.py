"""docs/formats.md is true: its examples are run, its tables are compared with the code."""

import doctest
import json
import re
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import date
from pathlib import Path

import pytest
import typer.main
from starlette.testclient import TestClient

from meterport.cli import app
from meterport.domain import completeness, options
from meterport.domain.errors import FormatCannotHold
from meterport.domain.espi_quality import QUALITY_CODES
from meterport.domain.options import WORDS, Compression, Layout
from meterport.domain.readings import DEFAULT_COLUMNS, READING_SCHEMA, SMART_METER_ID
from meterport.domain.shapes import Gaps, Label, Resolution
from meterport.encoders import FORMATS, espi, espi_values, nem12, parquet, xlsx
from meterport.encoders.about import UNITS
from meterport.encoders.base import Cut
from meterport.encoders.compression import WRAPPINGS
from meterport.encoders.espi_time import local_time
from meterport.services.choose_meters import Limits
from meterport.services.fill_gaps import MISSING
from meterport.services.shape import INCOMPLETE
from meterport.web.app import create_app
from meterport.web.contract_docs import ExportRequest
from tests import make
from tests.unit import pages, sheets
from tests.unit.command_runner import Ran, run_all

PAGE = pages.read("docs/formats.md")
EXAMPLES = list(pages.examples(PAGE))
A_DAY = ("--from", "2024-03-31", "--to", "2024-04-01")
PERIOD = " ".join(A_DAY)
REFUSALS = pages.table(PAGE, f"`meterport export 123 {PERIOD}`")
FAILURES = pages.table(PAGE, f"`meterport export {PERIOD}`")
Command = tuple[str, ...]


def refused(said: str) -> Command:
    return ("export", "123", *A_DAY, *pages.arguments_of(pages.words(said)[0]))


def failed(said: str) -> Command:
    meter, *more = pages.arguments_of(pages.words(said)[0])
    return ("export", meter, *A_DAY, *more)


COMMANDS: list[Command] = [
    *(tuple(command) for example in EXAMPLES for command in example.commands),
    *(refused(row[0]) for row in REFUSALS),
    *(failed(row[0]) for row in FAILURES),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Has the files whose contents the page shows."""
    made = tmp_path_factory.mktemp("page")
    for block in pages.blocks(PAGE):
        if block.name:
            make.write(made, block.name, block.text)
    return made


@pytest.fixture(scope="module")
def ran(folder: Path) -> Mapping[Command, Ran]:
    """Every command of the page, run in its order."""
    return dict(zip(COMMANDS, run_all(COMMANDS, folder), strict=True))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: " ".join(e.commands[-1])[:70])
def test_a_command_prints_what_stands_below_it(
    example: pages.Example, ran: Mapping[Command, Ran]
) -> None:
    *before, last = (ran[tuple(command)] for command in example.commands)

    assert [each.code for each in before] == [""] * len(before)
    if example.printed is None:
        assert last.code == ""
    else:
        assert pages.alike(example.printed, last.printed), last.printed
        assert bool(last.code) == example.printed.startswith("meterport: ")


def test_python_sees_in_the_files_what_the_page_says(
    folder: Path, ran: Mapping[Command, Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ran
    monkeypatch.chdir(folder)
    sessions = "\n".join(block.text for block in pages.blocks(PAGE) if block.language == "pycon")
    told: list[str] = []

    session = doctest.DocTestParser().get_doctest(sessions, {}, "formats.md", None, 0)
    outcome = doctest.DocTestRunner().run(session, out=told.append)

    assert (outcome.failed, outcome.attempted >= 20) == (0, True), "".join(told)


@pytest.mark.parametrize(("said", "code", "message"), REFUSALS)
def test_what_cannot_be_asked_for_is_refused_in_these_words(
    said: str, code: str, message: str, ran: Mapping[Command, Ran]
) -> None:
    assert ran[refused(said)] == Ran(f"meterport: {code.strip('`')}: {message}\n", code.strip("`"))


@pytest.mark.parametrize(("said", "code", "message"), FAILURES)
def test_what_the_readings_do_not_allow_fails_in_these_words(
    said: str, code: str, message: str, ran: Mapping[Command, Ran]
) -> None:
    assert ran[failed(said)] == Ran(f"meterport: {code.strip('`')}: {message}\n", code.strip("`"))


def test_no_command_is_there_twice() -> None:
    assert len(set(COMMANDS)) == len(COMMANDS)


def test_the_example_of_a_post_makes_the_file_of_that_name(
    folder: Path, ran: Mapping[Command, Ran]
) -> None:
    assert ran
    post, name = pages.blocks(PAGE.partition("## How to say it\n")[2])
    body = json.loads(post.text) | {"resolution": "15min", "gaps": 7}
    home = make.home(folder.parent / "other")
    home = make.opened(home, data=folder / "meterport-data")

    with TestClient(create_app(home.services, home.settings), base_url="http://localhost") as http:
        job = http.post("/api/export/csv", json=body)
        home.work()
        status = http.get(job.headers["Location"]).json()

    assert (job.status_code, status["status"]) == (202, "completed")
    assert status["file_info"]["filename"] == name.text.strip()


def test_every_format_is_described_as_it_is() -> None:
    made = {
        Cut.ROWS: "in parts",
        Cut.METERS: "in parts of whole meters",
        Cut.NEVER: "in one piece",
    }
    found = [
        (*pages.words(name + extension + media_type), fleet)
        for name, extension, media_type, _, fleet in pages.table(PAGE, "format")
    ]

    assert found == [
        (f.name, f".{f.extension}", f.media_type, made[f.cut]) for f in FORMATS.values()
    ]


@pytest.mark.parametrize(
    ("name", "energy_kwh", "interval_s", "holds"),
    [
        ("xlsx", 0.123456789012345, 900, True),
        ("xlsx", 0.1234567890123456, 900, False),
        ("xml", 0.99999999999999, 900, True),
        ("xml", 0.100000000000001, 900, True),
        ("xml", 0.999999999999999, 900, False),
        ("nem12", 0.0, 1800, True),
        ("nem12", 0.1, 900, True),
        ("nem12", 0.1234567890123456, 300, True),
        ("nem12", 0.1, 60, False),
        ("nem12", 0.1, 3600, False),
        ("nem12", -0.1, 900, False),
        *(
            (name, value, 900, True)
            for name in ("csv", "json", "ndjson", "parquet")
            for value in (0.1234567890123456, -1e300, 5e-324)
        ),
    ],
)
def test_a_format_holds_what_the_table_says_and_no_more(
    name: str, energy_kwh: float, interval_s: int, *, holds: bool
) -> None:
    frame = make.readings(energy_kwh, interval_s=interval_s)
    refusal = nullcontext() if holds else pytest.raises(FormatCannotHold)

    with refusal:
        sheets.encoded(FORMATS[name], frame, of=sheets.sheet(DEFAULT_COLUMNS))


def test_every_format_has_a_section() -> None:
    titles = re.findall(r"^## ([a-z0-9]+)(?:: .*)?$", PAGE, re.MULTILINE)

    assert titles == list(FORMATS)


def test_every_compression_is_described_as_it_is() -> None:
    rows = {pages.words(row[0])[0]: row[1:] for row in pages.table(PAGE, "compression")}

    assert list(rows) == list(Compression)
    for compression, wrapping in WRAPPINGS.items():
        assert rows[compression] == (f"`{wrapping.ending}`", f"`{wrapping.media_type}`")
    assert rows["auto"][0].startswith(f"`{WRAPPINGS[Compression.GZIP].ending}` or none")


LIMITS = {
    "readings in an `xlsx`": f"{xlsx.MOST_READINGS:,}",
    "significant digits of a number in `xlsx`": f"{xlsx.MOST_DIGITS}",
    "characters of a text in `xlsx`": f"{xlsx.LONGEST_TEXT:,}",
    "largest number in `xlsx`": f"{xlsx.LARGEST}".replace("+", ""),
    "largest integer in `xml`, of 48 bits with a sign": f"{espi_values.LARGEST:,}",
    "characters of a meter's id in `nem12`": f"{nem12.NMI_LENGTH}",
    "energy in `nem12` is below, in kWh": f"{nem12.TOO_LARGE_KWH:,.0f}",
    "rows of a row group in `parquet`": f"{parquet.ROW_GROUP_ROWS:,}",
    "bytes from which on `auto` is gzip": f"{options.AUTO_BYTES:,}",
    "gaps that a manifest tells one by one": f"{completeness.MOST_GAPS:,}",
    "meters of an export, unless `METERPORT_MAX_METERS` says otherwise": f"{Limits().meters:,}",
    "rows of an export, unless `METERPORT_MAX_ROWS` says otherwise": f"{Limits().rows:,}",
}


def test_every_limit_is_the_one_that_holds() -> None:
    assert pages.table(PAGE, "limit") == list(LIMITS.items())
    assert espi_values.LARGEST == 2**47 - 1
    assert xlsx.MOST_READINGS + 1 == 2**20


@pytest.mark.parametrize(
    "phrase",
    [
        ", ".join(f"{n}".replace("-", "\N{MINUS SIGN}") for n in espi_values.MULTIPLIERS),
        f"some {espi.FORMAT.row_bytes * 365 * 96 / 1e6:.0f} MB",
        f"larger than {options.AUTO_BYTES / 1e6:.0f} MB",
        f"by more than {completeness.TOLERANCE:.0%}".replace("%", " %"),
        f"the first {completeness.MOST_GAPS:,} of them",
        f"row groups of {parquet.ROW_GROUP_ROWS:,} rows",
        f"**{xlsx.MOST_READINGS:,} readings**",
        f"**{xlsx.MOST_DIGITS} digits**",
        ", ".join(f"`{name}`" for name in DEFAULT_COLUMNS),
        *(f"`{word}`" for word in (MISSING, INCOMPLETE)),
    ],
)
def test_what_the_sentences_say_in_numbers_and_names_is_so(phrase: str) -> None:
    assert phrase in " ".join(PAGE.split())


def test_every_channel_of_green_button_has_its_codes() -> None:
    rows = pages.table(PAGE, "column", "unit in the feed")

    assert [(pages.words(name)[0], *codes) for name, _, *codes in rows] == [
        (c.column, *(f"{n}" for n in (c.kind, c.uom, c.flow, c.accumulation, c.qualifier)))
        for c in espi.CHANNELS
    ]
    assert all(c.title.endswith(f", {row[1]}") for c, row in zip(espi.CHANNELS, rows, strict=True))


def test_every_quality_of_green_button_has_its_code() -> None:
    rows = pages.table(PAGE, "quality", "code")

    assert {pages.words(word)[0]: int(code) for word, code in rows} == QUALITY_CODES
    assert f"Any other word is {espi.OTHER_QUALITY}." in " ".join(PAGE.split())


@pytest.mark.parametrize("row", pages.table(PAGE, "zone"), ids=lambda row: row[0])
def test_a_zone_has_these_rules(row: tuple[str, ...]) -> None:
    zone, *told = row

    rules = local_time(pages.words(zone)[0], date(2024, 3, 31))

    assert told == [
        rules.dst_start_rule,
        rules.dst_end_rule,
        f"{rules.dst_offset_s}",
        f"{rules.tz_offset_s}",
    ]


def test_every_quality_of_nem12_has_its_method() -> None:
    rows = pages.table(PAGE, "quality", "method")

    found = {next(iter(pages.words(word)), None): method for word, method in rows}
    assert found == nem12.METHODS
    assert rows[0] == ("empty", nem12.METHODS[None])


def test_every_column_has_its_unit() -> None:
    rows = {pages.words(name)[0]: unit for name, unit, _ in pages.table(PAGE, "column", "unit")}

    assert rows == {name: UNITS.get(name, "") for name in parquet.TYPES}
    assert set(READING_SCHEMA) < set(rows)


def command_options() -> dict[str, object]:
    """The long name of each option of `meterport export`, with its default."""
    command = typer.main.get_command(app).commands["export"]  # type: ignore[attr-defined]
    return {
        name: parameter.default
        for parameter in command.params
        for name in parameter.opts
        if name.startswith("--")
    }


OPTIONS = {
    "format": tuple(FORMATS),
    "compression": tuple(Compression),
    "columns": (),
    "resolution": tuple(Resolution),
    "timezone": (),
    "gaps": tuple(Gaps),
    "interval_label": tuple(Label),
    "with_count": (),
    "csv": (),
    "layout": tuple(Layout),
    "as_of": (),
}


def test_every_option_is_there_with_its_words_and_its_default() -> None:
    rows = pages.table(PAGE, "field", "on the command line")
    known = command_options()

    assert {pages.words(field)[0]: pages.words(said) for field, _, said, *_ in rows} == OPTIONS
    assert [pages.words(field)[0] for field, *_ in rows] == ["format", "compression", *WORDS]
    for field, on_command_line, said, default, _ in rows:
        assert set(pages.words(on_command_line)) <= set(known), field
        if pages.words(said):
            (option,) = pages.words(on_command_line)
            assert pages.words(default) == (known[option],)


def test_the_fields_of_the_post_are_those_that_it_heeds() -> None:
    rows = pages.table(PAGE, "field", "on the command line")
    required = {"smart_meter_id", "start_datetime", "end_datetime"}

    heeded = {pages.words(field)[0] for field, *_, in_post in rows if in_post == "yes"}

    assert heeded == set(ExportRequest.model_fields) - required


def test_every_word_of_a_csv_is_there_with_its_default() -> None:
    rows = {pages.words(row[0])[0]: row[1:] for row in pages.table(PAGE, "option", "words")}
    plain = options.CsvDialect().words()

    assert {name: pages.words(row[0]) for name, row in rows.items()} == {
        "--delimiter": tuple(word for word in options.DELIMITERS if word.isprintable()),
        "--decimal": (".", ","),
        "--bom": (),
        "--no-header": (),
        "--line-end": tuple(options.LINE_ENDS),
    }
    for name in ("delimiter", "decimal", "line_end"):
        assert rows[f"--{name.replace('_', '-')}"][1] == f"`{plain[name]}`"


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ("Resolution", Resolution),
        ("Gaps", Gaps),
        ("Interval label", Label),
        ("Compression", Compression),
    ],
)
def test_a_section_explains_each_of_its_words(section: str, kind: type[Resolution]) -> None:
    assert set(kind) <= set(pages.words(pages.section(PAGE, section)))


def test_every_option_of_the_command_is_used_in_an_example() -> None:
    used = {word for example in EXAMPLES for command in example.commands for word in command}

    left = set(command_options()) - used

    assert left == {"--data", "--json", "--force", "--output", "--server"}
    assert "-o" in used


def test_the_manifest_has_the_fields_that_are_explained(ran: Mapping[Command, Ran]) -> None:
    (command,) = (c for c in COMMANDS if "--manifest" in c)
    explained = [
        name for row in pages.table(PAGE, "field", "meaning") for name in pages.words(row[0])
    ]

    assert explained == list(json.loads(ran[command].printed))


def test_no_cell_of_text_can_begin_a_formula() -> None:
    assert not [sign for sign in "=+-@\t\r" if SMART_METER_ID.fullmatch(f"{sign}1")]


def test_every_link_within_the_page_has_a_target() -> None:
    titles = {title.lower().replace(" ", "-") for title in re.findall(r"^#+ (.*)$", PAGE, re.M)}

    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        file, _, anchor = target.partition("#")
        assert not file or (pages.ROOT / "docs" / file).is_file(), target
        assert file or anchor in titles, target


def test_an_example_that_leaves_something_out_still_has_to_be_right() -> None:
    assert pages.alike("a …\n…\nd\n", "a b\nc\nc\nd\n")
    assert not pages.alike("a …\nd\n", "a b\nc\nd\n")
    assert not pages.alike("a\n", "a\nb\n")
    assert not pages.alike("…\nb\n", "a\nc\n")
