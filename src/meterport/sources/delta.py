"""ReadingSource over the Delta table: prunes files by their bounds, then lets Polars read them.

A scan looks at the newest version, or at the one that is asked for, and at no other.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import polars as pl
from deltalake.exceptions import DeltaError

from meterport.domain.errors import SourceDataInvalid, SourceUnavailable, VersionGone
from meterport.domain.period import Period
from meterport.domain.readings import FRAME_ROWS, KEY, MeterSummary
from meterport.sources import delta_log
from meterport.sources.delta_table import DataFile, data_files, lazy
from meterport.sources.order import in_order
from meterport.sources.table_files import TableFiles

_METER, _TIME = pl.col("smart_meter_id"), pl.col("timestamp")


class DeltaSource:
    def __init__(self, files: TableFiles, *, frame_rows: int = FRAME_ROWS) -> None:
        self._files = files
        self._frame_rows = frame_rows
        self._known: dict[int, list[DataFile]] = {}

    def version(self) -> int | None:
        with _translated():
            return self._files.table().version()

    def keeps(self, version: int) -> bool:
        with _translated():
            return version in delta_log.versions(self._files)

    def made_at(self, version: int) -> datetime:
        with _translated():
            return delta_log.committed_at(self._files, version)

    def scan(
        self,
        meters: Sequence[str],
        period: Period,
        *,
        columns: Sequence[str],
        version: int | None = None,
    ) -> Iterator[pl.DataFrame]:
        wanted = _METER.is_in(list(meters)) & _TIME.is_between(
            period.start, period.end, closed="left"
        )
        in_order_of_ids = sorted(meters)
        with self._reading():
            files = [f for f in self._live(version) if _may_hold(f, in_order_of_ids, period)]
            if not files:
                return
            rows = self._lazy(files).filter(wanted)
            last: tuple[str, datetime] | None = None
            for part in self._parts(rows, at_most=sum(f.rows for f in files)):
                frame = in_order(rows.filter(part).select(_with_key(columns)).collect(), last)
                if not frame.is_empty():
                    last = frame.select(KEY).row(-1)
                    yield frame.select(columns)

    def summaries(
        self, version: int | None = None, *, meters: Collection[str] | None = None
    ) -> Iterator[MeterSummary]:
        with self._reading():
            files = self._live(version)
            if meters is not None:
                wanted = sorted(meters)
                files = [file for file in files if _may_have(file, wanted)]
            if not files:
                return
            counted = (
                self._lazy(files)
                .filter(pl.lit(value=True) if meters is None else _METER.is_in(list(meters)))
                .group_by("smart_meter_id")
                .agg(
                    _TIME.min().alias("first"),
                    _TIME.max().alias("last"),
                    pl.col("interval_s").sort_by("timestamp").last(),
                    pl.len(),
                )
                .sort("smart_meter_id")
                .collect()
            )
        for row in counted.iter_rows():
            yield MeterSummary(*row)

    def _live(self, version: int | None) -> list[DataFile]:
        """Sorted, so that the rows of one meter come sorted already.

        A version never changes, and the parts of a fleet all read one; so the list of the last
        one is kept. Of a large table it costs seconds.
        """
        known = None if version is None else self._known.get(version)
        if known is not None and version in delta_log.versions(self._files):
            return known
        try:
            table = self._files.table(version)
        except DeltaError:
            there = delta_log.versions(self._files)
            if version is not None and there and version < there[0]:
                raise VersionGone(version, newest=there[-1]) from None
            raise
        files = sorted(data_files(table), key=_time_then_meter)
        self._known = {table.version(): files}
        return files

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            with _translated():
                yield
        except SourceUnavailable:
            self._known = {}  # the table itself may be another one now
            raise

    def _lazy(self, files: Sequence[DataFile]) -> pl.LazyFrame:
        return lazy(self._files, files)

    def _parts(self, rows: pl.LazyFrame, *, at_most: int) -> Iterator[pl.Expr]:
        """Conditions that cut the rows into frames, in order; meters are counted only if needed."""
        if at_most <= self._frame_rows:
            yield pl.lit(value=True)
            return
        counts = rows.group_by("smart_meter_id").len().sort("smart_meter_id").collect()
        for first, last in packed(counts, self._frame_rows):
            group = _METER.is_between(pl.lit(first), pl.lit(last))
            if first != last or counts.filter(first == _METER)["len"][0] <= self._frame_rows:
                yield group
            else:
                yield from self._days(rows.filter(group), group)

    def _days(self, rows: pl.LazyFrame, meter: pl.Expr) -> Iterator[pl.Expr]:
        counts = rows.group_by(_TIME.dt.truncate("1d").alias("day")).len().sort("day").collect()
        for first, last in packed(counts, self._frame_rows):
            until = last + timedelta(days=1)
            yield meter & _TIME.is_between(pl.lit(first), pl.lit(until), closed="left")


def packed(counts: pl.DataFrame, rows: int) -> Iterator[tuple[Any, Any]]:
    """Neighbouring keys, as (first, last), that together have `rows` rows at most, or are one.

    `counts` has the keys in order and their counts beside them.
    """
    first = previous = None
    held = 0
    for key, count in counts.iter_rows():
        if previous is not None and held + count > rows:
            yield first, previous
            first, held = None, 0
        first = key if first is None else first
        previous = key
        held += count
    if previous is not None:
        yield first, previous


def _may_hold(file: DataFile, meters: Sequence[str], period: Period) -> bool:
    """`meters` in order."""
    if file.first_time >= period.end or file.last_time < period.start:
        return False
    return _may_have(file, meters)


def _may_have(file: DataFile, meters: Sequence[str]) -> bool:
    next_meter = bisect_left(meters, file.first_meter)
    return next_meter < len(meters) and meters[next_meter] <= file.last_meter


def _time_then_meter(file: DataFile) -> tuple[str, str, datetime]:
    return (file.month, file.first_meter, file.first_time)


def _with_key(columns: Sequence[str]) -> list[str]:
    return [*columns, *(name for name in KEY if name not in columns)]


@contextmanager
def _translated() -> Iterator[None]:
    """Around opening and consuming alike: a lazy reader fails while it is being read."""
    unavailable = "The readings store cannot be read"
    try:
        yield
    except (OSError, DeltaError) as error:
        raise SourceUnavailable(unavailable, "The service's log names the cause") from error
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise SourceDataInvalid(
            "A file of the readings store is damaged", "The service's log names the file"
        ) from error
