"""ReadingStore over the Delta table: one import becomes one version, or nothing.

The rows are spooled by month first; then each month is written in ranges of meters, so that
memory holds one file's rows and not an import's. A month's files without any of the new keys
stay as they are; those with some are replaced together with the rows that they keep.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from meterport.domain.errors import (
    ImportRefused,
    MeterportError,
    SourceDataInvalid,
    SourceUnavailable,
    StorageFull,
)
from meterport.domain.readings import (
    KEY,
    READING_SCHEMA,
    Merged,
    MeterSummary,
    commonest_steps,
)
from meterport.ports import Space
from meterport.sources.delta import packed
from meterport.sources.delta_table import (
    DataFile,
    check_whole,
    commit,
    create,
    data_files,
    lazy,
    write_data_file,
)
from meterport.sources.overlaps import resolved
from meterport.sources.table_files import CommitUnknown, TableFiles

FILE_ROWS = 1_048_576
_METER = pl.col("smart_meter_id")
KnownIntervals = Callable[[Collection[str]], Mapping[str, int]]


@dataclass
class _Change:
    """What the next version adds and removes, gathered month by month."""

    added: list[DataFile] = field(default_factory=list)
    removed: list[DataFile] = field(default_factory=list)
    meters: dict[str, MeterSummary] = field(default_factory=dict)
    rows_read: int = 0
    rows_given: int = 0
    rows_overlapped: int = 0
    rows_replaced: int = 0

    def count(self, new: pl.DataFrame, replaced: pl.DataFrame) -> None:
        self.rows_read += new.height
        self.rows_replaced += replaced.height
        for summary in _summaries(new, replaced):
            known = self.meters.get(summary.smart_meter_id)
            self.meters[summary.smart_meter_id] = known.plus(summary) if known else summary

    def unchanged_files(self) -> set[str]:
        """A file's name is its content: what would be removed and added again may stay."""
        return {f.path for f in self.added} & {f.path for f in self.removed}


class DeltaReadings:
    def __init__(
        self, files: TableFiles, *, file_rows: int = FILE_ROWS, space: Space | None = None
    ) -> None:
        self._files = files
        self._file_rows = file_rows
        self._space = space

    def create(self) -> None:
        create(self._files)

    def merge(
        self,
        batches: Iterable[pl.DataFrame],
        *,
        known_intervals: KnownIntervals,
        fence: Callable[[], None],
    ) -> Merged:
        self._files.clear_staging()
        with _refused():
            folder = self._files.staging()
        with folder as staging:
            spool = _Spool(Path(staging))
            for batch in batches:
                with _refused():
                    self._check_space()
                    spool.add(batch)
            with _refused():
                table = self._files.table()
                intervals, derived = self._intervals(spool, known_intervals)
                change = _Change(rows_given=spool.rows)
                live = data_files(table)
                with self._undone(table, change, fence):
                    for month in spool.months():
                        files = [f for f in live if f.month == month]
                        self._merge_month(month, spool.month(month), intervals, files, change)
                    return self._commit(table, change, fence, derived)

    @contextmanager
    def _undone(
        self, table: DeltaTable, change: _Change, fence: Callable[[], None]
    ) -> Iterator[None]:
        """If the import fails, its files go: they may have taken the space that others need."""
        before = set(self._files.data_files())
        try:
            yield
        except CommitUnknown:
            raise  # then the version may name them
        except Exception:
            # What another writer may have named since, or a commit that failed late, stays.
            with suppress(MeterportError, OSError, DeltaError):
                if self._files.table().version() == table.version():
                    added = [f.path for f in change.added if f.path not in before]
                    self._files.remove(added, fence=fence)
            raise

    def _commit(
        self, table: DeltaTable, change: _Change, fence: Callable[[], None], derived: Counter[int]
    ) -> Merged:
        same = change.unchanged_files()
        added = [f for f in change.added if f.path not in same]
        removed = [f for f in change.removed if f.path not in same]
        version = table.version()
        if added or removed:
            fence()
            version = commit(self._files, table, added, removed)
        else:
            # A writer that was killed may have brought the rows, and not come to this.
            self._files.sync_log()
        return Merged(
            version=version,
            rows_new=change.rows_read - change.rows_replaced,
            rows_replaced=change.rows_replaced,
            rows_duplicate=change.rows_given - change.rows_read - change.rows_overlapped,
            rows_overlapped=change.rows_overlapped,
            added=list(change.meters.values()),
            derived_intervals=derived,
        )

    def _merge_month(
        self,
        month: str,
        new: pl.LazyFrame,
        intervals: pl.DataFrame,
        files: list[DataFile],
        change: _Change,
    ) -> None:
        touched = self._touched(new, files)
        check_whole(self._files, touched)
        old = self._lazy(touched)
        change.removed += touched
        for meters in self._ranges(new, old):
            fresh, overlapped = resolved(new.filter(meters).collect())
            change.rows_overlapped += overlapped
            fresh = _with_intervals(fresh, intervals)
            stored = old.filter(meters).collect()
            kept = stored.join(fresh, on=KEY, how="anti")
            change.count(fresh, stored.join(fresh, on=KEY, how="semi"))
            rows = pl.concat([kept, fresh]).sort(KEY)
            self._check_space()
            change.added.append(write_data_file(self._files, month, rows))

    def _check_space(self) -> None:
        if self._space is not None:
            self._space.check()

    def _touched(self, new: pl.LazyFrame, files: list[DataFile]) -> list[DataFile]:
        """The month's files that hold one of the new keys."""
        hit: set[str] = set()
        for meters in self._ranges(new.select("smart_meter_id")) if files else ():
            keys = new.filter(meters).select(KEY).collect()
            near = [f for f in files if f.path not in hit and _may_overlap(f, keys)]
            hit |= {f.path for f in near if self._holds(f, keys)}
        return [f for f in files if f.path in hit]

    def _holds(self, file: DataFile, keys: pl.DataFrame) -> bool:
        found = self._lazy([file]).join(keys.lazy(), on=KEY, how="semi").head(1).collect()
        return not found.is_empty()

    def _lazy(self, files: list[DataFile]) -> pl.LazyFrame:
        return lazy(self._files, files)

    def _ranges(self, *rows: pl.LazyFrame) -> Iterator[pl.Expr]:
        return ranges(self._file_rows, *rows)

    def _intervals(
        self, spool: "_Spool", known: KnownIntervals
    ) -> tuple[pl.DataFrame, Counter[int]]:
        """The interval length of each meter and day whose rows came without one."""
        rows = spool.all().filter(pl.col("interval_s").is_null()).select(KEY)
        steps = [
            commonest_steps(rows.filter(meters).collect())
            for meters in self._ranges(rows.select("smart_meter_id"))
        ]
        if not steps:
            return _NO_INTERVALS, Counter()
        told = pl.concat(steps)
        days = _filled_from_known(told, known)
        newest = told.drop_nulls().sort("day").group_by("smart_meter_id").last()
        return days, Counter(newest["interval_s"].to_list())


def ranges(file_rows: int, *rows: pl.LazyFrame) -> Iterator[pl.Expr]:
    """Meters by about a file's rows, as if each frame's rows replaced the others'."""
    counts = (
        pl.concat([some.group_by("smart_meter_id").len() for some in rows])
        .group_by("smart_meter_id")
        .max()
        .sort("smart_meter_id")
        .collect()
    )
    for first, last in packed(counts, file_rows):
        yield _METER.is_between(pl.lit(first), pl.lit(last))


@contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except CommitUnknown as error:
        raise ImportRefused(
            f"{error.message} when all was sent, and nobody knows whether the import is done; "
            "import again, which does no harm",
            error.details,
        ) from error
    except (StorageFull, SourceDataInvalid, SourceUnavailable) as error:
        raise ImportRefused(f"{error.message}; nothing was imported", error.details) from error
    except (OSError, DeltaError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ImportRefused(
            f"the readings store could not be read or written ({reason}); import again"
        ) from error


class _Spool:
    """The import's rows on disk, in the order in which they came, by UTC month."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._batches = 0
        self.rows = 0

    def add(self, batch: pl.DataFrame) -> None:
        month = pl.col("timestamp").dt.strftime("%Y-%m").alias("month")
        parts = batch.with_columns(month).partition_by("month", as_dict=True, include_key=False)
        for (name,), rows in parts.items():
            folder = self._folder / str(name)
            folder.mkdir(exist_ok=True)
            rows.write_parquet(folder / f"{self._batches:08}.parquet", compression="lz4")
        self._batches += 1
        self.rows += batch.height

    def months(self) -> list[str]:
        return sorted(folder.name for folder in self._folder.iterdir())

    def month(self, name: str) -> pl.LazyFrame:
        return pl.scan_parquet(sorted((self._folder / name).iterdir()), schema=READING_SCHEMA)

    def all(self) -> pl.LazyFrame:
        months = [self.month(name) for name in self.months()]
        return pl.concat(months) if months else pl.LazyFrame(schema=READING_SCHEMA)


_NO_INTERVALS = pl.DataFrame(
    schema={"smart_meter_id": pl.String, "day": pl.Date, "interval_s": pl.Int32}
)


def _filled_from_known(days: pl.DataFrame, known: KnownIntervals) -> pl.DataFrame:
    missing = days.filter(pl.col("interval_s").is_null())["smart_meter_id"].unique().to_list()
    if not missing:
        return days
    lengths = known(missing)
    unknown = sorted(set(missing) - set(lengths))
    if unknown:
        raise ImportRefused(
            f"meter '{unknown[0]}' has a single reading, from which its interval cannot be told; "
            "add a column interval_s, or say --interval SECONDS"
        )
    default = _METER.replace_strict(lengths, default=None, return_dtype=pl.Int32)
    return days.with_columns(pl.coalesce("interval_s", default))


def _with_intervals(rows: pl.DataFrame, intervals: pl.DataFrame) -> pl.DataFrame:
    if not rows["interval_s"].has_nulls():
        return rows
    return (
        rows.with_columns(day=pl.col("timestamp").dt.date())
        .join(intervals, on=["smart_meter_id", "day"], how="left", maintain_order="left")
        .with_columns(pl.coalesce("interval_s", "interval_s_right"))
        .select(READING_SCHEMA.names())
    )


def _may_overlap(file: DataFile, keys: pl.DataFrame) -> bool:
    meters, times = keys["smart_meter_id"], keys["timestamp"]
    return bool(
        file.first_meter <= str(meters.max())
        and file.last_meter >= str(meters.min())
        and (times.is_between(file.first_time, file.last_time)).any()
    )


def _summaries(new: pl.DataFrame, replaced: pl.DataFrame) -> Iterator[MeterSummary]:
    """Each meter's new rows; a replaced row is no additional one."""
    again = replaced.group_by("smart_meter_id").agg(pl.len().alias("again"))
    counted = (
        new.group_by("smart_meter_id", maintain_order=True)
        .agg(
            pl.col("timestamp").first().alias("first"),
            pl.col("timestamp").last().alias("last"),
            pl.col("interval_s").last(),
            pl.len(),
        )
        .join(again, on="smart_meter_id", how="left", maintain_order="left")
        .with_columns(pl.col("len").cast(pl.Int64) - pl.col("again").fill_null(0).cast(pl.Int64))
        .drop("again")
    )
    for row in counted.iter_rows():
        yield MeterSummary(*row)
