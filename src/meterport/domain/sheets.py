"""What an export is of: for formats that say so inside the file.

Bytes know no clock: `made_at` is the commit time of the version of the readings.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime

from meterport.domain.options import CsvDialect
from meterport.domain.period import Period
from meterport.domain.readings import DEFAULT_COLUMNS
from meterport.domain.shapes import Label, Resolution


@dataclass(frozen=True)
class Sheet:
    """`meters` in order; `columns` those of the frames, in order; `zone` an IANA name."""

    meters: tuple[str, ...]
    period: Period
    made_at: datetime
    columns: tuple[str, ...] = DEFAULT_COLUMNS
    zone: str = "UTC"
    label: Label = Label.START
    resolution: Resolution = Resolution.RAW
    csv: CsvDialect = field(default_factory=CsvDialect)

    def of_one(self, meter: str) -> "Sheet":
        return replace(self, meters=(meter,))
