"""ReadingSource over a table or view of PostgreSQL or TimescaleDB: streamed, in order, read only.

URL:      postgresql://user@host/database?table=schema.readings&timestamp=ts&smart_meter_id=meter …
          `table` and one name for each column of READING_SCHEMA that is called otherwise; an empty
          name says that there is no such column. `interval` is the interval's length in seconds
          where no column has it.
Versions: none. A job reads what is there in one snapshot of the database.
Needs:    an index on (smart_meter_id, timestamp), and timestamps with time zone.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import polars as pl
import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from meterport.domain.access import Meters
from meterport.domain.errors import (
    AskedVersionGone,
    ImportRefused,
    SourceDataInvalid,
    SourceUnavailable,
    StartRefused,
)
from meterport.domain.period import Period
from meterport.domain.readings import (
    FRAME_ROWS,
    KEY,
    READING_SCHEMA,
    DamagedFile,
    Merged,
    MeterSummary,
)
from meterport.ports import HeldLease
from meterport.sources.order import in_order

BATCH_ROWS = 50_000


@dataclass(frozen=True)
class Columns:
    """Where the table has ours; an empty name: nowhere."""

    table: sql.Identifier
    names: Mapping[str, str]
    interval_s: int | None

    def of(self, ours: str) -> sql.Composable:
        name = self.names[ours]
        if name:
            return sql.Identifier(name)
        if ours == "interval_s" and self.interval_s is not None:
            return sql.Literal(self.interval_s)
        return sql.SQL("NULL")


def parse(url: str) -> tuple[str, Columns]:
    """The connection's own URL, and the columns. Raises StartRefused."""
    parts = urlsplit(url.replace("postgresql+psycopg://", "postgresql://"))
    asked = dict(parse_qsl(parts.query, keep_blank_values=True))
    table = asked.pop("table", "")
    interval = asked.pop("interval", "")
    names = {name: asked.pop(name, name) for name in READING_SCHEMA}
    if not table or (interval and not interval.isdecimal()):
        raise StartRefused(
            "METERPORT_READINGS_URL needs ?table=NAME, and interval=SECONDS as a whole number"
        )
    if not names["interval_s"] and not interval:
        raise StartRefused("METERPORT_READINGS_URL: without interval_s say interval=SECONDS")
    rest = "&".join(f"{name}={value}" for name, value in asked.items())
    plain = urlunsplit((parts.scheme, parts.netloc, parts.path, rest, ""))
    columns = Columns(sql.Identifier(*table.split(".")), names, int(interval) if interval else None)
    return plain, columns


class PostgresSource:
    """Also the catalogue of its meters, which it asks the table itself for."""

    def __init__(self, url: str, *, frame_rows: int = FRAME_ROWS) -> None:
        self._dsn, self._columns = parse(url)
        self._frame_rows = frame_rows

    def version(self) -> int | None:
        return None

    def keeps(self, version: int) -> bool:
        return False

    def scan(
        self,
        meters: Sequence[str],
        period: Period,
        *,
        columns: Sequence[str],
        version: int | None = None,
    ) -> Iterator[pl.DataFrame]:
        wanted = [*columns, *(name for name in KEY if name not in columns)]
        query = sql.SQL(
            "SELECT {what} FROM {table} WHERE {meter} = ANY(%s) AND {time} >= %s AND {time} < %s "
            'ORDER BY {meter} COLLATE "C", {time}'
        ).format(what=sql.SQL(", ").join(map(self._columns.of, wanted)), **self._key())
        schema = pl.Schema({name: READING_SCHEMA[name] for name in wanted})
        with _translated(), self._connected() as connection:
            rows = self._streamed(connection, query, (list(meters), period.start, period.end))
            size = min(BATCH_ROWS, self._frame_rows)
            last: tuple[str, datetime] | None = None
            for frame in _frames(_batches(rows, schema, size), self._frame_rows):
                ordered = in_order(frame, last)
                last = ordered.select(KEY).row(-1)
                yield ordered.select(columns)

    def made_at(self, version: int) -> datetime:
        raise AskedVersionGone(version, newest=None)

    def summaries(
        self, version: int | None = None, *, meters: Collection[str] | None = None
    ) -> Iterator[MeterSummary]:
        query = sql.SQL(
            "SELECT {meter}, min({time}), max({time}), "
            "(array_agg({interval} ORDER BY {time} DESC))[1], count(*) "
            "FROM {table} WHERE %s::text[] IS NULL OR {meter} = ANY(%s) "
            'GROUP BY {meter} ORDER BY {meter} COLLATE "C"'
        ).format(interval=self._columns.of("interval_s"), **self._key())
        named = None if meters is None else list(meters)
        with _translated(), self._connected() as connection:
            for row in self._streamed(connection, query, (named, named)):
                yield MeterSummary(*row)

    def get(self, smart_meter_id: str) -> MeterSummary | None:
        return self.some([smart_meter_id]).get(smart_meter_id)

    def some(self, meters: Collection[str]) -> Mapping[str, MeterSummary]:
        """By both ends of the index; `rows` is what there would be without gaps."""
        end = sql.SQL(
            "LATERAL (SELECT {time}, {interval} FROM {table} WHERE {meter} = asked "
            "ORDER BY {time} {way} LIMIT 1)"
        )
        interval = self._columns.of("interval_s")
        query = sql.SQL(
            "SELECT asked, a.at, b.at, b.interval_s FROM unnest(%s::text[]) AS asked, "
            "{first} AS a (at, interval_s), {last} AS b (at, interval_s)"
        ).format(
            first=end.format(way=sql.SQL("ASC"), interval=interval, **self._key()),
            last=end.format(way=sql.SQL("DESC"), interval=interval, **self._key()),
        )
        with _translated(), self._connected() as connection:
            ends = connection.execute(query, (list(meters),)).fetchall()
        return {
            meter: MeterSummary(
                meter, first, last, interval_s, (last - first) // timedelta(seconds=interval_s) + 1
            )
            for meter, first, last, interval_s in ends
        }

    def page(
        self, *, prefix: str, after: str, limit: int, within: Meters
    ) -> Sequence[MeterSummary]:
        """From id to id along the index, in its order, which is the database's."""
        query = sql.SQL(
            "WITH RECURSIVE walked (id) AS (SELECT {first} UNION ALL "
            "SELECT {next} FROM walked WHERE walked.id IS NOT NULL) "
            "SELECT id FROM walked WHERE starts_with(id, %s) AND (id = ANY(%s) OR EXISTS "
            "(SELECT 1 FROM unnest(%s::text[]) AS its (prefix) WHERE starts_with(id, its.prefix))) "
            "LIMIT %s"
        ).format(first=self._id_after(sql.SQL("%s")), next=self._id_after(sql.SQL("walked.id")))
        with _translated(), self._connected() as connection:
            given = (after, prefix, sorted(within.ids), list(within.prefixes), limit)
            ids = [id_ for (id_,) in connection.execute(query, given)]
        known = self.some(ids)
        return [known[id_] for id_ in ids if id_ in known]

    def all(self) -> Sequence[MeterSummary]:
        return list(self.summaries())

    def intervals(self, meters: Collection[str]) -> Mapping[str, int]:
        return {id_: meter.interval_s for id_, meter in self.some(meters).items()}

    def add(self, added: object, *, version: int) -> None:
        """Nothing: the table is its own catalogue."""

    def remove(self, smart_meter_id: str, *, version: int) -> None:
        """Nothing: the table is its own catalogue."""

    def replace(self, meters: object, *, version: int) -> None:
        """Nothing: the table is its own catalogue."""

    @contextmanager
    def writing(self, *, patience: timedelta) -> Iterator[HeldLease]:
        raise _read_only()
        yield  # a context manager all the same

    def _id_after(self, id_: sql.Composable) -> sql.Composed:
        return sql.SQL(
            "(SELECT {meter} FROM {table} WHERE {meter} > {id} ORDER BY {meter} LIMIT 1)"
        ).format(id=id_, **self._key())

    def _key(self) -> dict[str, sql.Composable]:
        return {
            "table": self._columns.table,
            "meter": self._columns.of("smart_meter_id"),
            "time": self._columns.of("timestamp"),
        }

    @contextmanager
    def _connected(self) -> Iterator[psycopg.Connection]:
        with psycopg.connect(self._dsn, row_factory=tuple_row, connect_timeout=10) as connection:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            connection.execute("SET LOCAL timezone = 'UTC'")
            yield connection

    def _streamed(
        self, connection: psycopg.Connection, query: sql.Composed, values: Sequence[Any]
    ) -> Iterator[tuple[Any, ...]]:
        with connection.cursor(name="readings", binary=True) as cursor:
            cursor.itersize = BATCH_ROWS
            cursor.execute(query, values)
            yield from cursor


class ReadOnly:
    """ReadingStore and ReadingUpkeep of a table that others write and keep."""

    def merge(
        self,
        batches: Iterable[pl.DataFrame],
        *,
        known_intervals: Callable[[Collection[str]], Mapping[str, int]],
        fence: Callable[[], None],
    ) -> Merged:
        raise _read_only()

    def erase(self, smart_meter_id: str, *, fence: Callable[[], None]) -> tuple[int, int]:
        raise _read_only()

    def copy(self, target: Path, version: int) -> list[str]:
        raise _read_only()

    def crowded_months(self) -> Sequence[str]:
        return ()

    def compact(self, month: str, *, fence: Callable[[], None]) -> int:
        return 0

    def checkpoint(self) -> None:
        return

    def forget(
        self, *, older_than: timedelta, in_use: int | None, now: datetime, fence: Callable[[], None]
    ) -> int:
        return 0

    def scrub(self, *, until: Callable[[], bool] = lambda: False) -> Iterator[DamagedFile]:
        return iter(())

    def look_over(self) -> Iterator[DamagedFile]:
        return iter(())

    def unnamed_files(self) -> Sequence[str]:
        return ()


def _read_only() -> ImportRefused:
    return ImportRefused(
        "the readings are in a table of PostgreSQL; write, erase and back them up there"
    )


def _batches(
    rows: Iterator[tuple[Any, ...]], schema: pl.Schema, size: int
) -> Iterator[pl.DataFrame]:
    """Small enough for what Python's objects need."""
    while batch := list(islice(rows, size)):
        yield pl.DataFrame(batch, schema=schema, orient="row")


def _frames(batches: Iterator[pl.DataFrame], frame_rows: int) -> Iterator[pl.DataFrame]:
    """Whole meters, or a longer meter's whole days."""
    held: pl.DataFrame | None = None
    for batch in batches:
        held = batch if held is None else held.vstack(batch)
        while held.height > frame_rows and (at := _cut(held)):
            yield held[:at]
            held = held[at:]
    if held is not None and not held.is_empty():
        yield held


def _cut(frame: pl.DataFrame) -> int:
    """Before the last meter or, in a single one, before the last day; 0: nowhere."""
    last = frame.row(-1, named=True)
    earlier = frame["smart_meter_id"] != last["smart_meter_id"]
    if not earlier.any():
        earlier = frame["timestamp"].dt.date() != last["timestamp"].date()
    return int(earlier.sum())


@contextmanager
def _translated() -> Iterator[None]:
    """Around opening and consuming alike."""
    try:
        yield
    except psycopg.DataError as error:
        raise SourceDataInvalid(
            "The readings table has another shape than was said",
            "METERPORT_READINGS_URL names its columns; the service's log has the cause",
        ) from error
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
        raise SourceDataInvalid(
            "The readings table or one of its columns does not exist",
            "METERPORT_READINGS_URL names them; the service's log has the cause",
        ) from error
    except psycopg.Error as error:
        raise SourceUnavailable(
            "The readings store cannot be read", "The service's log names the cause"
        ) from error
