"""What the services need from the outside, each as the narrowest interface that serves."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Protocol

import polars as pl

from meterport.domain.access import Meters
from meterport.domain.completeness import Completeness, Manifest
from meterport.domain.errors import MeterportError
from meterport.domain.exports import ExportFile, ExportRequest, StoredObject
from meterport.domain.findings import Finding
from meterport.domain.fleets import Part
from meterport.domain.jobs import KEEP_FILES, Hold, Job, JobId, Lane, Lease, Room, Submission
from meterport.domain.options import Compression
from meterport.domain.period import Period
from meterport.domain.readings import DamagedFile, Merged, MeterSummary


class JobStore(Protocol):
    """The jobs table: the only truth about jobs.

    Every method is one transaction. The methods of an attempt return False (`renew`: LOST), and
    change nothing, once the attempt is not the job's newest or its lease has run out.
    """

    def add(
        self,
        request: ExportRequest,
        *,
        owner: str,
        idempotency_key: str | None = None,
        source_version: int | None = None,
        lane: Lane = Lane.SMALL,
        room: Room | None = None,
    ) -> Submission:
        """Store it durably, and a fleet's meters; `source_version` None: the newest at its start.

        Raises IdempotencyKeyReused; TooManyActiveExports or QueueFull, but not for a replay.
        """

    def earlier(self, request: ExportRequest, *, owner: str, idempotency_key: str) -> Job | None:
        """What an earlier request with that key made. Raises IdempotencyKeyReused."""

    def get(self, job_id: str) -> Job | None: ...

    def meters(self, job: Job) -> Sequence[str]:
        """Whose readings the job, or its part, writes, in order."""

    def has_others(self, job: Job, *, than: Meters) -> bool:
        """Whether the job is of a meter besides those."""

    def pieces(self, job: Job) -> Sequence[ExportFile]:
        """The stored files that, one after the other, are the job's file."""

    def manifests(self, job: Job) -> Sequence[Manifest]:
        """Of its pieces, in order; none where the file has expired, or a piece has none."""

    def completeness(self, job: Job) -> Sequence[Completeness]:
        """What `manifests` tells, without the days."""

    def claim(
        self, lease: Lease, lanes: Collection[Lane] = tuple(Lane), *, only: JobId | None = None
    ) -> Job | None:
        """Take a job, or a part of one, that nobody holds and that need not wait.

        It is the job's, or the part's, next attempt. Of the owner with the fewest at work, the
        oldest; `only` that job, if one is named.
        """

    def renew(self, job: Job, lease: Lease, *, rows_written: int) -> Hold:
        """Keep the lease; CANCELLED says that somebody called the job off meanwhile."""

    def begin(
        self,
        job: Job,
        *,
        source_version: int | None,
        rows_expected: int,
        compression: Compression | None = None,
    ) -> bool:
        """Pin what the attempt reads; a later one reads the same, while that is kept.

        The rows that were expected first stay expected, as does what `split` tells of them.
        `compression`: instead of the one that was asked for.
        """

    def split(
        self,
        job: Job,
        parts: Sequence[Part],
        *,
        source_version: int | None,
        compression: Compression | None = None,
    ) -> bool:
        """Let go of the job, and let anybody take its parts; all read that version."""

    def redo(self, job: Job, keys: Collection[str]) -> bool:
        """Let go of the job, and let anybody take the parts anew whose files those are."""

    def replan(self, job: Job) -> bool:
        """Let go of the part, and let the whole job begin anew, at a version that is kept."""

    def complete(
        self,
        job: Job,
        file: ExportFile,
        manifest: Manifest | None = None,
        *,
        keep: timedelta = KEEP_FILES,
    ) -> bool:
        """Also False once the job was called off. The file expires after `keep`.

        Of a part only the part is done; the last one makes its job free to be joined.
        """

    def fail(self, job: Job, error: MeterportError) -> bool:
        """Also where only a part failed the whole job has."""

    def retry(self, job: Job, *, after: timedelta) -> bool:
        """Let go of the job, and let nobody take it before that time has passed."""

    def hand_back(self, job: Job) -> bool:
        """Let go of a job that was claimed but not finished; another worker may take it at once."""

    def cancel(self, job_id: str) -> Job:
        """Call a pending job off: at once where nobody works on it, else its worker is told.

        Raises JobNotFound, or ExportNotCancellable once it has ended.
        """


class JobArchive(Protocol):
    """The jobs table as housekeeping, doctor and backup see it: many jobs at once."""

    def recent(self, limit: int) -> Sequence[Job]:
        """The newest jobs, newest first."""

    def some(self, ids: Collection[JobId]) -> Mapping[JobId, Job]: ...

    def stranded(self, *, since: timedelta) -> Sequence[tuple[JobId, Lane]]:
        """What anybody might take, and nobody has for that long: the oldest few hundred.

        Of a job in parts an entry for each part.
        """

    def needed(self, keys: Collection[str]) -> set[str]:
        """Those keys whose file is a job's result and not expired, or may still become one."""

    def results(self, keys: Collection[str]) -> set[str]:
        """Those keys whose file is a job's result."""

    def kept_files(self) -> Iterator[tuple[JobId, ExportFile]]:
        """The results that have not expired; of a file in parts each part."""

    def oldest_version_in_use(self) -> int | None:
        """Of the readings, by an unfinished job or a lease."""

    def drop_manifests(self) -> int:
        """Remove a batch of the manifests of expired files; how many."""

    def forget(self, *, older_than: timedelta) -> int:
        """Remove a batch of records of jobs that ended and have no file any more; how many."""


class DatabaseCopier(Protocol):
    def copy(self, target: Path) -> None:
        """A consistent copy while others write. Raises BackupRefused."""


class Checkup(Protocol):
    def findings(self) -> Iterator[Finding]:
        """What there is to say about the part's health; changes nothing."""


class HeldLease(Protocol):
    def check(self) -> None:
        """Raise LeaseTaken if the lease was lost."""


class ReadingUpkeep(Protocol):
    """What a readings store needs from time to time; each change under the writer's lease.

    `fence` is called before what cannot be taken back, and raises if that lease is gone.
    Raises SourceUnavailable, or SourceDataInvalid rather than rewrite a damaged file.
    """

    def crowded_months(self) -> Sequence[str]:
        """Months in so many small files that reading gets slower."""

    def compact(self, month: str, *, fence: Callable[[], None]) -> int:
        """Rewrite the month's small files as few sorted ones; the same readings, a new version."""

    def erase(self, smart_meter_id: str, *, fence: Callable[[], None]) -> tuple[int, int]:
        """Make a version without that meter; how many readings went, and the version."""

    def checkpoint(self) -> None:
        """Make the newest version readable without the entries of all earlier ones, if due."""

    def forget(
        self, *, older_than: timedelta, in_use: int | None, now: datetime, fence: Callable[[], None]
    ) -> int:
        """Remove the versions superseded that long ago; how many data files went.

        `in_use` and all later versions stay.
        """

    def scrub(self, *, until: Callable[[], bool] = lambda: False) -> Iterator[DamagedFile]:
        """The data files whose bytes are not those that were committed; ends early if `until`."""

    def look_over(self) -> Iterator[DamagedFile]:
        """The data files that are missing or have another size; a scrub without the reading."""

    def copy(self, target: Path, version: int) -> list[str]:
        """Write that version, and no other, as a store of its own; the damaged files' names."""

    def unnamed_files(self) -> Sequence[str]:
        """Data files that no version names: an import that was cut off left them."""


class Leases(Protocol):
    def holding(
        self,
        name: str,
        *,
        patience: timedelta = timedelta(0),
        readings_version: int | None = None,
    ) -> AbstractContextManager[HeldLease]:
        """Be the only holder of that name. Raises LeaseTaken when `patience` is at its end.

        `readings_version` is kept from removal as long as the lease is held.
        """


class Stopping(Protocol):
    """An event, of threads or of processes: set when the worker shall let go of its job."""

    def is_set(self) -> bool: ...

    def wait(self, timeout: float | None = None) -> bool: ...


class Dispatcher(Protocol):
    def wake(self, job_id: JobId, lane: Lane) -> None:
        """Tell an idle worker of that lane that there is work; the id is only a hint.

        Never waits and never fails. May be lost: the table is looked at besides.
        """

    def remind(self, stranded: Sequence[tuple[JobId, Lane]]) -> None:
        """Tell again of what nobody took, without piling up what was not heard yet.

        Never fails; may wait for seconds.
        """


class Wakeups(Protocol):
    """Where an idle worker of `serve` waits."""

    def wait(self, *, others: Sequence[int], timeout_s: float) -> None:
        """Return when woken, when one of the descriptors can be read, or after the time-out."""


class ReadingSource(Protocol):
    def version(self) -> int | None:
        """The newest version; None where the source keeps none."""

    def keeps(self, version: int) -> bool:
        """Whether that version can still be read."""

    def made_at(self, version: int) -> datetime:
        """When that version was committed."""

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

    def summaries(
        self, version: int | None = None, *, meters: Collection[str] | None = None
    ) -> Iterator[MeterSummary]:
        """Every meter, or those that are named, counted from the readings themselves."""


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


class MeterCatalog(Protocol):
    """The meters table: a summary of the readings store, rebuildable from it."""

    def version(self) -> int | None:
        """The version of the readings that the catalogue describes."""

    def get(self, smart_meter_id: str) -> MeterSummary | None: ...

    def some(self, meters: Collection[str]) -> Mapping[str, MeterSummary]:
        """Those of them that are known."""

    def all(self) -> Sequence[MeterSummary]: ...

    def intervals(self, meters: Collection[str]) -> Mapping[str, int]: ...

    def add(self, added: Iterable[MeterSummary], *, version: int) -> None: ...

    def remove(self, smart_meter_id: str, *, version: int) -> None: ...

    def replace(self, meters: Iterable[MeterSummary], *, version: int) -> None: ...

    def writing(self, *, patience: timedelta) -> AbstractContextManager[HeldLease]:
        """Be the only writer of readings.

        Raises ImportBusy when `patience` is at its end, as the lease's check does later.
        """


class Space(Protocol):
    def check(self) -> None:
        """Raise StorageFull once only the reserve is left, which keeps the service alive."""


class Draft(Protocol):
    """A file in the making: hidden until it is published, gone if it is not."""

    def write(self, data: bytes, /) -> object: ...

    def publish(self) -> None:
        """Make the whole file visible and durable under its key.

        Raises StorageFull or FileGenerationFailed, as `write` does.
        """


class ObjectStore(Protocol):
    """Files by key, `{job_id}/{attempt}`."""

    is_remote: bool
    """Reading a file through before it is served would fetch it twice."""

    def draft(self, key: str) -> AbstractContextManager[Draft]: ...

    def stat(self, key: str) -> StoredObject | None: ...

    def open(self, key: str) -> BinaryIO:
        """Raises FileNotFoundError."""

    def link(self, key: str, *, filename: str, media_type: str) -> str | None:
        """Where clients can fetch that file from the store itself, for a short time.

        A secret until then. None where they cannot, or shall not.
        """

    def delete(self, key: str) -> None:
        """Remove the file and any draft of the key; neither needs to exist."""

    def discard(self, key: str) -> None:
        """Remove any draft of the key, and leave its file."""

    def keys(self) -> Iterator[str]:
        """Every key that has a file or a draft."""

    def drafts(self) -> Iterator[str]:
        """Every key that has a draft."""
