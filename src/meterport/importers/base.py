"""What an importer is, what it tells of a file, and how a bad row is named."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from meterport.domain.errors import ImportRefused
from meterport.domain.readings import READING_SCHEMA
from meterport.importers.options import ImportOptions

BAD_ROWS_SHOWN = 10
MOST_REFUSED_KEPT = 1000


@dataclass(frozen=True)
class BadRow:
    line: int
    reason: str


@dataclass
class FileReport:
    """What was found in one file, for the user to check. `rows`: those that became readings."""

    path: Path
    rows: int = 0
    rows_read: int = 0
    """Rows of the file itself; 0 where it has none, such as Green Button."""
    read_as: dict[str, str] = field(default_factory=dict)
    """What was found out of the file's dialect, because nobody said it."""
    ignored_columns: list[str] = field(default_factory=list)
    missing_columns: list[str] = field(default_factory=list)
    unknown_register_steps: int = 0
    passed_over: dict[str, int] = field(default_factory=dict)
    """What a file holds besides readings, and how many values or records of it."""
    rows_refused: int = 0
    refused: list[BadRow] = field(default_factory=list)
    """The first of the rows that were left out because they are bad."""

    def pass_over(self, what: str, count: int) -> None:
        if count:
            self.passed_over[what] = self.passed_over.get(what, 0) + count

    def refuse(self, bad: Sequence[BadRow], *, skip: bool, unit: str = "line") -> None:
        """Raises ImportRefused unless bad rows are to be skipped; then it keeps account of them."""
        if bad and not skip:
            raise refused(self.path, bad, unit=unit)
        self.rows_refused += len(bad)
        self.refused += bad[: MOST_REFUSED_KEPT - len(self.refused)]


def refused(path: Path, bad: Sequence[BadRow], *, unit: str = "line") -> ImportRefused:
    """One error that names the first bad rows by their place in the file."""
    named = [f"{path.name}: {unit} {row.line}: {row.reason}" for row in bad[:BAD_ROWS_SHOWN]]
    more = len(bad) - len(named)
    if more > 0:
        named.append(f"… and {more} more here")
    return ImportRefused("\n".join(["nothing was imported; bad rows:", *named]))


def gathered(
    frames: Iterable[pl.DataFrame], report: FileReport, *, rows: int
) -> Iterator[pl.DataFrame]:
    """Frames of READING_SCHEMA, such as one a meter, as batches of about that many rows."""
    batch = READING_SCHEMA.to_frame()
    for frame in frames:
        report.rows += frame.height
        batch = batch.vstack(frame)
        if batch.height >= rows:
            yield batch.rechunk()
            batch = READING_SCHEMA.to_frame()
    if batch.height:
        yield batch.rechunk()


@dataclass(frozen=True)
class ImportFormat:
    """`load` yields batches of READING_SCHEMA (interval_s may be null) in the file's order.

    `media_types`: by which a body is known to be such a file.
    `understands`: the flags of ImportOptions that mean something for such a file; for the others
    `knows` says why not.
    """

    name: str
    extensions: tuple[str, ...]
    load: Callable[[Path, ImportOptions, FileReport], Iterator[pl.DataFrame]]
    understands: frozenset[str]
    knows: str = ""
    media_types: tuple[str, ...] = ()

    def read(
        self, path: Path, options: ImportOptions, report: FileReport
    ) -> Iterator[pl.DataFrame]:
        """Raises ImportRefused, naming the place in the file, or options without a meaning."""
        others = [flag for flag in options.given if flag not in self.understands]
        if others:
            raise ImportRefused(f"{path.name}: {self.knows}; leave {', '.join(others)} out")
        return self.load(path, options, report)
