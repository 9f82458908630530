"""A Green Button feed, read once: the entries with their links, the readings in a file aside.

Shape:   a record of RECORD per IntervalReading, in the feed's order; -1 where there is no duration.
Memory:  flat but for the entries that are no blocks, and two numbers per stretch of readings.
Refuses: any DOCTYPE, thus every entity of the feed's own; nothing is ever fetched.
"""

import re
import struct
from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from xml.parsers import expat

import numpy as np
import numpy.typing as npt

from meterport.domain.errors import ImportRefused, shown
from meterport.importers.base import BadRow, FileReport, refused
from meterport.importers.green_button_quality import level_of

ATOM, ESPI = "http://www.w3.org/2005/Atom", "http://naesb.org/espi"
BLOCK_BYTES = 1 << 20
RECORD = np.dtype(
    [("start", "<i8"), ("value", "<i8"), ("duration", "<i4"), ("level", "<i4"), ("line", "<u4")]
)
Records = npt.NDArray[np.void]

_PACK = struct.Struct("<qqiiI").pack
_LONGEST_TEXT = 4096
_DEEPEST = 100
_EARLIEST_S, _LATEST_S = -2_208_988_800, 7_258_118_400  # 1900 to 2200
_WHOLE = re.compile(r"-?[0-9]{1,15}").fullmatch
_SECONDS = re.compile(r"[0-9]{1,9}").fullmatch
_HOST = re.compile(r"^(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/]*")
_RESOURCE = re.compile(r"(?:^|/)espi/[0-9_]+/resource/")
_ENTRY_KINDS = ("UsagePoint", "MeterReading", "ReadingType", "IntervalBlock")
_IGNORED_KINDS = ("LocalTimeParameters",)


def _atom(name: str) -> str:
    return f"{ATOM} {name}"


def _espi(name: str) -> str:
    return f"{ESPI} {name}"


_FIELDS: Mapping[tuple[str, str], str] = {
    (_atom("entry"), _atom("title")): "title",
    (_atom("entry"), _atom("id")): "id",
    (_espi("ServiceCategory"), _espi("kind")): "service",
    **{
        (_espi("ReadingType"), _espi(name)): name
        for name in (
            "accumulationBehaviour",
            "commodity",
            "consumptionTier",
            "cpp",
            "dataQualifier",
            "defaultQuality",
            "flowDirection",
            "intervalLength",
            "phase",
            "powerOfTenMultiplier",
            "tou",
            "uom",
        )
    },
    (_espi("IntervalReading"), _espi("cost")): "cost",
    (_espi("IntervalReading"), _espi("value")): "value",
    (_espi("ReadingQuality"), _espi("quality")): "quality",
    (_espi("timePeriod"), _espi("duration")): "duration",
    (_espi("timePeriod"), _espi("start")): "start",
}
"""By the names of an element and its parent, what its text is."""


@dataclass(frozen=True)
class Entry:
    """`links` are addresses by relation; `fields` what _FIELDS names, as text."""

    line: int
    links: Mapping[str, list[str]]
    fields: Mapping[str, str]

    def link(self, relation: str) -> str:
        """The first of that relation; empty if there is none."""
        return self.links.get(relation, [""])[0]

    @property
    def name(self) -> str:
        return self.link("self") or self.fields.get("title", "") or self.fields.get("id", "")


@dataclass
class Blocks:
    """All the IntervalBlocks that hang under one address: which records are theirs."""

    line: int
    begins: "array[int]" = field(default_factory=lambda: array("q"))
    counts: "array[int]" = field(default_factory=lambda: array("q"))

    def add(self, begin: int, count: int) -> None:
        if self.begins and self.begins[-1] + self.counts[-1] == begin:
            self.counts[-1] += count
        else:
            self.begins.append(begin)
            self.counts.append(count)

    def __len__(self) -> int:
        return sum(self.counts)


@dataclass
class Feed:
    """`blocks` by the address under which they hang, which is empty where they do not say it."""

    path: Path
    spill: BinaryIO
    entries: dict[str, list[Entry]] = field(
        default_factory=lambda: {kind: [] for kind in _ENTRY_KINDS}
    )
    blocks: dict[str, Blocks] = field(default_factory=dict)

    def records(self, blocks: Blocks) -> tuple[Records, npt.NDArray[np.int64]]:
        """The records, and the place of each in the feed."""
        parts, places = [], []
        for begin, count in zip(blocks.begins, blocks.counts, strict=True):
            self.spill.seek(begin * RECORD.itemsize)
            parts.append(self.spill.read(count * RECORD.itemsize))
            places.append(np.arange(begin, begin + count))
        return np.frombuffer(b"".join(parts), RECORD), np.concatenate(places)


def read_feed(path: Path, spill: BinaryIO, report: FileReport) -> Feed:
    """Raises ImportRefused, naming the line, for what is no Green Button feed."""
    feed = Feed(path, spill)
    with path.open("rb") as file:
        _Reader(feed, report).read(iter(lambda: file.read(BLOCK_BYTES), b""))
    spill.flush()
    return feed


def address(href: str) -> str:
    """What two links to the same thing have in common, be they absolute or relative."""
    path = _HOST.sub("", href.strip())
    return _RESOURCE.split(path, maxsplit=1)[-1].strip("/")


class _Reader:
    """What expat calls for each element; the order of entries, and inside of them, is free."""

    def __init__(self, feed: Feed, report: FileReport) -> None:
        self._feed = feed
        self._report = report
        self._path: list[str] = []
        self._field: str | None = None
        self._text = ""
        self._links: dict[str, list[str]] = {}
        self._entry: dict[str, str] = {}
        self._values = self._entry
        self._kind = ""
        self._entry_line = self._reading_line = 0
        self._records = self._begin = 0
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.StartElementHandler = self._start
        self._parser.CharacterDataHandler = self._characters
        self._parser.EndElementHandler = self._end
        self._openers: Mapping[str, Callable[[Mapping[str, str]], None]] = {
            _atom("entry"): self._open_entry,
            _atom("link"): self._take_link,
            _espi("IntervalReading"): self._open_reading,
            **{_espi(kind): self._open_kind(kind) for kind in _ENTRY_KINDS},
        }
        self._closers: Mapping[str, Callable[[], None]] = {
            _espi("IntervalReading"): self._close_reading,
            _atom("entry"): self._close_entry,
        }

    def read(self, blocks: Iterable[bytes]) -> None:
        try:
            for block in blocks:
                self._parser.Parse(block, False)
            self._parser.Parse(b"", True)
        except expat.ExpatError as error:
            reason = f"not well-formed XML ({expat.ErrorString(error.code)}); the file may be cut"
            raise self._bad(reason, error.lineno) from error
        except (LookupError, ValueError) as error:
            raise self._bad(f"the XML cannot be read ({error})") from error

    def _doctype(self, *_: object) -> None:
        raise self._bad("a DOCTYPE, which no Green Button feed needs and which can do harm")

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        path = self._path
        parent = path[-1] if path else self._check_root(name)
        if len(path) == _DEEPEST:
            raise self._bad(f"elements nested more than {_DEEPEST} deep")
        path.append(name)
        self._field = _FIELDS.get((parent, name))
        self._text = ""
        opener = self._openers.get(name)
        if opener is not None:
            opener(attributes)
        elif parent == _CONTENT:
            self._check_content(name)

    def _characters(self, text: str) -> None:
        if self._field is not None:
            self._text += text
            if len(self._text) > _LONGEST_TEXT:
                raise self._bad(f"{self._field}: longer than {_LONGEST_TEXT} characters")

    def _end(self, name: str) -> None:
        self._path.pop()
        if self._field is not None:
            values, text = self._values, self._text.strip()
            # Only a quality may come more than once; two values are thus no number.
            values[self._field] = f"{values[self._field]} {text}" if self._field in values else text
            self._field = None
        closer = self._closers.get(name)
        if closer is not None:
            closer()

    def _check_root(self, name: str) -> str:
        if name not in (_atom("feed"), _atom("entry")):
            raise ImportRefused(
                f"{self._feed.path.name}: this XML is no Green Button feed: it begins with "
                f"{shown(name.rpartition(' ')[2])}, not with an Atom feed ({ATOM})"
            )
        return ""

    def _check_content(self, name: str) -> None:
        namespace, _, kind = name.rpartition(" ")
        if namespace == ESPI:
            self._kind = kind
        elif kind in _ENTRY_KINDS:
            raise self._bad(f"{kind} is in the namespace {shown(namespace)}, but ESPI is {ESPI}")

    def _open_entry(self, _: Mapping[str, str]) -> None:
        self._entry_line = self._parser.CurrentLineNumber
        self._links, self._entry, self._kind = {}, {}, ""
        self._values, self._begin = self._entry, self._records

    def _take_link(self, attributes: Mapping[str, str]) -> None:
        if self._path[-2:-1] == [_atom("entry")] and "href" in attributes:
            relation = attributes.get("rel", "alternate")
            self._links.setdefault(relation, []).append(address(attributes["href"]))

    def _open_kind(self, kind: str) -> Callable[[Mapping[str, str]], None]:
        def open_(_: Mapping[str, str]) -> None:
            self._kind = kind

        return open_

    def _open_reading(self, _: Mapping[str, str]) -> None:
        self._reading_line = self._parser.CurrentLineNumber
        self._values = {}

    def _close_reading(self) -> None:
        reading, self._values = self._values, self._entry
        if "value" not in reading and "cost" in reading:
            self._pass_over("readings of cost alone")
            return
        value = self._number(reading, "value", "a whole number of up to 15 digits")
        start = self._number(reading, "start", "seconds since 1970 in UTC, such as 1704067200")
        if not _EARLIEST_S <= start < _LATEST_S:
            raise self._bad(f"start: {start} is not a time between 1900 and 2200")
        duration = reading.get("duration")
        if duration is not None and not _SECONDS(duration):
            raise self._bad(f"duration: {shown(duration)} is not a whole number of seconds")
        try:
            level = level_of(reading["quality"]) if "quality" in reading else 0
        except ValueError as error:
            raise self._bad(f"quality: {error}") from error
        length = -1 if duration is None else int(duration)
        self._feed.spill.write(_PACK(start, value, length, level, self._reading_line))
        self._records += 1

    def _number(self, reading: Mapping[str, str], name: str, wanted: str) -> int:
        text = reading.get(name)
        if text is None:
            raise self._bad(f"an IntervalReading without {name}")
        if not _WHOLE(text):
            raise self._bad(f"{name}: {shown(text)} is not {wanted}")
        return int(text)

    def _close_entry(self) -> None:
        entry = Entry(self._entry_line, self._links, self._entry)
        if self._records > self._begin:
            above = entry.link("up") or entry.link("self").rpartition("/")[0]
            blocks = self._feed.blocks.setdefault(above, Blocks(entry.line))
            blocks.add(self._begin, self._records - self._begin)
        elif self._kind in _ENTRY_KINDS:
            self._feed.entries[self._kind].append(entry)
        elif self._kind and self._kind not in _IGNORED_KINDS:
            self._pass_over(self._kind)

    def _pass_over(self, what: str) -> None:
        self._report.passed_over[what] = self._report.passed_over.get(what, 0) + 1

    def _bad(self, reason: str, line: int | None = None) -> ImportRefused:
        if line is None:
            line = self._parser.CurrentLineNumber
        return refused(self._feed.path, [BadRow(line, reason)])


_CONTENT = _atom("content")
