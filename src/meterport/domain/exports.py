"""What is asked for, and what was written."""

from dataclasses import dataclass
from datetime import datetime

from meterport.domain.errors import InvalidSmartMeterId, shown
from meterport.domain.period import Period
from meterport.domain.readings import SMART_METER_ID


@dataclass(frozen=True)
class ExportRequest:
    """One meter's readings of one period, in one format. `format` is a name in FORMATS."""

    smart_meter_id: str
    period: Period
    format: str = "csv"

    def __post_init__(self) -> None:
        check_smart_meter_id(self.smart_meter_id)

    def filename(self, extension: str) -> str:
        """The name under which a client saves the file; dates in UTC, as requested."""
        start, end = (_yyyymmdd(bound) for bound in (self.period.start, self.period.end))
        return f"smart_meter_{self.smart_meter_id}_{start}_{end}.{extension}"


@dataclass(frozen=True)
class ExportFile:
    """A published file. `key` names the job and the attempt that wrote it."""

    key: str
    rows: int
    size_bytes: int
    sha256: str


def check_smart_meter_id(value: object) -> str:
    if isinstance(value, str) and SMART_METER_ID.fullmatch(value):
        return value
    raise InvalidSmartMeterId(
        "smart_meter_id must be 1 to 64 letters, digits or . _ : - and begin with a letter "
        f"or digit, not {shown(value)}"
    )


def _yyyymmdd(instant: datetime) -> str:
    # strftime("%Y") does not pad years before 1000 on every platform.
    return instant.date().isoformat().replace("-", "")
