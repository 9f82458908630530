"""Bring the demo meters up to now; a second run adds only what is missing since the first."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

import polars as pl

from meterport.domain.readings import Merged
from meterport.ports import MeterCatalog, ReadingSource, ReadingStore
from meterport.ports.audit import Recorder
from meterport.services.demo_readings import DemoMeter, demo_readings
from meterport.services.import_readings import import_batches

DEMO_START = datetime(2024, 1, 1, tzinfo=UTC)


def load_demo(
    meters: Iterable[DemoMeter],
    start: datetime,
    end: datetime,
    *,
    source: ReadingSource,
    store: ReadingStore,
    catalog: MeterCatalog,
    audit: Recorder,
) -> Merged:
    batches = _missing(meters, start, end, catalog)
    return import_batches(batches, source=source, store=store, catalog=catalog, audit=audit)


def _missing(
    meters: Iterable[DemoMeter], start: datetime, end: datetime, catalog: MeterCatalog
) -> Iterator[pl.DataFrame]:
    for meter in meters:
        known = catalog.get(meter.smart_meter_id)
        interval = timedelta(seconds=meter.interval_s)
        since = start if known is None else max(start, known.last + interval)
        yield from demo_readings(meter, since, end)
