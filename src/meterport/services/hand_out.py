"""Hand out a finished export, its file or its manifest: recorded before the first byte goes."""

from collections.abc import Iterator

from meterport.domain.access import EVERYTHING, Access
from meterport.domain.audit import Action, Deed
from meterport.domain.jobs import Job
from meterport.ports import JobStore
from meterport.ports.audit import Recorder
from meterport.services.open_export import finished_file
from meterport.services.read_manifest import read_manifest
from meterport.services.unerased import Unerased


def record_download(
    job: Job,
    access: Access = EVERYTHING,
    *,
    jobs: JobStore,
    audit: Recorder,
    part: tuple[int, int] | None = None,
    redirected: bool = False,
    link_id: str = "",
) -> None:
    """`part`: the bytes first <= i < end that are sent; None: the whole file. `link_id`: by which.

    How many rows a part has, nobody knows. Raises ServiceUnavailable.
    """
    file = finished_file(job)
    first, end = part or (0, file.size_bytes)
    is_whole = end - first == file.size_bytes
    how = {"redirected": "true"} if redirected else {}
    how |= {"link": link_id} if link_id else {}
    which = {} if is_whole else {"first_byte": str(first), "last_byte": str(end - 1)}
    audit.record(
        Deed(
            Action.FILE_DOWNLOADED,
            access,
            meters=jobs.meters(job),
            job_id=job.id,
            rows=file.rows if is_whole else None,
            size_bytes=end - first,
            details={"format": job.request.format, **how, **which},
        )
    )


def hand_out_manifest(
    job: Job,
    access: Access = EVERYTHING,
    *,
    jobs: JobStore,
    audit: Recorder,
    unerased: Unerased,
) -> Iterator[str]:
    """The document in pieces. Raises what `read_manifest` raises, and ServiceUnavailable.

    It breaks off where a meter of it is erased meanwhile.
    """
    pieces = read_manifest(job, jobs.manifests(job))
    audit.record(Deed(Action.MANIFEST_READ, access, meters=jobs.meters(job), job_id=job.id))
    return unerased.pieces(job.id, pieces)
