"""A page of the documentation as tests see it: its tables, and its blocks of code in order."""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEFT_OUT = "…"
_BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_CELLS = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True)
class Block:
    """`name`: of the file that it is the content of; `follows`: nothing but space is before it."""

    language: str
    name: str
    text: str
    follows: bool


@dataclass(frozen=True)
class Example:
    """Command lines, each as arguments, and what the last of them prints, where that is shown."""

    commands: Sequence[Sequence[str]]
    printed: str | None


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(text: str) -> Iterator[Block]:
    end = 0
    for found in _BLOCK.finditer(text):
        language, name, inside = found.groups()
        yield Block(language, name or "", inside, not text[end : found.start()].strip())
        end = found.end()


def examples(text: str) -> Iterator[Example]:
    """Each block of commands, with the output right below it."""
    all_blocks = list(blocks(text))
    for block, after in zip(all_blocks, [*all_blocks[1:], None], strict=True):
        if block.language == "sh":
            shown = after and after.follows and after.language not in ("sh", "pycon")
            printed = after.text if after and shown and not after.name else None
            yield Example(list(_commands(block.text)), printed)


def _commands(lines: str) -> Iterator[Sequence[str]]:
    for line in filter(None, lines.replace("\\\n", " ").splitlines()):
        program, *arguments = arguments_of(line)
        assert program == "meterport", line
        yield arguments


def section(text: str, title: str) -> str:
    """Its sentences and tables, without the blocks."""
    return _BLOCK.sub("", section_with_blocks(text, title))


def section_with_blocks(text: str, title: str) -> str:
    return text.partition(f"## {title}\n")[2].partition("\n## ")[0]


def arguments_of(line: str) -> list[str]:
    """As a shell would split it; signs that would end the command there have to be quoted."""
    pieces = shlex.shlex(line, posix=False, punctuation_chars=";|&<>()")
    pieces.whitespace_split = True
    assert not set(pieces) & set(";|&<>()"), line
    return shlex.split(line)


def table(text: str, *header: str) -> list[tuple[str, ...]]:
    """The rows of the one table whose header begins with those cells."""
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    found = [lines for lines in tables if _cells(lines.splitlines()[0])[: len(header)] == header]
    assert len(found) == 1, header
    return [_cells(line) for line in found[0].splitlines()[2:]]


def words(cell: str) -> tuple[str, ...]:
    """What stands in it as code."""
    return tuple(re.findall(r"`([^`]+)`", cell))


def alike(shown: str, real: str) -> bool:
    """`shown` may leave out whole lines, and text within a line."""
    lines = (
        "(?:[^\n]*\n)*"
        if line == LEFT_OUT
        else "[^\n]*".join(map(re.escape, line.split(LEFT_OUT))) + "\n"
        for line in shown.splitlines()
    )
    return re.fullmatch("".join(lines), real) is not None


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip().replace("\\|", "|") for cell in _CELLS.split(line.strip())[1:-1])
