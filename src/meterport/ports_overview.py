"""What is asked from the outside for people and machines that watch, and not for any export."""

from collections.abc import Callable, Sequence
from typing import Protocol

from meterport.domain.figures import DiskSpace, JobFigures
from meterport.domain.readings import MeterSummary


class MeterPages(Protocol):
    def page(self, *, prefix: str, after: str, limit: int) -> Sequence[MeterSummary]:
        """The next meters whose ids begin with `prefix`, behind the id `after`, in order."""


class Presence(Protocol):
    """Which workers there are; one that died is seen for some seconds yet."""

    def announce(self, worker_id: str) -> Callable[[], None]:
        """Let others see the worker until what is returned is called, or its process ends."""

    def workers(self) -> int:
        """How many are there now."""


class JobCounts(Protocol):
    def figures(self) -> JobFigures:
        """Raises ServiceUnavailable."""


class Disk(Protocol):
    def scarcest(self) -> DiskSpace:
        """Where the least is left over the reserve. Raises StorageUnavailable without a folder."""
