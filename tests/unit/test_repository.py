"""What holds for the repository as a whole: sizes, documented names, no strange addresses."""

import ast
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import typer.main

from meterport.cli import app
from meterport.domain import errors
from meterport.domain.options import DELIMITERS, LINE_ENDS, Compression, Layout
from meterport.domain.shapes import Gaps, Label, Resolution
from meterport.encoders import FORMATS
from meterport.importers.options import UNITS
from meterport.settings import PREFIX, Settings
from meterport.web.errors import STATUS
from tests.chaos import report
from tests.unit import pages

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference.md"
LONGEST_MODULE, LONGEST_TEST_MODULE, LONGEST_FUNCTION = 400, 500, 50
EXCEPTIONS: dict[str, str] = {}
"""A module or function that may be longer, with the reason."""


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def modules() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py"]


def functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


def test_no_module_and_no_function_is_too_long() -> None:
    too_long = []
    for path in modules():
        name = path.relative_to(ROOT).as_posix()
        limit = LONGEST_TEST_MODULE if name.startswith("tests/") else LONGEST_MODULE
        if len(path.read_text(encoding="utf-8").splitlines()) > limit:
            too_long.append(name)
        too_long += [f"{name}:{f}" for f, lines in functions(path) if lines > LONGEST_FUNCTION]

    assert sorted(set(too_long) - set(EXCEPTIONS)) == []


def test_no_text_names_a_registry_or_a_path_of_one_machine() -> None:
    registries = ["py" + r"pi\.org", "python" + "hosted", "npm" + r"js\.org", "/ro" + "ot/"]
    strange = re.compile("|".join([*registries, r"/home/\w", r"/wo" + r"rk/"]))

    found = [
        f"{path.relative_to(ROOT)}: {line.strip()[:80]}"
        for path in tracked()
        if path.suffix not in (".png", ".parquet")
        for line in path.read_text(encoding="utf-8").splitlines()
        if strange.search(line)
    ]

    assert found == []


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented_with_its_default(name: str) -> None:
    assert f"`{PREFIX}{name.upper()}`" in REFERENCE.read_text(encoding="utf-8")


def codes() -> set[str]:
    def below(kind: type[errors.MeterportError]) -> Iterator[str]:
        yield kind.code
        for child in kind.__subclasses__():
            yield from below(child)

    return set(below(errors.MeterportError)) | set(STATUS)


@pytest.mark.parametrize("code", sorted(codes()))
def test_every_error_code_is_documented(code: str) -> None:
    assert f"`{code}`" in REFERENCE.read_text(encoding="utf-8")


@pytest.mark.parametrize("format_name", FORMATS)
def test_every_format_is_documented(format_name: str) -> None:
    assert f"`{format_name}`" in REFERENCE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "command",
    [
        *(
            "demo",
            "serve",
            "api",
            "worker",
            "housekeeping",
            "import",
            "export",
            "meters",
            "jobs",
            "jobs cancel",
        ),
        *(
            "jobs rerun",
            "jobs manifest",
            "doctor",
            "backup",
            "restore",
            "erase",
            "keys create",
            "keys list",
            "keys rotate",
            "keys revoke",
            "db upgrade",
            "config show",
        ),
        "openapi",
    ],
)
def test_every_command_is_documented(command: str) -> None:
    assert f"`meterport {command}" in REFERENCE.read_text(encoding="utf-8")


def export_options() -> set[str]:
    command = typer.main.get_command(app).commands["export"]  # type: ignore[attr-defined]
    return {name for parameter in command.params for name in parameter.opts if name[0] == "-"}


def documented_options() -> dict[str, tuple[str, ...]]:
    """The options in the reference's table, each with its words."""
    rows = pages.table(pages.read("docs/reference.md"), "option", "words, the default first")
    return {
        option.partition(" ")[0]: pages.words(said)
        for options, said, _ in rows
        for option in pages.words(options)
    }


def test_every_option_of_an_export_is_documented() -> None:
    assert set(documented_options()) == export_options()


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--format", FORMATS),
        ("--compression", Compression),
        ("--resolution", Resolution),
        ("--gaps", Gaps),
        ("--interval-label", Label),
        ("--layout", Layout),
        ("--delimiter", [word for word in DELIMITERS if word.isprintable()]),
        ("--line-end", LINE_ENDS),
    ],
)
def test_every_word_of_an_option_is_documented(option: str, words: Iterable[str]) -> None:
    assert documented_options()[option] == tuple(words)


@pytest.mark.parametrize("unit", sorted({unit for units in UNITS.values() for unit in units}))
def test_every_unit_of_an_import_is_documented(unit: str) -> None:
    assert f"`{unit}`" in (ROOT / "docs" / "import.md").read_text(encoding="utf-8")


def test_the_table_of_counts_is_the_sum_of_the_recorded_runs() -> None:
    page = report.PAGE.read_text(encoding="utf-8")

    assert report.page_with(page, report.table(report.recorded())) == page


def test_every_test_that_a_promise_names_exists() -> None:
    named = set(re.findall(r"\bR\d+\b", report.PAGE.read_text(encoding="utf-8")))
    chaos = [path.read_text(encoding="utf-8") for path in (ROOT / "tests/chaos").glob("test_*.py")]

    there = {name for text in chaos for name in re.findall(r'promise\("(R\d+)"\)', text)}

    assert named <= there
