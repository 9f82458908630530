"""Back a home up while it serves: the database first, then the readings, then the exports.

Consistent: what the copied database knows is in the copy of the readings, which is taken later;
the files are those that the copied database names. Complete or absent: the folder gets its
name last.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from meterport import durable
from meterport.domain.backups import DATABASE, EXPORTS, LIST, READINGS, BackedUpFile, Backup
from meterport.domain.errors import BackupRefused, LeaseTaken
from meterport.ports import DatabaseCopier, JobArchive, Leases, ObjectStore, ReadingSource
from meterport.ports import ReadingUpkeep as Upkeep

LEASE, PIN = "backup", "backed-up-version"


def back_up(
    target: Path,
    *,
    database: DatabaseCopier,
    archive_in: Callable[[Path], AbstractContextManager[JobArchive]],
    source: ReadingSource,
    upkeep: Upkeep,
    objects: ObjectStore,
    leases: Leases,
) -> Backup:
    """`archive_in` opens the jobs of a copied database. Raises BackupRefused."""
    if target.exists():
        raise BackupRefused(f"{target} exists already; name a folder that does not")
    with _translated(target), leases.holding(LEASE), _unfinished(target) as folder:
        database.copy(folder / DATABASE)
        version = source.version()
        if version is None:
            raise BackupRefused("the readings have no versions; back them up with their own tools")
        with leases.holding(PIN, readings_version=version):
            damaged = upkeep.copy(folder / READINGS, version)
        with archive_in(folder / DATABASE) as archive:
            damaged += _copy_exports(folder, archive, objects)
        backup = Backup(datetime.now(UTC), version, list(_listed(folder)), damaged)
        durable.write_file(folder / LIST, backup.as_json().encode())
        _sync(folder)
        folder.rename(target)
        durable.sync_folder(target.parent)
    return backup


@contextmanager
def _unfinished(target: Path) -> Iterator[Path]:
    folder = target.with_name(f"{target.name}.unfinished")
    shutil.rmtree(folder, ignore_errors=True)
    durable.make_folder(folder.absolute().parent)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copy_exports(folder: Path, archive: JobArchive, objects: ObjectStore) -> list[str]:
    """The damaged or missing ones, by key."""
    damaged = []
    for _, file in archive.kept_files():
        to = folder / EXPORTS / file.key
        to.parent.mkdir(parents=True, exist_ok=True)
        try:
            with objects.open(file.key) as opened:
                sha256 = durable.copy(opened, to)
        except FileNotFoundError:
            sha256 = ""
        if sha256 != file.sha256:
            damaged.append(f"{EXPORTS}/{file.key}")
            to.unlink(missing_ok=True)
    return damaged


def _listed(folder: Path) -> Iterator[BackedUpFile]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            yield BackedUpFile(name, path.stat().st_size, durable.sha256(path))


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_dir():
            durable.sync_folder(path)
    durable.sync_folder(folder)


@contextmanager
def _translated(target: Path) -> Iterator[None]:
    try:
        yield
    except LeaseTaken as error:
        raise BackupRefused("another backup of this home is being taken") from error
    except OSError as error:
        raise BackupRefused(
            f"{target} could not be written: {error.strerror}; nothing of it is left"
        ) from error
