"""Green Button: an Atom feed of NAESB ESPI (REQ.21, espi.xsd 4.0).

Order:   per meter its LocalTimeParameters, its UsagePoint and, day by day (days of the sheet's
         zone), an IntervalBlock per channel. A MeterReading and its ReadingType stand before the
         first block that needs them: one per channel, interval length and multiplier.
Values:  whole numbers times ten to the powerOfTenMultiplier, exact. A meter's channel has one
         multiplier in the whole file: thousandths of Wh, W, V and A, else what its values need;
         several only where 48 bits do not reach from its finest digit to its largest value.
         Minus zero is written as zero.
Time:    start is the interval's start in UTC epoch seconds; a missing value has no reading.
Ids:     UUIDs of the entry's own address, thus of meter, channel and day; links carry a type,
         as OpenESPI's atom.xsd wants. A meter without any value has no entry.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from urllib.parse import quote
from uuid import UUID, uuid5
from xml.sax.saxutils import escape

import numpy as np
import polars as pl

from meterport.domain.errors import FormatCannotHold, SourceDataInvalid
from meterport.domain.espi_quality import QUALITY_CODES
from meterport.domain.period import iso_utc
from meterport.domain.readings import READING_SCHEMA
from meterport.domain.sheets import Sheet
from meterport.domain.zones import local_days
from meterport.encoders.base import Cut, ExportFormat, Sink
from meterport.encoders.espi_time import local_time
from meterport.encoders.espi_values import NOT_HELD, multipliers, scaled, spans
from meterport.encoders.whole_meters import Batch, batches

NAMESPACE = UUID("7d1f0c52-5a0c-5b0e-9c55-3f8f2b6f4a61")
ADDRESS = "/espi/1_1/resource"
BATCH_ROWS = 20_000
"""About how many rows become text at once: some 200 bytes per value."""

OTHER_QUALITY = QUALITY_CODES["other"]
MEASURING_PERIOD = {
    60: 3,
    120: 10,
    180: 14,
    300: 6,
    600: 1,
    900: 2,
    1200: 31,
    1800: 5,
    3600: 7,
    86400: 4,
}


@dataclass(frozen=True)
class Channel:
    """A column as ESPI knows it; the value in its unit is ours times 10**-shift."""

    column: str
    title: str
    kind: int
    uom: int
    flow: int
    accumulation: int
    qualifier: int
    shift: int


_INTERVAL, _NO_ACCUMULATION = 4, 0
_NORMAL, _AVERAGE = 12, 2
CHANNELS = (
    Channel("energy_kwh", "Energy delivered, Wh", 12, 72, 1, _INTERVAL, _NORMAL, -3),
    Channel("energy_export_kwh", "Energy received, Wh", 12, 72, 19, _INTERVAL, _NORMAL, -3),
    Channel("power_kw", "Power, W", 37, 38, 1, _NO_ACCUMULATION, _AVERAGE, -3),
    Channel("voltage_v", "Voltage, V", 54, 29, 0, _NO_ACCUMULATION, _AVERAGE, 0),
    Channel("current_a", "Current, A", 4, 5, 0, _NO_ACCUMULATION, _AVERAGE, 0),
)


@dataclass(frozen=True)
class Series:
    """What one ReadingType tells of readings."""

    channel: Channel
    interval_s: int
    multiplier: int

    @property
    def name(self) -> str:
        return f"{self.channel.column}.{self.interval_s}s.{self.multiplier}"


@dataclass(frozen=True)
class Block:
    """A day's readings of a series, as text, from `start` to `end` in epoch seconds."""

    meter: str
    day: date
    series: Series
    start: int
    end: int
    readings: str


Multipliers = Sequence[Mapping[str, tuple[int, ...]]]
"""For each of CHANNELS, and each meter with values in it."""


def body(frames: Iterable[pl.DataFrame], sink: Sink, sheet: Sheet) -> None:
    """Write the entries of whole meters."""
    entries = _Entries(sheet)
    for meters in batches(frames, rows=BATCH_ROWS):
        chosen = _multipliers(meters)
        meter, written = None, set[Series]()
        for days in _whole_days(meters.frames(), sheet.zone):
            for block in _blocks(days, chosen):
                if block.meter != meter:
                    meter, written = block.meter, set()
                    sink.write(entries.local_time(meter, block.day).encode())
                    sink.write(entries.usage_point(meter).encode())
                if block.series not in written:
                    written.add(block.series)
                    sink.write(entries.meter_reading(meter, block.series).encode())
                sink.write(entries.interval_block(block).encode())


def head(sheet: Sheet) -> bytes:
    start, end, made_at = map(iso_utc, (sheet.period.start, sheet.period.end, sheet.made_at))
    named = "\n".join((*sheet.meters, start, end, sheet.zone, made_at))
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<feed xmlns="http://www.w3.org/2005/Atom">\n'
        f"<id>urn:uuid:{uuid5(NAMESPACE, named)}</id>\n"
        f"<title>Readings from {start} to {end}</title>\n"
        f"<updated>{made_at}</updated>\n"
        "<author><name>meterport</name></author>\n"
        f"{_link('self', f'{ADDRESS}/Feed/{uuid5(NAMESPACE, named)}', 'application/atom+xml')}\n"
    )
    return text.encode()


def _whole_days(frames: Iterable[pl.DataFrame], zone: str) -> Iterator[pl.DataFrame]:
    """About BATCH_ROWS at a time, never cutting a day; `day_run` numbers a batch's meter-days.

    So the bytes do not depend on where the frames were cut.
    """
    held = pl.DataFrame()
    for frame in frames:
        for rows in frame.with_columns(day=local_days(frame["timestamp"], zone)).iter_slices(
            BATCH_ROWS
        ):
            batch = _numbered(held.vstack(rows) if held.height else rows)
            last = batch["day_run"] == batch["day_run"].max()
            held = batch.filter(last).drop("day_run")
            if held.height < batch.height:
                yield batch.filter(~last)
    if held.height:
        yield _numbered(held)


def _numbered(batch: pl.DataFrame) -> pl.DataFrame:
    return batch.with_columns(day_run=pl.struct("smart_meter_id", "day").rle_id())


def _multipliers(batch: Batch) -> Multipliers:
    """Raises FormatCannotHold at a value that no multiplier holds."""
    found: list[defaultdict[str, set[tuple[int, int]]]] = [defaultdict(set) for _ in CHANNELS]
    for frame in batch.frames():
        for channel, of_meters in zip(CHANNELS, found, strict=True):
            for meter, finest, coarsest in _spans(frame, channel).iter_rows():
                of_meters[meter].add((finest, coarsest))
    return [
        {meter: multipliers(spans) for meter, spans in of_meters.items()} for of_meters in found
    ]


def _spans(frame: pl.DataFrame, channel: Channel) -> pl.DataFrame:
    rows = frame.select("smart_meter_id", "timestamp", channel.column).drop_nulls(channel.column)
    distinct = rows.select("smart_meter_id", channel.column).unique()
    finest, coarsest = spans(distinct[channel.column].to_numpy(), shift=channel.shift)
    if (coarsest == NOT_HELD).any():
        _, all_ = spans(rows[channel.column].to_numpy(), shift=channel.shift)
        meter, time, _ = rows.row(int((all_ == NOT_HELD).argmax()))
        raise FormatCannotHold(
            f"{channel.column} of {meter} at {iso_utc(time)} does not fit into Green Button's "
            "48-bit integers without losing digits",
            "Ask for csv or parquet, which hold every value",
        )
    return distinct.select("smart_meter_id", finest=finest, coarsest=coarsest).unique()


def _blocks(batch: pl.DataFrame, multipliers: Multipliers) -> Iterator[Block]:
    if batch["interval_s"].null_count():
        raise SourceDataInvalid("readings without interval_s; import them again with --map")
    by_channel = [_channel_blocks(batch, *each) for each in enumerate(multipliers)]
    for row in pl.concat(by_channel).sort("day_run", "channel", maintain_order=True).iter_rows():
        _, interval_s, multiplier, channel, meter, day, start, end, readings = row
        yield Block(
            meter, day, Series(CHANNELS[channel], interval_s, multiplier), start, end, readings
        )


def _channel_blocks(
    batch: pl.DataFrame, number: int, multipliers: Mapping[str, tuple[int, ...]]
) -> pl.DataFrame:
    group = ("day_run", "interval_s", "multiplier")
    channel = CHANNELS[number]
    rows = _with_units(batch.drop_nulls(channel.column), channel, multipliers)
    start = pl.col("timestamp").dt.epoch("s")
    return rows.group_by(group, maintain_order=True).agg(
        pl.lit(number).alias("channel"),
        pl.col("smart_meter_id").first(),
        pl.col("day").first(),
        start.first().alias("start"),
        (start.last() + pl.col("interval_s").last()).alias("end"),
        _reading_text(start).str.join().alias("readings"),
    )


def _with_units(
    rows: pl.DataFrame, channel: Channel, multipliers: Mapping[str, tuple[int, ...]]
) -> pl.DataFrame:
    """Each value by the first of its meter's multipliers that holds it, nearly always the only."""
    values = rows[channel.column].to_numpy()
    chosen, units = (np.zeros(rows.height, np.int64) for _ in range(2))
    waiting = np.ones(rows.height, np.bool_)
    for place in range(max(map(len, multipliers.values()), default=0)):
        of_meters = {
            meter: found[min(place, len(found) - 1)] for meter, found in multipliers.items()
        }
        here = rows["smart_meter_id"].replace_strict(of_meters, return_dtype=pl.Int64).to_numpy()
        found = scaled(values, here + channel.shift)
        new = waiting & found.held
        chosen[new], units[new] = here[new], found.units[new]
        waiting &= ~new
        if not waiting.any():
            break
    return rows.with_columns(multiplier=chosen, units=units)


def _reading_text(start: pl.Expr) -> pl.Expr:
    word = pl.col("quality").str.strip_chars().str.to_lowercase()
    code = word.replace_strict(QUALITY_CODES, default=OTHER_QUALITY, return_dtype=pl.Int64)
    quality = pl.format("<ReadingQuality><quality>{}</quality></ReadingQuality>", code)
    return pl.format(
        "<IntervalReading>{}<timePeriod><duration>{}</duration><start>{}</start></timePeriod>"
        "<value>{}</value></IntervalReading>\n",
        pl.when(pl.col("quality").is_null()).then(pl.lit("")).otherwise(quality),
        pl.col("interval_s"),
        start,
        pl.col("units"),
    )


class _Entries:
    """The feed's entries as text, all made at the sheet's time."""

    def __init__(self, sheet: Sheet) -> None:
        self._zone = sheet.zone
        self._made_at = iso_utc(sheet.made_at)

    def local_time(self, meter: str, day: date) -> str:
        """As it was on the meter's first day."""
        times = local_time(self._zone, day)
        return self._entry(
            _local_time(meter, self._zone),
            self._zone,
            '<LocalTimeParameters xmlns="http://naesb.org/espi">'
            f"<dstEndRule>{times.dst_end_rule}</dstEndRule>"
            f"<dstOffset>{times.dst_offset_s}</dstOffset>"
            f"<dstStartRule>{times.dst_start_rule}</dstStartRule>"
            f"<tzOffset>{times.tz_offset_s}</tzOffset></LocalTimeParameters>",
        )

    def usage_point(self, meter: str) -> str:
        return self._entry(
            _usage_point(meter),
            meter,
            '<UsagePoint xmlns="http://naesb.org/espi"><ServiceCategory><kind>0</kind>'
            "</ServiceCategory></UsagePoint>",
            (f"{_usage_point(meter)}/MeterReading", "espi-feed/MeterReading"),
            (_local_time(meter, self._zone), "espi-entry/LocalTimeParameters"),
        )

    def meter_reading(self, meter: str, series: Series) -> str:
        """The MeterReading and its ReadingType."""
        reading = _meter_reading(meter, series)
        kind = f"ReadingType/{_segment(meter)}.{series.name}"
        title = series.channel.title
        return self._entry(
            reading,
            title,
            '<MeterReading xmlns="http://naesb.org/espi"/>',
            (f"{reading}/IntervalBlock", "espi-feed/IntervalBlock"),
            (kind, "espi-entry/ReadingType"),
        ) + self._entry(kind, title, _reading_type(series))

    def interval_block(self, block: Block) -> str:
        return self._entry(
            f"{_meter_reading(block.meter, block.series)}/IntervalBlock/{block.day}",
            str(block.day),
            '<IntervalBlock xmlns="http://naesb.org/espi">\n'
            f"<interval><duration>{block.end - block.start}</duration>"
            f"<start>{block.start}</start></interval>\n{block.readings}</IntervalBlock>",
        )

    def _entry(self, path: str, title: str, content: str, *related: tuple[str, str]) -> str:
        above, _ = path.rsplit("/", 1)
        kind = above.rsplit("/", 1)[-1]
        links = [
            _link("self", f"{ADDRESS}/{path}", f"espi-entry/{kind}"),
            _link("up", f"{ADDRESS}/{above}", f"espi-feed/{kind}"),
            *(_link("related", f"{ADDRESS}/{other}", type_) for other, type_ in related),
        ]
        return (
            f"<entry>\n<id>urn:uuid:{uuid5(NAMESPACE, path)}</id>\n"
            + "".join(f"{link}\n" for link in links)
            + f"<title>{escape(title)}</title>\n"
            f'<content type="application/xml">{content}</content>\n'
            f"<published>{self._made_at}</published>\n<updated>{self._made_at}</updated>\n"
            "</entry>\n"
        )


def _reading_type(series: Series) -> str:
    channel = series.channel
    electricity = 1
    return (
        '<ReadingType xmlns="http://naesb.org/espi">'
        f"<accumulationBehaviour>{channel.accumulation}</accumulationBehaviour>"
        f"<commodity>{electricity}</commodity>"
        f"<dataQualifier>{channel.qualifier}</dataQualifier>"
        f"<flowDirection>{channel.flow}</flowDirection>"
        f"<intervalLength>{series.interval_s}</intervalLength>"
        f"<kind>{channel.kind}</kind>"
        "<phase>0</phase>"
        f"<powerOfTenMultiplier>{series.multiplier}</powerOfTenMultiplier>"
        "<timeAttribute>0</timeAttribute>"
        f"<uom>{channel.uom}</uom>"
        f"<measuringPeriod>{MEASURING_PERIOD.get(series.interval_s, 0)}</measuringPeriod>"
        "</ReadingType>"
    )


def _local_time(meter: str, zone: str) -> str:
    return f"LocalTimeParameters/{_segment(meter)}.{quote(zone, safe='')}"


def _usage_point(meter: str) -> str:
    return f"UsagePoint/{_segment(meter)}"


def _meter_reading(meter: str, series: Series) -> str:
    return f"{_usage_point(meter)}/MeterReading/{series.name}"


def _segment(text: str) -> str:
    return quote(text, safe=":")


def _link(relation: str, address: str, type_: str) -> str:
    return f'<link rel="{relation}" href="{address}" type="{type_}"/>'


FORMAT = ExportFormat(
    "xml",
    "application/atom+xml; charset=utf-8",
    "xml",
    body,
    head=head,
    foot=b"</feed>\n",
    cut=Cut.METERS,
    columns=tuple(READING_SCHEMA),
    needs=tuple(READING_SCHEMA),
    row_bytes=800,
)
