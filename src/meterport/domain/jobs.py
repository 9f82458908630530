"""A job: one export's life, as its row tells it.

The contract's `status` knows pending, completed and failed; whether a pending job is running
is told by its lease. `attempt` counts claims and is the fencing token: whoever writes to the
row says which attempt it is, and an older one changes nothing.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType

from meterport.domain.errors import MeterportError
from meterport.domain.exports import ExportFile, ExportRequest
from meterport.domain.fleets import Part

JobId = NewType("JobId", str)

KEEP_FILES = timedelta(days=7)
"""How long a finished file can be downloaded, unless the operator says otherwise."""

ANONYMOUS = "anonymous"
"""The owner of every job as long as the service asks for no keys."""


SMALL_ROWS = 1_000_000
"""An export that is estimated to have at most that many rows does not wait behind larger ones."""


@dataclass(frozen=True)
class Room:
    """How many exports may be unfinished at a time, of one owner and of all; 0: any number."""

    of_owner: int = 0
    of_all: int = 0


class Lane(StrEnum):
    """Small exports never wait behind large ones: some workers take none of those."""

    SMALL = "small"
    LARGE = "large"

    @classmethod
    def of(cls, rows: int) -> "Lane":
        return cls.SMALL if rows <= SMALL_ROWS else cls.LARGE


class JobStatus(StrEnum):
    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"


class Phase(StrEnum):
    """What the status leaves out. FINALIZING: all parts are written, and not yet joined.

    CANCELLED from the moment that it is called off, though a worker may not have heard of it yet.
    """

    QUEUED = "queued"
    RUNNING = "running"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


@dataclass(frozen=True)
class Lease:
    """Who works on a claimed job, and for how long without a heartbeat."""

    worker_id: str
    duration: timedelta = timedelta(seconds=15)


class Hold(StrEnum):
    """How an attempt stands with its job: still its own, somebody else's, or called off."""

    HELD = "held"
    LOST = "lost"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class RetryPolicy:
    """When a job is given up, and how long it waits before that.

    `crashes` counts attempts that ended with their worker, `retries` those that met an error
    which may pass; a job that was handed back has used up neither.
    """

    crashes: int = 5
    retries: int = 3
    first_delay: timedelta = timedelta(seconds=1)

    def delay(self, retries: int, *, jitter: float) -> timedelta | None:
        """The wait after `retries` earlier ones; None: the budget is spent.

        It triples from one to the next; `jitter`, 0 to 1, takes up to a half off.
        """
        if retries >= self.retries:
            return None
        return self.first_delay * float(3**retries) * (1 - jitter / 2)


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
    """`rows_written` never falls, also when a later attempt begins anew.

    An attempt at a part of a fleet has `part`; `attempt`, `crashes` and `retries` are the part's.
    `parts_left` is None unless the file is made in parts; at 0 they can be joined.
    `file` stays when the file has expired and is no longer kept.
    """

    id: JobId
    request: ExportRequest
    status: JobStatus
    created_at: datetime
    updated_at: datetime
    owner: str = ANONYMOUS
    phase: Phase = Phase.QUEUED
    lane: Lane = Lane.SMALL
    attempt: int = 0
    crashes: int = 0
    retries: int = 0
    cancel_requested: bool = False
    started_at: datetime | None = None
    rows_written: int = 0
    rows_expected: int | None = None
    source_version: int | None = None
    file: ExportFile | None = None
    expires_at: datetime | None = None
    expired: bool = False
    error: JobError | None = None
    parts_left: int | None = None
    part: Part | None = None

    def has_ended(self) -> bool:
        return self.status is not JobStatus.PENDING

    @property
    def key(self) -> str:
        """Where this attempt, and no other, may put its file."""
        part = "" if self.part is None else f"{self.part.number}-"
        return f"{self.id}/{part}{self.attempt}"

    @property
    def key_of_parts(self) -> str:
        """What stands for all parts of its file."""
        return f"{self.id}/*"

    @property
    def progress(self) -> Progress | None:
        if self.status is not JobStatus.PENDING or not self.rows_written:
            return None
        return Progress(self.rows_written, max(self.rows_written, self.rows_expected or 0))

    def time_left(self, now: datetime) -> timedelta | None:
        """As the rows so far let expect; None where they tell nothing.

        So it is before a hundredth of them, and once an attempt was in vain.
        """
        progress, begun = self.progress, self.started_at
        in_vain = self.attempt > 1 or self.crashes or self.retries
        if progress is None or begun is None or self.phase is not Phase.RUNNING or in_vain:
            return None
        left = progress.records_expected - progress.records_written
        if progress.percent < 1 or now <= begun:
            return None
        return (now - begun) * (left / progress.records_written)


@dataclass(frozen=True)
class Submission:
    """`replayed`: an earlier request with the same idempotency key had made the job already."""

    job: Job
    replayed: bool
