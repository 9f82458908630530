"""What the services need from the outside, each as the narrowest interface that serves."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import BinaryIO, Protocol

import polars as pl

from meterport.domain.errors import MeterportError
from meterport.domain.exports import ExportFile, ExportRequest
from meterport.domain.jobs import Job, JobId, Lease
from meterport.domain.period import Period
from meterport.domain.readings import Merged, MeterSummary


@dataclass(frozen=True)
class Submission:
    """`replayed`: an earlier request with the same idempotency key had made the job already."""

    job: Job
    replayed: bool


class JobStore(Protocol):
    """The jobs table: the only truth about jobs.

    Every method is one transaction. The methods of an attempt return False, and change nothing,
    once the attempt is not the job's newest or its lease has run out.
    """

    def add(
        self, request: ExportRequest, *, owner: str, idempotency_key: str | None = None
    ) -> Submission:
        """Store the job durably. Raises IdempotencyKeyReused."""

    def get(self, job_id: str) -> Job | None: ...

    def claim(self, lease: Lease) -> Job | None:
        """Take the oldest job that nobody holds, as its next attempt."""

    def renew(self, job: Job, lease: Lease, *, rows_written: int) -> bool: ...

    def begin(self, job: Job, *, source_version: int | None, rows_expected: int) -> bool:
        """Pin what the attempt reads; a later attempt of the job reads the same."""

    def complete(self, job: Job, file: ExportFile) -> bool: ...

    def fail(self, job: Job, error: MeterportError) -> bool: ...

    def hand_back(self, job: Job) -> bool:
        """Let go of a job that was claimed but not finished; another worker may take it at once."""

    def needs(self, job_id: JobId, attempt: int) -> bool:
        """Whether that attempt's file is the job's result, or may still become it."""


class Dispatcher(Protocol):
    def wake(self, job_id: JobId) -> None:
        """Tell an idle worker that there is work. May be lost: the table is polled besides."""


class ReadingSource(Protocol):
    def version(self) -> int | None:
        """The newest version; None where the source keeps none."""

    def scan(
        self,
        meters: Sequence[str],
        period: Period,
        *,
        columns: Sequence[str],
        version: int | None = None,
    ) -> Iterator[pl.DataFrame]:
        """Frames of whole meters in order of (smart_meter_id, timestamp), see domain/readings.

        A frame has about FRAME_ROWS rows at most; a longer meter is split between UTC days.
        Raises SourceUnavailable or SourceDataInvalid, also while it is being consumed.
        """

    def summaries(self, version: int | None = None) -> Iterator[MeterSummary]:
        """Every meter, counted from the readings themselves."""


class ReadingStore(Protocol):
    def merge(
        self,
        batches: Iterable[pl.DataFrame],
        *,
        known_intervals: Callable[[Collection[str]], Mapping[str, int]],
        fence: Callable[[], None],
    ) -> Merged:
        """Add the rows as one atomic, durable version; of two rows with one key the later wins.

        A null interval_s is derived from the commonest step, else from `known_intervals`.
        `fence` is called last before the commit and raises if the writer's lease is gone.
        Raises ImportRefused and leaves the store as it was.
        """


class WriterLease(Protocol):
    def check(self) -> None:
        """Raise ImportBusy if the lease was lost."""


class MeterCatalog(Protocol):
    """The meters table: a summary of the readings store, rebuildable from it."""

    def version(self) -> int | None:
        """The version of the readings that the catalogue describes."""

    def get(self, smart_meter_id: str) -> MeterSummary | None: ...

    def all(self) -> Sequence[MeterSummary]: ...

    def intervals(self, meters: Collection[str]) -> Mapping[str, int]: ...

    def add(self, added: Iterable[MeterSummary], *, version: int) -> None: ...

    def replace(self, meters: Iterable[MeterSummary], *, version: int) -> None: ...

    def writing(self, *, patience: timedelta) -> AbstractContextManager[WriterLease]:
        """Be the only writer of readings. Raises ImportBusy when `patience` is at its end."""


class Draft(Protocol):
    """A file in the making: hidden until it is published, gone if it is not."""

    def write(self, data: bytes, /) -> object: ...

    def publish(self) -> None:
        """Make the whole file visible and durable under its key.

        Raises StorageFull or FileGenerationFailed, as `write` does.
        """


@dataclass(frozen=True)
class StoredObject:
    """`fingerprint` changes whenever the bytes may have changed."""

    size_bytes: int
    fingerprint: str


class ObjectStore(Protocol):
    """Files by key, `{job_id}/{attempt}`."""

    def draft(self, key: str) -> AbstractContextManager[Draft]: ...

    def stat(self, key: str) -> StoredObject | None: ...

    def open(self, key: str) -> BinaryIO:
        """Raises FileNotFoundError."""

    def delete(self, key: str) -> None:
        """Remove the file and any draft of the key; neither needs to exist."""

    def keys(self) -> Iterator[str]:
        """Every key that has a file or a draft."""
