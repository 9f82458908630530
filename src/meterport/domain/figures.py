"""The service in numbers, for whoever watches it; none of them tells of a meter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class JobState(StrEnum):
    """EXPIRED: completed, and the file is not kept any more; CANCELLED: failed, as was wanted."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    EXPIRED = "expired"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class JobFigures:
    """Of the jobs whose records are kept.

    `oldest_queued_s`: since the oldest queued job was asked for; 0 where there is none.
    `rows` and `size_bytes` are of finished files, whether or not they are kept.
    `crashes` and `retries` are attempts that ended so.
    `durations_s`: from first claim to end, of the newest that were completed within DAY.
    """

    jobs: Mapping[JobState, int]
    oldest_queued_s: float
    rows: int
    size_bytes: int
    crashes: int
    retries: int
    durations_s: Sequence[float]


@dataclass(frozen=True)
class DiskSpace:
    free_bytes: int
    reserve_bytes: int
