"""The order that every source keeps: strictly by (smart_meter_id, timestamp)."""

from datetime import datetime

import polars as pl

from meterport.domain.errors import SourceDataInvalid
from meterport.domain.period import iso_utc
from meterport.domain.readings import KEY

_METER, _TIME = pl.col("smart_meter_id"), pl.col("timestamp")


def in_order(frame: pl.DataFrame, last: tuple[str, datetime] | None) -> pl.DataFrame:
    """The frame, sorted; two readings of one meter at one time are an error of the store."""
    if not _strictly_ascending(frame):
        frame = frame.sort(KEY)
        if not _strictly_ascending(frame):
            raise _duplicate(frame)
    if last is not None and not frame.is_empty() and frame.select(KEY).row(0) <= last:
        raise SourceDataInvalid("The readings are not in order", "Import the meter's month again")
    return frame


def _strictly_ascending(frame: pl.DataFrame) -> bool:
    same_meter = _METER.shift() == _METER
    wrong = (same_meter & (_TIME.shift() >= _TIME)) | (_METER.shift() > _METER)
    return not frame.select(wrong.any()).item()


def _duplicate(frame: pl.DataFrame) -> SourceDataInvalid:
    meter, time = frame.filter(frame.select(KEY).is_duplicated()).select(KEY).row(0)
    return SourceDataInvalid(
        f"Smart meter '{meter}' has more than one reading at {iso_utc(time)}",
        "Import that meter's month again: of two readings with one key the later import wins",
    )
