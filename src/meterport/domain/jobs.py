"""A job: one export's life, as its row tells it.

The contract's `status` knows pending, completed and failed; whether a pending job is running
is told by its lease. `attempt` counts claims and is the fencing token: whoever writes to the
row says which attempt it is, and an older one changes nothing.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType

from meterport.domain.errors import MeterportError
from meterport.domain.exports import ExportFile, ExportRequest

JobId = NewType("JobId", str)

CRASH_BUDGET = 5
"""A job that has ended this many workers is given up."""

ANONYMOUS = "anonymous"
"""The owner of every job as long as the service asks for no keys."""


class JobStatus(StrEnum):
    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True)
class Lease:
    """Who works on a claimed job, and for how long without a heartbeat."""

    worker_id: str
    duration: timedelta = timedelta(seconds=15)


@dataclass(frozen=True)
class JobError:
    code: str
    message: str
    details: str

    @classmethod
    def of(cls, error: MeterportError) -> "JobError":
        return cls(error.code, error.message, error.details)


@dataclass(frozen=True)
class Progress:
    records_written: int
    records_expected: int

    @property
    def percent(self) -> int:
        """0 to 99: only a completed job is at 100."""
        return min(99, self.records_written * 100 // max(1, self.records_expected))


@dataclass(frozen=True)
class Job:
    """`rows_written` never falls, also when a later attempt begins anew."""

    id: JobId
    request: ExportRequest
    status: JobStatus
    created_at: datetime
    updated_at: datetime
    attempt: int = 0
    crashes: int = 0
    started_at: datetime | None = None
    rows_written: int = 0
    rows_expected: int | None = None
    source_version: int | None = None
    file: ExportFile | None = None
    error: JobError | None = field(default=None)

    @property
    def key(self) -> str:
        """Where this attempt, and no other, may put its file."""
        return f"{self.id}/{self.attempt}"

    @property
    def progress(self) -> Progress | None:
        if self.status is not JobStatus.PENDING or not self.rows_written:
            return None
        return Progress(self.rows_written, max(self.rows_written, self.rows_expected or 0))
