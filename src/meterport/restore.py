"""Put a backup in a home's place: checked before, staged beside, exchanged at the end.

Nothing of the home changes before the backup was read through and its copy is on the disk. The
exchange is a few renames; a marker file tells that they are under way, and nothing starts on a
home that has one. What was there before is kept under another name.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from meterport import durable
from meterport.bootstrap import MARKER, Services, erased_meters, open_staged
from meterport.domain.backups import DATABASE, EXPORTS, READINGS, Backup
from meterport.domain.errors import BackupRefused
from meterport.serve import only_one
from meterport.services.erase_meter import erase_meter
from meterport.services.refresh_meters import refresh_meters
from meterport.settings import Settings

SQLITE = "sqlite:///"
JOURNALS = ("-journal", "-wal", "-shm")


@dataclass(frozen=True)
class Restored:
    """`replaced` is what was there before, under its new names."""

    backup: Backup
    replaced: Sequence[Path]
    erased: Sequence[str]


@dataclass(frozen=True)
class _Place:
    """A part of a backup, and where it belongs."""

    part: str
    final: Path

    @property
    def staged(self) -> Path:
        return self.final.with_name(f"{self.final.name}.restoring")

    def is_taken(self) -> bool:
        if self.final.is_dir():
            return any(self.final.iterdir())
        return self.final.exists()


def restore(
    settings: Settings, folder: Path, *, replace: bool, erasures: Sequence[str] = ()
) -> Restored:
    """`erasures`: meters to forget besides those that the replaced home has forgotten.

    Raises BackupRefused, or StartRefused while a service runs on the home.
    """
    backup = Backup.read(folder)
    _verify(folder, backup)
    places = _places(settings)
    durable.make_folder(settings.data.absolute())
    with _translated(settings), only_one(settings):
        taken = [place.final for place in places if place.is_taken()]
        if taken and not replace:
            raise BackupRefused(
                f"{taken[0]} is there already; choose another --data, or say --replace, which "
                "keeps it under another name"
            )
        forgotten = sorted({*erasures, *_erased_before(settings, places[0])})
        _stage(folder, places)
        _make_good(settings, places, backup, forgotten)
        replaced = _exchange(settings.data / MARKER, places)
    return Restored(backup, replaced, forgotten)


def _verify(folder: Path, backup: Backup) -> None:
    for file in backup.files:
        path = folder / file.path
        if not path.is_file() or durable.sha256(path) != file.sha256:
            raise BackupRefused(
                f"{path} is not what was backed up; nothing was restored, use another backup"
            )


def _places(settings: Settings) -> list[_Place]:
    if not settings.jobs_url.startswith(SQLITE):
        raise BackupRefused("only a home on SQLite can be restored; use the database's own tools")
    return [
        _Place(DATABASE, Path(settings.jobs_url.removeprefix(SQLITE))),
        _Place(READINGS, settings.readings),
        _Place(EXPORTS, settings.files),
    ]


def _erased_before(settings: Settings, database: _Place) -> Iterator[str]:
    """By the home; where an exchange was cut off, only the staged database may tell."""
    for path in (database.final, database.staged):
        if path.exists():
            there = settings.model_copy(update={"database_url": f"{SQLITE}{path}"})
            yield from erased_meters(there)


def _stage(folder: Path, places: Sequence[_Place]) -> None:
    for place in places:
        _remove(place.staged)
        source = folder / place.part
        if source.is_file():
            _copy(source, place.staged)
            continue
        place.staged.mkdir(mode=0o700)
        for path in sorted(source.rglob("*")):
            to = place.staged / path.relative_to(source)
            if path.is_dir():
                to.mkdir(mode=0o700)
            else:
                _copy(path, to)
        for made in place.staged.rglob("*"):
            if made.is_dir():
                durable.sync_folder(made)
        durable.sync_folder(place.staged)


def _copy(source: Path, to: Path) -> None:
    with source.open("rb") as opened:
        durable.copy(opened, to)


def _make_good(
    settings: Settings, places: Sequence[_Place], backup: Backup, forgotten: Sequence[str]
) -> None:
    database, readings, files = (place.staged for place in places)
    staged = settings.model_copy(
        update={
            "database_url": f"{SQLITE}{database}",
            "readings_url": str(readings),
            "files_url": str(files),
        }
    )
    with open_staged(staged, version=backup.readings_version) as services:
        refresh_meters(source=services.source, catalog=services.catalog)
        for meter in forgotten:
            _erase(services, meter)
    for journal in JOURNALS:
        _remove(database.with_name(database.name + journal))


def _erase(services: Services, meter: str) -> None:
    erase_meter(
        meter,
        erasures=services.erasures,
        source=services.source,
        upkeep=services.upkeep,
        catalog=services.catalog,
        archive=services.archive,
        objects=services.objects,
    )


def _exchange(marker: Path, places: Sequence[_Place]) -> list[Path]:
    durable.write_file(marker, b"A restore is under way, or was cut off: restore again.\n")
    durable.sync_folder(marker.parent)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    replaced = []
    for place in places:
        for name in (*(place.final.name + journal for journal in JOURNALS), place.final.name):
            old = place.final.with_name(name)
            if old.exists():
                aside = old.with_name(f"{name}.replaced-{stamp}")
                old.rename(aside)
                replaced += [aside] if old == place.final else []
        place.staged.rename(place.final)
        durable.sync_folder(place.final.parent)
    marker.unlink()
    durable.sync_folder(marker.parent)
    return replaced


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _translated(settings: Settings) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BackupRefused(
            f"{settings.data} could not be written: {error.strerror}; restore again when it can"
        ) from error
