"""What is needed from the outside for nobody's export: meters by page, numbers, files sent."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from meterport.domain.access import Meters
from meterport.domain.figures import DiskSpace, JobFigures
from meterport.domain.readings import MeterSummary


class MeterPages(Protocol):
    def page(
        self, *, prefix: str, after: str, limit: int, within: Meters
    ) -> Sequence[MeterSummary]:
        """The next of them whose ids begin with `prefix`, behind the id `after`, in order."""


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


class Upload(Protocol):
    """A file that comes in."""

    @property
    def path(self) -> Path: ...

    def write(self, data: bytes, /) -> None:
        """Raises StorageFull, or StorageUnavailable."""

    def end(self) -> None:
        """All is written, and can be read."""


class Uploads(Protocol):
    def receiving(self, ending: str) -> AbstractContextManager[Upload]:
        """A file whose name ends so, for as long as the context lasts."""

    def remove_left_behind(self) -> None:
        """Files of processes that died, on this machine. Raises StorageUnavailable."""
