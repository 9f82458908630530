"""How an export's file is to look; the defaults are the contract's CSV."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Self

from meterport.domain.errors import InvalidRequest, UnsupportedCompression, shown
from meterport.domain.shapes import Shape
from meterport.domain.words import hint, one_of, true_or_false

DELIMITERS = {",": ",", ";": ";", "|": "|", "\t": "\t", "tab": "\t"}
LAST_VERSION = 2**63 - 1
"""As databases can hold it, and Delta too."""
LINE_ENDS = {"lf": "\n", "crlf": "\r\n"}


class Compression(StrEnum):
    """AUTO: gzip, where the file would else be larger than AUTO_BYTES."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"
    AUTO = "auto"


AUTO_BYTES = 16_000_000


class Layout(StrEnum):
    """FILE_PER_METER: a zip with a file for each."""

    ONE_FILE = "one_file"
    FILE_PER_METER = "file_per_meter"


@dataclass(frozen=True)
class CsvDialect:
    """`delimiter`, `decimal` and `line_end` as they stand in the file."""

    delimiter: str = ","
    decimal: str = "."
    bom: bool = False
    header: bool = True
    line_end: str = "\n"

    @classmethod
    def requested(cls, words: object) -> Self:
        """With a decimal comma, the delimiter is a semicolon unless another is asked for."""
        if not isinstance(words, Mapping):
            raise InvalidRequest(f"csv must be an object, not {shown(words)}")
        check_known(words, _CSV_WORDS, "csv.")
        decimal = _among("csv.decimal", words.get("decimal", "."), {".": ".", ",": ","})
        usual = ";" if decimal == "," else ","
        delimiter = _among("csv.delimiter", words.get("delimiter", usual), DELIMITERS)
        if delimiter == decimal:
            raise InvalidRequest(
                "csv.delimiter and csv.decimal are both a comma; let the delimiter be ; or tab"
            )
        return cls(
            delimiter,
            decimal,
            true_or_false("csv.bom", words.get("bom", False)),
            true_or_false("csv.header", words.get("header", True)),
            _among("csv.line_end", words.get("line_end", "lf"), LINE_ENDS),
        )

    def words(self) -> dict[str, object]:
        line_end = {end: word for word, end in LINE_ENDS.items()}[self.line_end]
        said = (self.delimiter, self.decimal, self.bom, self.header, line_end)
        return dict(zip(_CSV_WORDS, said, strict=True))


_CSV_WORDS = ("delimiter", "decimal", "bom", "header", "line_end")


@dataclass(frozen=True)
class ExportOptions:
    """`as_of`: a version of the readings; None: the newest when the export begins."""

    shape: Shape = field(default_factory=Shape)
    csv: CsvDialect = field(default_factory=CsvDialect)
    layout: Layout = Layout.ONE_FILE
    as_of: int | None = None

    @classmethod
    def requested(cls, words: Mapping[str, object]) -> Self:
        """Of a request's own words, each of which may be left out. Raises InvalidRequest."""
        check_known(words, WORDS)
        shape = Shape.requested(
            resolution=words.get("resolution", "raw"),
            zone=words.get("timezone", "UTC"),
            gaps=words.get("gaps", "omit"),
            label=words.get("interval_label", "start"),
            columns=words.get("columns"),
            with_count=words.get("with_count", False),
        )
        return cls(
            shape,
            CsvDialect.requested(words.get("csv", {})),
            one_of(Layout, "layout", words.get("layout", Layout.ONE_FILE)),
            _version(words.get("as_of")),
        )

    @classmethod
    def stored(cls, words: Mapping[str, Any]) -> Self:
        """Of what `words` said when it was asked for.

        The time zone is not looked at: this process may know fewer than the one that took it.
        """
        options = cls.requested({name: words[name] for name in words if name != "timezone"})
        zone = words.get("timezone", options.shape.zone)
        return replace(options, shape=replace(options.shape, zone=zone))

    def words(self) -> dict[str, object]:
        """What `requested` makes the same options of, without what goes without saying."""
        plain = ExportOptions().all_words()
        return {name: value for name, value in self.all_words().items() if value != plain[name]}

    def all_words(self) -> dict[str, object]:
        """Also what goes without saying."""
        return dict(zip(WORDS, self._said(), strict=True))

    def _said(self) -> tuple[object, ...]:
        """A value for each of WORDS."""
        shape = self.shape
        return (
            None if shape.columns is None else list(shape.columns),
            str(shape.resolution),
            shape.zone,
            str(shape.gaps),
            str(shape.label),
            shape.with_count,
            self.csv.words(),
            str(self.layout),
            self.as_of,
        )


WORDS = (
    "columns",
    "resolution",
    "timezone",
    "gaps",
    "interval_label",
    "with_count",
    "csv",
    "layout",
    "as_of",
)


def compression_of(word: object) -> Compression:
    return one_of(Compression, "compression", word, UnsupportedCompression)


def check_known(words: Mapping[str, object], known: tuple[str, ...], prefix: str = "") -> None:
    for name in words:
        if name not in known:
            raise InvalidRequest(f"field {prefix}{shown(name)} is not known; {hint(name, known)}")


def _among(field: str, value: object, known: Mapping[str, str]) -> str:
    if isinstance(value, str) and value in known:
        return known[value]
    named = " ".join(name if name.isprintable() else "\\t" for name in known)
    raise InvalidRequest(f"{field} {shown(value)} is not known; known: {named}")


def _version(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LAST_VERSION:
        return value
    raise InvalidRequest(
        f"as_of must be a version, a whole number from 0 to {LAST_VERSION}, not {shown(value)}"
    )
