"""ERCOT's rule in 47 zones: a spring day has 92 quarter hours, an autumn day 100, all others 96.

Of a zone whose clocks change by another step, or skip a day, the days are as long as it has them.
Expected: local days of whole years, quarter by quarter by zoneinfo, with sums of fractions.
Found:    in the finished files of exports, as others read them.
"""

import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq
import pytest

from meterport.domain.exports import ExportRequest
from meterport.domain.options import ExportOptions
from meterport.domain.period import Period
from meterport.domain.shapes import Resolution, Shape
from tests import green_button, make, readers
from tests.readers import Row
from tests.unit import clocks
from tests.unit.exports import exported

DAY = timedelta(days=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LONG_AND_SHORT: Mapping[str, Mapping[str, int]] = {
    "America/Chicago": {"2025-03-09": 92, "2025-11-02": 100},  # ERCOT's own
    "Europe/Berlin": {"2025-03-30": 92, "2025-10-26": 100},
    "Australia/Lord_Howe": {"2025-04-06": 98, "2025-10-05": 94},
    "Antarctica/Troll": {"2025-03-30": 88, "2025-10-26": 104},
    "Pacific/Apia": {"2011-04-02": 100, "2011-09-24": 92},  # and 30 December 0
    "America/Sao_Paulo": {"2018-02-17": 100, "2018-11-04": 92},
    "America/Caracas": {"2016-05-01": 94},
    "Asia/Pyongyang": {"2018-05-04": 94},
    "Africa/Casablanca": {"2025-02-23": 100, "2025-04-06": 92},
    "Asia/Kathmandu": {},
    "UTC": {},
}
"""The days that have not 96, written out, so that both sides cannot be wrong together."""


def thousandths(at: datetime) -> int:
    """Of a kWh, from that instant to a quarter of an hour later."""
    return (at - EPOCH) // clocks.QUARTER * 7919 % 100_003


def kwh(at: datetime) -> float:
    return thousandths(at) / 1000


def year_of(zone: str) -> Period:
    """From one local New Year to the next."""
    year = clocks.YEARS.get(zone, 2025)
    start, end = (datetime(y, 1, 1, tzinfo=ZoneInfo(zone)) for y in (year, year + 1))
    return Period(start.astimezone(UTC), end.astimezone(UTC))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[make.Home]:
    """A meter with a quarter of an hour after the other, in all years that are asked for."""
    made = make.home(tmp_path_factory.mktemp("years"))
    for year in sorted({*clocks.YEARS.values(), 2025}):
        start, end = (datetime(y, 1, 1, tzinfo=UTC) for y in (year, year + 1))
        times = list(clocks.steps(Period(start - DAY, end + DAY)))
        energy = [kwh(at) for at in times]
        made.load(make.readings(*energy, start=times[0], interval_s=900, power_kw=None))
    yield made
    made.services.close()


@dataclass
class Bucket:
    """An hour or a day by the clock on the wall."""

    start: datetime
    quarters: int = 0
    thousandths: int = 0

    def add(self, at: datetime) -> None:
        self.quarters += 1
        self.thousandths += thousandths(at)

    @property
    def row(self) -> tuple[str, int, float, int]:
        """Its start, its length in seconds, its energy, and how many readings it has."""
        energy = float(Fraction(self.thousandths, 1000))
        return said(self.start), self.quarters * 900, energy, self.quarters


def said(local: datetime) -> str:
    return (
        local.isoformat().replace("+00:00", "Z") if local.tzname() == "UTC" else local.isoformat()
    )


def buckets(period: Period, zone: str, resolution: str) -> list[Bucket]:
    rules = ZoneInfo(zone)
    found: dict[object, Bucket] = {}
    for at in clocks.steps(period):
        key = clocks.bucket(at, resolution, zone)
        found.setdefault(key, Bucket(at.astimezone(rules))).add(at)
    return list(found.values())


def in_csv(home: make.Home, zone: str, resolution: Resolution) -> list[tuple[str, int, float, int]]:
    """Of the zone's year: start, length, energy, and number of readings of each row."""
    columns = ("timestamp", "interval_s", "energy_kwh")
    shape = Shape(resolution, zone, columns=columns, with_count=True)
    text = exported(home, request("csv", year_of(zone), shape)).decode()
    header, *lines = text.splitlines()
    assert header == ",".join((*columns, "readings"))
    rows = (line.split(",") for line in lines)
    return [(start, int(length), float(energy), int(n)) for start, length, energy, n in rows]


def request(format_: str, period: Period, shape: Shape) -> ExportRequest:
    return ExportRequest("123", period, format_, options=ExportOptions(shape))


@pytest.mark.parametrize("zone", clocks.ZONES)
def test_a_day_has_the_quarters_that_its_clock_shows(zone: str, home: make.Home) -> None:
    period = year_of(zone)

    rows = in_csv(home, zone, Resolution.RAW)

    rules = ZoneInfo(zone)
    assert rows == [(said(at.astimezone(rules)), 900, kwh(at), 1) for at in clocks.steps(period)]
    days = Counter(start[:10] for start, *_ in rows)
    uncommon = {day: n for day, n in days.items() if n != 96}
    usual = {day: n for day, n in uncommon.items() if n in (92, 100)}
    assert uncommon == LONG_AND_SHORT.get(zone, usual)


@pytest.mark.parametrize("resolution", [Resolution.HOUR, Resolution.DAY])
@pytest.mark.parametrize("zone", clocks.ZONES)
def test_an_hour_or_day_has_the_energy_of_exactly_its_quarters(
    zone: str, resolution: Resolution, home: make.Home
) -> None:
    rows = in_csv(home, zone, resolution)

    assert rows == [each.row for each in buckets(year_of(zone), zone, resolution)]


def by_its_times(read: readers.Reader) -> Callable[[bytes], Counter[date]]:
    return lambda data: Counter(row.timestamp.date() for row in read(data))


def by_the_zone_in_its_metadata(data: bytes) -> Counter[date]:
    metadata = pq.read_schema(io.BytesIO(data)).metadata[b"meterport"]
    rules = ZoneInfo(json.loads(metadata)["timezone"])
    return Counter(row.timestamp.astimezone(rules).date() for row in readers.read_pyarrow(data))


def by_its_blocks(data: bytes) -> Counter[date]:
    """Each of the three channels has the same."""
    days = [(title, count) for title, _, _, count in green_button.blocks(data)]
    counts = dict(days)
    assert Counter(days) == dict.fromkeys(counts.items(), 3)
    return Counter({date.fromisoformat(title): count for title, count in counts.items()})


DAYS: Mapping[str, Callable[[bytes], Counter[date]]] = {
    "json": by_its_times(readers.read_json),
    "ndjson": by_its_times(readers.read_ndjson),
    "xlsx": by_its_times(readers.read_openpyxl),
    "parquet": by_the_zone_in_its_metadata,
    "xml": by_its_blocks,
}
"""How a reader counts local days. NEM12 knows none but its market's, of 96 quarters always."""


@pytest.mark.parametrize("zone", clocks.ZONES)
def test_every_format_tells_the_same_days(zone: str, home: make.Home) -> None:
    for change in clocks.changes(zone):
        period = clocks.around(change)
        expected = clocks.quarters_a_day(period, zone)
        for format_, days in DAYS.items():
            shape = Shape(zone=zone, columns=Row._fields)

            data = exported(home, request(format_, period, shape))

            assert days(data) == expected, (format_, change)


def test_more_than_forty_zones_have_rules_of_their_own() -> None:
    rules = {tuple(map(said, local_hours(zone))) for zone in clocks.ZONES}

    assert len(rules) > 40


def local_hours(zone: str) -> Iterator[datetime]:
    period, rules = year_of(zone), ZoneInfo(zone)
    return (at.astimezone(rules) for at in list(clocks.steps(period))[::4])
