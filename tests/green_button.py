"""A reader of Green Button feeds that knows nothing of how ours are written.

It follows links alone: a block's `up` is a MeterReading's `related`, whose other `related` is the
ReadingType; the MeterReading's `up` is the UsagePoint's `related`.
"""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache

from lxml import etree

SPACES = {"a": "http://www.w3.org/2005/Atom", "e": "http://naesb.org/espi"}


@dataclass(frozen=True)
class Entry:
    element: etree._Element

    def links(self, relation: str) -> list[str]:
        return [str(href) for href in _found(self.element, f"a:link[@rel='{relation}']/@href")]

    @property
    def title(self) -> str:
        return _text(self.element, "a:title")

    def content(self, path: str) -> str:
        return _text(self.element, f"a:content/*/{path}")


@dataclass(frozen=True)
class Reading:
    """`value` is in the unit of `uom`, after its multiplier."""

    meter: str
    uom: int
    flow: int
    interval_s: int
    multiplier: int
    start: int
    duration: int
    value: Decimal
    quality: int | None


def entries(feed: bytes, kind: str) -> list[Entry]:
    root = etree.fromstring(feed)
    return [Entry(found) for found in _found(root, f"a:entry[a:content/e:{kind}]")]


def readings(feed: bytes) -> list[Reading]:
    types = {entry.links("self")[0]: entry for entry in entries(feed, "ReadingType")}
    points = {
        link: entry for entry in entries(feed, "UsagePoint") for link in entry.links("related")
    }
    series = {
        link: entry for entry in entries(feed, "MeterReading") for link in entry.links("related")
    }
    found = []
    for block in entries(feed, "IntervalBlock"):
        (up,) = block.links("up")
        meter_reading = series[up]
        (kind,) = (types[link] for link in meter_reading.links("related") if link in types)
        meter = points[meter_reading.links("up")[0]].title
        found += list(_of_block(block, meter, kind))
    return found


def streamed(feed: bytes) -> Iterator[Reading]:
    """As `readings`, of a feed too long to be held, in which blocks come after all they name."""
    types: dict[str, Entry] = {}
    points: dict[str, Entry] = {}
    series: dict[str, Entry] = {}
    for _, element in etree.iterparse(io.BytesIO(feed), tag=f"{{{SPACES['a']}}}entry"):
        entry = Entry(element)
        if _found(element, "a:content/e:IntervalBlock"):
            (up,) = entry.links("up")
            (kind,) = (types[link] for link in series[up].links("related") if link in types)
            yield from _of_block(entry, points[series[up].links("up")[0]].title, kind)
            element.clear()
        elif _found(element, "a:content/e:ReadingType"):
            types[entry.links("self")[0]] = entry
        else:
            of = series if _found(element, "a:content/e:MeterReading") else points
            of.update(dict.fromkeys(entry.links("related"), entry))


def blocks(feed: bytes) -> Iterator[tuple[str, int, int, int]]:
    """(title, start, duration, number of readings) of each block."""
    for entry in entries(feed, "IntervalBlock"):
        start, duration = (entry.content(f"e:interval/e:{name}") for name in ("start", "duration"))
        count = len(_found(entry.element, "a:content/*/e:IntervalReading"))
        yield entry.title, int(start), int(duration), count


def values_of_blocks(feed: bytes) -> list[tuple[int, int, int, int | None]]:
    """(start, duration, value, quality) of each reading, in order of time, whatever its unit."""
    found = []
    for reading in _found(etree.fromstring(feed), "//e:IntervalReading"):
        quality = _found(reading, "e:ReadingQuality/e:quality/text()")
        start, duration = (
            int(_text(reading, f"e:timePeriod/e:{name}")) for name in ("start", "duration")
        )
        value = int(_text(reading, "e:value"))
        found.append((start, duration, value, int(quality[0]) if quality else None))
    return sorted(found, key=lambda reading: reading[0])


def _of_block(block: Entry, meter: str, kind: Entry) -> Iterator[Reading]:
    multiplier = int(kind.content("e:powerOfTenMultiplier"))
    for reading in _found(block.element, "a:content/*/e:IntervalReading"):
        quality = _found(reading, "e:ReadingQuality/e:quality/text()")
        yield Reading(
            meter,
            int(kind.content("e:uom")),
            int(kind.content("e:flowDirection")),
            int(kind.content("e:intervalLength")),
            multiplier,
            int(_text(reading, "e:timePeriod/e:start")),
            int(_text(reading, "e:timePeriod/e:duration")),
            Decimal(_text(reading, "e:value")).scaleb(multiplier),
            int(quality[0]) if quality else None,
        )


def _found(element: etree._Element, path: str) -> list[etree._Element]:
    found: list[etree._Element] = _compiled(path)(element)
    return found


@cache
def _compiled(path: str) -> etree.XPath:
    return etree.XPath(path, namespaces=SPACES)


def _text(element: etree._Element, path: str) -> str:
    (found,) = _found(element, path)
    return found.text or ""


def channel(readings: list[Reading], uom: int, flow: int) -> Mapping[tuple[str, int], Decimal]:
    """The values of one quantity by (meter, start); a key twice is a mistake."""
    chosen = [r for r in readings if (r.uom, r.flow) == (uom, flow)]
    values = {(r.meter, r.start): r.value for r in chosen}
    assert len(values) == len(chosen)
    return values
