"""Which UsagePoint and ReadingType the readings of a feed belong to: its links say so.

IntervalBlock  → MeterReading by its up link, which is the MeterReading's related link or address.
MeterReading   → ReadingType by a related link, → UsagePoint by its up link in the same way.
Where an entry has no such link, and the feed has exactly one candidate, it is that one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from urllib.parse import unquote

from meterport.domain.errors import shown
from meterport.domain.readings import SMART_METER_ID
from meterport.importers.base import BadRow, refused
from meterport.importers.green_button_feed import Blocks, Entry, Feed
from meterport.importers.green_button_kinds import ReadingKind, kind_of

_WORDS = ("Batch", "Customer", "RetailCustomer", "Subscription", "UsagePoint")
"""Parts of an address that say of what kind the next part is."""
_LONGEST_ID = 64


@dataclass(frozen=True)
class Series:
    """Readings of one UsagePoint and one ReadingType. `service` is None for electricity."""

    point: str
    service: str | None
    line: int
    kind: ReadingKind
    blocks: Blocks


def all_series(feed: Feed) -> list[Series]:
    """Raises ImportRefused, naming the line, for readings that are tied to no unit or meter."""
    readings = _Parents(feed, "MeterReading", "IntervalBlock")
    points = _Parents(feed, "UsagePoint", "MeterReading")
    types = {_identity(entry): entry for entry in feed.entries["ReadingType"]}
    kind = cache(lambda address: kind_of(feed.path, types[address]))
    found = []
    for above, blocks in feed.blocks.items():
        reading = readings.of(above, blocks.line)
        up = reading.link("up") or reading.link("self").rpartition("/")[0]
        point = points.of(up, reading.line)
        type_ = _type_of(feed, reading, types)
        found.append(Series(_identity(point), _service(point), point.line, kind(type_), blocks))
    return found


class _Parents:
    """The entries of a kind by the addresses under which their children may hang."""

    def __init__(self, feed: Feed, kind: str, child: str) -> None:
        self._feed, self._kind, self._child = feed, kind, child
        self._entries = {_identity(entry): entry for entry in feed.entries[kind]}
        self._by_address: dict[str, dict[str, Entry]] = {}
        for entry in self._entries.values():
            self_ = entry.link("self")
            known = (self_, f"{self_}/{child}") if self_ else ()
            for each in (*known, *entry.links.get("related", ())):
                self._by_address.setdefault(each, {})[_identity(entry)] = entry

    def of(self, above: str, line: int) -> Entry:
        if not above and len(self._entries) == 1:
            return next(iter(self._entries.values()))
        found = self._by_address.get(above, {})
        if len(found) == 1:
            return next(iter(found.values()))
        which = f"the link {shown(above)}" if above else "no link"
        reason = f"{self._child} with {which} belongs to {len(found) or 'no'} {self._kind} here"
        raise refused(self._feed.path, [BadRow(line, reason)])


def _type_of(feed: Feed, reading: Entry, types: Mapping[str, Entry]) -> str:
    related = [link for link in reading.links.get("related", ()) if link in types]
    if not related and len(types) == 1 and not any(map(_is_type, reading.links.get("related", ()))):
        related = list(types)
    if len(set(related)) == 1:
        return related[0]
    reason = (
        f"the MeterReading {shown(reading.name)} has {len(set(related)) or 'no'} ReadingType "
        "here, so that its unit is unknown"
    )
    raise refused(feed.path, [BadRow(reading.line, reason)])


def _is_type(link: str) -> bool:
    return "ReadingType" in link.split("/")


def _identity(entry: Entry) -> str:
    return entry.link("self") or entry.fields.get("id", "") or f"line {entry.line}"


def _service(point: Entry) -> str | None:
    names = {"1": "gas", "2": "water", "4": "heat"}
    kind = point.fields.get("service", "0")
    return None if kind == "0" else names.get(kind, f"service {kind}")


def meter_ids(feed: Feed, points: Mapping[str, int]) -> dict[str, str]:
    """By UsagePoint the id of its meter; `points` are the lines of the UsagePoints.

    It is what the address says besides words like UsagePoint, with colons between.
    Raises ImportRefused where that is no id, or that of another UsagePoint.
    """
    found: dict[str, str] = {}
    for point, line in points.items():
        meter = _meter_id(point)
        if meter is None:
            reason = f"of the UsagePoint {shown(point)} no meter id can be made; say --meter ID"
            raise refused(feed.path, [BadRow(line, reason)])
        if meter in found:
            reason = f"the UsagePoints {shown(found[meter])} and {shown(point)} would both be"
            raise refused(feed.path, [BadRow(line, f"{reason} the meter {shown(meter)}")])
        found[meter] = point
    return {point: meter for meter, point in found.items()}


def _meter_id(point: str) -> str | None:
    segments = point.removeprefix("urn:uuid:").split("/")
    names = [unquote(segment) for segment in segments if segment not in _WORDS]
    meter = ":".join(names)
    if len(meter) > _LONGEST_ID:
        # Customer and usage point are UUIDs then, and the latter alone is unique.
        meter = names[-1]
    return meter if SMART_METER_ID.fullmatch(meter) else None
