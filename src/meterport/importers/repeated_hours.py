"""Whose turn a local time is that the clock shows twice: found out from the order of the rows.

A time that comes twice in a meter's rows is first the earlier one, then the later (in a file that
runs backwards: the other way round). A time that comes once, or more than twice, has no turn, nor
has any where the hour before comes twice too: such a file repeats itself, not the clock.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl

from meterport.importers.chosen import Table
from meterport.importers.columns import SERIES, Columns, series_of
from meterport.importers.options import RepeatedHour
from meterport.importers.timestamps import is_repeated

_GROUP = ("meter", SERIES)
_NO_TURN, _EARLIEST, _LATEST = "null", "earliest", "latest"
_AN_HOUR = timedelta(hours=1)
_WAYS = pl.Schema({"meter": pl.String(), SERIES: pl.UInt32(), "way": pl.Int64()})
_NEAR = pl.Schema(
    {
        "row": pl.Int64(),
        "meter": pl.String(),
        SERIES: pl.UInt32(),
        "wall": pl.Datetime("us"),
        "fold": pl.Date(),
        "twice": pl.Boolean(),
        "before": pl.Boolean(),
    }
)


@dataclass(frozen=True)
class Turns:
    """`rows`: the places in the file, from 0, of those that have a turn."""

    rows: npt.NDArray[np.int64]
    is_latest: npt.NDArray[np.bool_]

    def of(self, first_row: int, count: int) -> pl.Series:
        inside = slice(*np.searchsorted(self.rows, (first_row, first_row + count)))
        turns = np.full(count, _NO_TURN, dtype=object)
        turns[self.rows[inside] - first_row] = np.where(self.is_latest[inside], _LATEST, _EARLIEST)
        return pl.Series(turns, dtype=pl.String)


@dataclass(frozen=True)
class AlwaysThe:
    """All times that come twice are the earlier ones, or all the later."""

    turn: str

    def of(self, first_row: int, count: int) -> pl.Series:
        return pl.repeat(self.turn, count, eager=True)


def turns_of(columns: Columns, tables: Iterable[Table]) -> Turns | AlwaysThe | None:
    """`tables`: the whole file, which is read for this only where it may have such times."""
    zone, wanted = columns.options.timezone, columns.options.repeated_hour
    if zone is None or zone.utcoffset(None) is not None:
        return None
    if wanted is not RepeatedHour.ORDER:
        return AlwaysThe(_EARLIEST if wanted is RepeatedHour.FIRST else _LATEST)
    near = [_NEAR.to_frame()]
    ways = [_WAYS.to_frame()]
    lasts, first_row = _NEAR.to_frame(), 0
    for table in tables:
        rows = _rows(columns, table, first_row, zone)
        first_row += len(table.lines)
        near.append(rows.filter(pl.col("twice") | pl.col("before")))
        followed = pl.concat([lasts, rows])
        step = pl.col("wall").diff().dt.total_seconds().sign()
        ways.append(followed.group_by(_GROUP).agg(step.sum().cast(pl.Int64).alias("way")))
        lasts = followed.group_by(_GROUP).last().select(_NEAR.names())
    way = pl.concat(ways).group_by(_GROUP).agg(pl.col("way").sum())
    return _turns(pl.concat(near), way)


def _rows(columns: Columns, table: Table, first_row: int, zone: ZoneInfo) -> pl.DataFrame:
    """In _NEAR, the rows with a time of the clock. `before`: an hour later comes one twice."""
    meter = columns.found.get("smart_meter_id")
    cells = table.values[meter.columns[0]].cast(pl.String) if meter else pl.Series([""])
    walls = columns.wall_times(table)
    later = (walls.to_frame("t").select(pl.col("t") + _AN_HOUR)).to_series()
    twice = is_repeated(walls, zone)
    rows = pl.DataFrame(
        {
            "row": pl.int_range(first_row, first_row + len(walls), eager=True),
            "meter": cells if len(cells) == len(walls) else cells.new_from_index(0, len(walls)),
            SERIES: series_of(table, columns.found),
            "wall": walls,
            "fold": pl.Series(walls.zip_with(twice, later)).dt.date(),
            "twice": twice,
            "before": is_repeated(later, zone) & ~twice,
        },
        schema=_NEAR,
    )
    return rows.drop_nulls("wall")


def _turns(near: pl.DataFrame, way: pl.DataFrame) -> Turns:
    alike = [*_GROUP, "wall"]
    repeated = near.filter(~pl.col("twice")).group_by(*alike, "fold").len()
    doubled = repeated.filter(pl.col("len") > 1).select(*_GROUP, "fold").unique()
    known = (
        near.filter("twice")
        .with_columns(
            pl.len().over(alike).alias("times"), pl.col("row").rank().over(alike).alias("turn")
        )
        .join(way, on=_GROUP, nulls_equal=True)
        .join(doubled, on=[*_GROUP, "fold"], how="anti", nulls_equal=True)
        .filter(pl.col("times") == 2, pl.col("way") != 0)
        .sort("row")
    )
    is_latest = (known["turn"] == 2) ^ (known["way"] < 0)
    return Turns(known["row"].to_numpy(), is_latest.to_numpy())
