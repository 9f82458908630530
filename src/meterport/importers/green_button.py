"""Green Button: Atom feeds of NAESB ESPI, as utilities hand them out and as we write them.

Channels: energy drawn and fed in (Wh, per interval or as a register), W, V and A become columns;
          those of a UsagePoint, in whatever order, one row per timestamp. Others are counted.
Values:   whole numbers times a power of ten become the nearest float64.
Time:     start is the interval's start in UTC seconds; LocalTimeParameters change nothing.
Quality:  codes are words, as in green_button_quality.py; without code it is null.
Memory:   the file is read once; its readings wait in a temporary file of 28 bytes each until the
          links are known. Those of one meter, about 200 bytes each, are in memory together.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import polars as pl

from meterport.domain.errors import ImportRefused
from meterport.domain.readings import VALUE_COLUMNS
from meterport.importers.base import FileReport, ImportFormat, gathered
from meterport.importers.green_button_feed import Feed, read_feed
from meterport.importers.green_button_links import Series, all_series, meter_ids
from meterport.importers.green_button_rows import Readings, rows
from meterport.importers.options import ImportOptions

BATCH_ROWS = 100_000


def read(path: Path, options: ImportOptions, report: FileReport) -> Iterator[pl.DataFrame]:
    with tempfile.TemporaryFile() as spill:
        feed = read_feed(path, spill, report)
        meters = _meters(feed, options, report).items()
        parts = (
            part
            for meter, series in meters
            for part in rows(path, meter, _readings(feed, series), report).iter_slices(BATCH_ROWS)
        )
        yield from gathered(parts, report, rows=BATCH_ROWS)
        if report.rows == 0:
            raise ImportRefused(f"{path.name}: {_nothing(report)}")


def _meters(
    feed: Feed, options: ImportOptions, report: FileReport
) -> Mapping[str, Sequence[Series]]:
    """By meter, what can become rows; the rest is counted."""
    by_point: dict[str, list[Series]] = {}
    for series in all_series(feed):
        if series.service is not None or series.kind.column is None:
            report.pass_over(series.service or series.kind.label, len(series.blocks))
        else:
            by_point.setdefault(series.point, []).append(series)
    found = {series.kind.column for point in by_point.values() for series in point}
    report.missing_columns = [name for name in VALUE_COLUMNS if name not in found]
    if options.smart_meter_id is None:
        ids = meter_ids(feed, {point: series[0].line for point, series in by_point.items()})
    elif len(by_point) > 1:
        raise ImportRefused(
            f"{feed.path.name}: the feed has {len(by_point)} meters (UsagePoints); "
            "--meter would make them one"
        )
    else:
        ids = dict.fromkeys(by_point, options.smart_meter_id)
    return {ids[point]: series for point, series in by_point.items()}


def _readings(feed: Feed, series: Sequence[Series]) -> list[Readings]:
    return [
        Readings(each.kind, len(each.blocks), partial(feed.records, each.blocks)) for each in series
    ]


def _nothing(report: FileReport) -> str:
    counts = ", ".join(f"{what} ({count:,})" for what, count in report.passed_over.items())
    passed_over = f"; passed over: {counts}" if counts else ""
    return f"no readings of electricity drawn or fed in, of power, voltage or current{passed_over}"


FORMAT = ImportFormat(
    "green_button",
    (".xml",),
    read,
    understands=frozenset({"--meter"}),
    knows="Green Button says its columns, interval lengths and time (UTC) itself",
    media_types=("application/atom+xml", "application/xml", "text/xml"),
)
