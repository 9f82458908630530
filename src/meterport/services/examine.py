"""Look a home over: database, disk, clock, time zones, readings, exports; change nothing."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from zoneinfo import ZoneInfo

from meterport.domain.errors import MeterportError
from meterport.domain.exports import ExportFile
from meterport.domain.findings import Finding, error, ok, warning
from meterport.domain.jobs import JobId
from meterport.ports import (
    Checkup,
    JobArchive,
    MeterCatalog,
    ObjectStore,
    ReadingSource,
    ReadingUpkeep,
)
from meterport.ports.audit import Audit
from meterport.services.open_export import digest_of
from meterport.services.sweep import unneeded
from meterport.services.verify_audit import verify_audit

SHOWN = 5
AUDIT_REMEDY = (
    "somebody changed the database; compare with a backup, and find out who may write to it"
)
_READABLE = "the service needs to be able to read its folders; check their owner and the disk"


def examine(
    *,
    checkups: list[Checkup],
    source: ReadingSource,
    upkeep: ReadingUpkeep,
    catalog: MeterCatalog,
    archive: JobArchive,
    objects: ObjectStore,
    audit: Audit,
    scrub: bool,
) -> Iterator[Finding]:
    """`scrub` also reads every file, and the audit log, through and checks their SHA-256."""
    parts = [
        *(checkup.findings() for checkup in checkups),
        _time_zones(),
        _readings(source, upkeep, catalog, scrub),
        _exports(archive, objects, scrub),
        *([_audit(audit)] if scrub else []),
    ]
    for part in parts:
        try:
            yield from part
        except MeterportError as failed:
            yield error("service", failed.message, failed.details or "the log names the cause")
        except OSError as failed:
            yield error("service", f"{failed.filename}: {failed.strerror}", _READABLE)


def _time_zones() -> Iterator[Finding]:
    """Both clock changes of one year, as every time-zone database of the last 25 years has them."""
    berlin = ZoneInfo("Europe/Berlin")
    hours = [
        datetime(2024, month, day, hour, tzinfo=UTC).astimezone(berlin).utcoffset()
        for month, day, hour in ((3, 31, 0), (3, 31, 1), (10, 27, 0), (10, 27, 1))
    ]
    if hours == [timedelta(hours=n) for n in (1, 2, 2, 1)]:
        yield ok("time zones", f"tzdata {version('tzdata')}, clock changes as they should be")
    else:
        yield error("time zones", "Europe/Berlin has wrong clock changes", "reinstall tzdata")


def _readings(
    source: ReadingSource, upkeep: ReadingUpkeep, catalog: MeterCatalog, scrub: bool
) -> Iterator[Finding]:
    newest = source.version()
    yield ok("readings", f"version {newest}, {len(catalog.all())} meters")
    if catalog.version() != newest:
        yield warning(
            "readings",
            f"the catalogue describes version {catalog.version()}",
            "nothing: the next import or export brings it level",
        )
    damaged = list(upkeep.scrub() if scrub else upkeep.look_over())
    for file in damaged:
        yield error(
            "readings",
            str(file),
            "restore that file from a backup, or import its readings again into a new data folder",
        )
    if not damaged:
        yield ok("readings", "every file has the right SHA-256" if scrub else "every file is there")
    unnamed = upkeep.unnamed_files()
    if unnamed:
        yield warning(
            "readings",
            f"{len(unnamed)} files of no version: {_some(unnamed)}",
            "nothing: housekeeping removes them",
        )


def _exports(archive: JobArchive, objects: ObjectStore, scrub: bool) -> Iterator[Finding]:
    files = 0
    broken = False
    for job_id, file in archive.kept_files():
        files += 1
        try:
            state = _state(objects, file, scrub)
        except OSError as failed:
            state = f"unreadable ({failed.strerror})"
        if state:
            broken = True
            yield error("exports", f"the file of job {job_id} is {state}", _rerun(job_id))
    if not broken:
        yield ok("exports", f"{files} files, {'all read and right' if scrub else 'all there'}")
    orphans = sorted(unneeded(archive=archive, objects=objects))
    if orphans:
        yield warning(
            "exports",
            f"{len(orphans)} files of no job: {_some(orphans)}",
            "nothing: housekeeping removes them",
        )


def _audit(audit: Audit) -> Iterator[Finding]:
    verdict = verify_audit(audit)
    if verdict.fault is None:
        yield ok("audit log", f"as it was written, up to {verdict.head}")
    else:
        yield error("audit log", str(verdict.fault), AUDIT_REMEDY)


def _state(objects: ObjectStore, file: ExportFile, scrub: bool) -> str:
    stored = objects.stat(file.key)
    if stored is None:
        return "missing"
    if stored.size_bytes != file.size_bytes:
        return f"{stored.size_bytes} bytes long, not {file.size_bytes}"
    if scrub:
        with objects.open(file.key) as opened:
            if digest_of(opened) != file.sha256:
                return "changed"
    return ""


def _rerun(job_id: JobId) -> str:
    return f"meterport jobs rerun {job_id}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (" …" if len(names) > SHOWN else "")
