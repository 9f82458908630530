"""What is asked for, and what was written."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from meterport.domain.errors import InvalidRequest, InvalidSmartMeterId, shown
from meterport.domain.options import Compression, ExportOptions
from meterport.domain.period import Period
from meterport.domain.readings import SMART_METER_ID

FLEET = "*"
"""What stands for the meter where there are many."""
LONGEST_LABEL = 100


@dataclass(frozen=True)
class ExportRequest:
    """The readings of one meter, or of a fleet, and of one period, in one format.

    `format` is a name in FORMATS. `fleet`: the meters in order, where smart_meter_id is FLEET;
    `wants_all`: they are all that were known when it was asked for. A job that was read back
    carries neither, see JobStore.meters. AUTO as compression lasts until the job has begun.
    `label`: what its user calls it; nothing in the file depends on it.
    """

    smart_meter_id: str
    period: Period
    format: str = "csv"
    fleet: tuple[str, ...] = ()
    wants_all: bool = False
    compression: Compression = Compression.NONE
    options: ExportOptions = field(default_factory=ExportOptions)
    label: str | None = None

    def __post_init__(self) -> None:
        if self.smart_meter_id != FLEET:
            check_smart_meter_id(self.smart_meter_id)
        if self.fleet and not self.is_fleet:
            raise InvalidRequest("an export has one meter, or a fleet")

    @classmethod
    def of_fleet(
        cls,
        meters: Iterable[str],
        period: Period,
        format: str = "csv",  # noqa: A002 - the contract's word
        *,
        wants_all: bool = False,
        compression: Compression = Compression.NONE,
        options: ExportOptions = ExportOptions(),  # noqa: B008 - it is frozen
    ) -> Self:
        """Order and repetitions do not matter: the file is in order of the ids."""
        fleet = tuple(sorted({check_smart_meter_id(meter) for meter in meters}))
        if not fleet:
            raise InvalidRequest("smart_meter_ids is empty; name at least one meter")
        return cls(FLEET, period, format, fleet, wants_all, compression, options)

    @property
    def is_fleet(self) -> bool:
        return self.smart_meter_id == FLEET

    def filename(self, extension: str, meter: str = "") -> str:
        """The name under which a client saves the file; dates in UTC, as requested.

        `meter`: of one of a fleet, where each has a file.
        """
        start, end = (_yyyymmdd(bound) for bound in (self.period.start, self.period.end))
        one = meter or ("" if self.is_fleet else self.smart_meter_id)
        return f"{f'smart_meter_{one}' if one else 'smart_meters'}_{start}_{end}.{extension}"


@dataclass(frozen=True)
class ExportFile:
    """A published file. `key` names the job and the attempt that wrote it.

    Of a file in parts it names them all, as `{job_id}/*`; each part is an ExportFile of its own.
    """

    key: str
    rows: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class StoredObject:
    """`fingerprint` changes whenever the bytes may have changed."""

    size_bytes: int
    fingerprint: str


def check_smart_meter_id(value: object) -> str:
    if isinstance(value, str) and SMART_METER_ID.fullmatch(value):
        return value
    raise InvalidSmartMeterId(
        "smart_meter_id must be 1 to 64 letters, digits or . _ : - and begin with a letter "
        f"or digit, not {shown(value)}"
    )


def check_label(value: object) -> str:
    printable = isinstance(value, str) and value.isprintable() and value.strip()
    if isinstance(value, str) and printable and len(value) <= LONGEST_LABEL:
        return value
    raise InvalidRequest(
        f"label must be 1 to {LONGEST_LABEL} printable characters, not {shown(value)}"
    )


def _yyyymmdd(instant: datetime) -> str:
    # strftime("%Y") does not pad years before 1000 on every platform.
    return instant.date().isoformat().replace("-", "")
