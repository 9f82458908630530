"""Green Button feeds by hand, and what the importer makes of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from meterport.domain.errors import ImportRefused
from meterport.domain.readings import READING_SCHEMA
from meterport.importers import importer_for
from meterport.importers.base import FileReport
from meterport.importers.options import ImportOptions

ZONE = ZoneInfo("Europe/Berlin")
Codes = Mapping[str, object]

OURS = ImportOptions()
BAD_LINE = "nothing was imported; bad rows:\n{}: line {}: {}"
NEW_YEAR = 1704067200
"""2024-01-01T00:00:00Z."""
ROOT = "/espi/1_1/resource/"
ENERGY: Codes = {
    "accumulationBehaviour": 4,
    "commodity": 1,
    "dataQualifier": 12,
    "flowDirection": 1,
    "intervalLength": 900,
    "powerOfTenMultiplier": 0,
    "uom": 72,
}
POWER: Codes = {**ENERGY, **{"accumulationBehaviour": 12, "uom": 38}}


def entry(content: str, *, up: str = "", self_: str = "", related: Sequence[str] = ()) -> str:
    links = [("self", self_), ("up", up), *(("related", each) for each in related)]
    said = "".join(f'<link rel="{rel}" href="{href}"/>' for rel, href in links if href)
    return f"<entry>{said}<content>{content}</content></entry>"


def point(address: str = "UsagePoint/A", *, service: int = 0, root: str = ROOT) -> str:
    return entry(
        f'<UsagePoint xmlns="http://naesb.org/espi"><ServiceCategory><kind>{service}</kind>'
        "</ServiceCategory></UsagePoint>",
        self_=root + address,
        related=[f"{root}{address}/MeterReading"],
    )


def meter_reading(
    name: str = "e", *, of: str = "UsagePoint/A", type_: str | None = None, root: str = ROOT
) -> str:
    address = f"{root}{of}/MeterReading/{name}"
    return entry(
        '<MeterReading xmlns="http://naesb.org/espi"/>',
        self_=address,
        up=f"{root}{of}/MeterReading",
        related=[f"{address}/IntervalBlock", f"{root}ReadingType/{type_ or name}"],
    )


def reading_type(name: str = "e", *, root: str = ROOT, codes: Codes = ENERGY) -> str:
    """Without the codes that are None; those of ENERGY unless others are said."""
    said = "".join(
        f"<{code}>{value}</{code}>"
        for code, value in {**ENERGY, **codes}.items()
        if value is not None
    )
    content = f'<ReadingType xmlns="http://naesb.org/espi">{said}</ReadingType>'
    return entry(content, self_=f"{root}ReadingType/{name}")


def reading(
    value: object, start: object = NEW_YEAR, duration: object = 900, *quality: object
) -> str:
    length = "" if duration is None else f"<duration>{duration}</duration>"
    codes = "".join(f"<ReadingQuality><quality>{q}</quality></ReadingQuality>" for q in quality)
    return (
        f"<IntervalReading>{codes}<timePeriod>{length}<start>{start}</start></timePeriod>"
        f"<value>{value}</value></IntervalReading>"
    )


def block(
    *readings: str, of: str = "UsagePoint/A/MeterReading/e", number: int = 1, root: str = ROOT
) -> str:
    """Each reading on a line of its own, as is the block's first line."""
    lines = "\n".join(readings)
    address = f"{root}{of}/IntervalBlock"
    content = f'<IntervalBlock xmlns="http://naesb.org/espi">\n{lines}\n</IntervalBlock>'
    return entry(content, self_=f"{address}/{number}", up=address)


def channel(
    name: str, *readings: str, of: str = "UsagePoint/A", codes: Codes = ENERGY
) -> list[str]:
    """A MeterReading with its ReadingType and one block of readings."""
    return [
        meter_reading(name, of=of),
        reading_type(name, codes=codes),
        block(*readings, of=f"{of}/MeterReading/{name}"),
    ]


def file(folder: Path, *entries: str, name: str = "a.xml") -> Path:
    """Entry by entry, the first of them on line 2."""
    path = folder / name
    lines = ['<feed xmlns="http://www.w3.org/2005/Atom">', *entries, "</feed>", ""]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def read(
    path: Path, options: ImportOptions = OURS, report: FileReport | None = None
) -> pl.DataFrame:
    batches = importer_for(path).read(path, options, report or FileReport(path))
    return pl.concat([READING_SCHEMA.to_frame(), *batches])


def refusal(path: Path, options: ImportOptions = OURS) -> str:
    with pytest.raises(ImportRefused) as refused:
        read(path, options)
    return refused.value.message
