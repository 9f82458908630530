"""Put a backup in a home's place: checked before, staged beside, exchanged at the end.

Nothing of the home changes before the backup was read through and its copy is on the disk. The
exchange is a few renames; a marker file tells that they are under way, and nothing starts on a
home that has one. What was there before is kept under another name.
"""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from meterport import durable
from meterport.bootstrap import SQLITE, Services, erase, erased_meters, open_staged
from meterport.data_folder import MARKER, home_alone
from meterport.domain.backups import DATABASE, EXPORTS, READINGS, Backup
from meterport.domain.errors import BackupRefused, MeterportError
from meterport.services.refresh_meters import refresh_meters
from meterport.settings import Settings

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
    settings: Settings, folder: Path, *, replace: bool, erasures: Sequence[str] | None = None
) -> Restored:
    """`erasures`: meters to forget besides those that the replaced home has forgotten since.

    Raises BackupRefused, or StartRefused while another process works on the home.
    """
    backup = Backup.read(folder)
    places = _places(settings)
    with _translated(settings):
        durable.make_folder(settings.data.absolute())
        with home_alone(settings):
            _check_replaceable(places, replace)
            known = _erased_before(places[0], told=erasures is not None)
            with _staged(folder, backup, places):
                with _opened(settings, places, backup) as services:
                    forgotten = sorted({*(erasures or ()), *_later(known, services.erasures.all())})
                    for meter in forgotten:
                        erase(services, meter)
                _remove_journals(places[0].staged)
            replaced = _exchange(settings.data / MARKER, places)
    return Restored(backup, replaced, forgotten)


def _check_replaceable(places: Sequence[_Place], replace: bool) -> None:
    for place in places:
        if place.final.is_mount():
            raise BackupRefused(
                f"{place.final} is a mount point and cannot be exchanged; restore into another "
                "--data and copy it there"
            )
        if place.is_taken() and not replace:
            raise BackupRefused(
                f"{place.final} is there already; choose another --data, or say --replace, which "
                "keeps it under another name"
            )


def _places(settings: Settings) -> list[_Place]:
    if not settings.jobs_url.startswith(SQLITE):
        raise BackupRefused("only a home on SQLite can be restored; use the database's own tools")
    if settings.readings_in_store or settings.readings_in_database:
        raise BackupRefused(
            "METERPORT_READINGS_URL names no folder, and only folders can be restored; empty it, "
            "restore into another --data, and copy its readings to the store, _delta_log last"
        )
    if settings.files_in_store:
        raise BackupRefused(
            "METERPORT_FILES_URL names no folder, and only folders can be restored; empty it, "
            "restore into another --data, and copy its exports to the store"
        )
    return [
        _Place(DATABASE, Path(settings.jobs_url.removeprefix(SQLITE)).resolve()),
        _Place(READINGS, settings.readings.resolve()),
        _Place(EXPORTS, settings.files.resolve()),
    ]


def _erased_before(database: _Place, *, told: bool) -> Mapping[str, datetime]:
    """By the home; where an exchange was cut off, only the staged database may tell."""
    known: dict[str, datetime] = {}
    for path in (database.final, database.staged):
        if path.exists():
            try:
                known |= erased_meters(path)
            except MeterportError as error:
                if not told:
                    raise BackupRefused(
                        f"{path} cannot be read, so nobody knows which meters were erased since "
                        "the backup; pass --erasures FILE, a list of them, [] if there are none"
                    ) from error
    return known


def _later(known: Mapping[str, datetime], at_backup: Mapping[str, datetime]) -> list[str]:
    """A meter that was erased before the backup may have come back in time to be in it."""
    return [meter for meter, asked in known.items() if at_backup.get(meter) != asked]


@contextmanager
def _staged(folder: Path, backup: Backup, places: Sequence[_Place]) -> Iterator[None]:
    """A copy of the backup beside the home; nothing of it stays if the block fails."""
    try:
        _stage(folder, backup, places)
        yield
    except BaseException:
        for place in places:
            _remove(place.staged)
            _remove_journals(place.staged)
        raise


def _stage(folder: Path, backup: Backup, places: Sequence[_Place]) -> None:
    for place in places:
        _remove(place.staged)
        if place.part != DATABASE:
            place.staged.mkdir(mode=0o700)
    for file in backup.files:
        part, _, name = file.path.partition("/")
        (staged,) = (place.staged for place in places if place.part == part)
        to = staged / name if name else staged
        to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _copied(folder / file.path, to) != file.sha256:
            raise BackupRefused(
                f"{folder / file.path} is not what was backed up; nothing was restored, use "
                "another backup"
            )
    for place in places:
        for made in place.staged.rglob("*"):
            if made.is_dir():
                durable.sync_folder(made)


def _copied(source: Path, to: Path) -> str:
    """The SHA-256 of what was copied; empty if there is nothing to copy."""
    try:
        opened = source.open("rb")
    except FileNotFoundError:
        return ""
    with opened:
        return durable.copy(opened, to)


@contextmanager
def _opened(settings: Settings, places: Sequence[_Place], backup: Backup) -> Iterator[Services]:
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
        yield services


def _remove_journals(database: Path) -> None:
    for journal in JOURNALS:
        _remove(database.with_name(database.name + journal))


def _exchange(marker: Path, places: Sequence[_Place]) -> list[Path]:
    durable.write_file(marker, b"A restore is under way, or was cut off: restore again.\n")
    durable.sync_folder(marker.parent)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    replaced = []
    for place in places:
        aside = place.final.with_name(f"{place.final.name}.replaced-{stamp}")
        if place.final.is_file():
            # It keeps its name until the new one takes it: it alone knows the erased meters.
            os.link(place.final, aside)
            replaced.append(aside)
        elif place.final.exists():
            place.final.rename(aside)
            replaced.append(aside)
        # Beside its database under the new name too; none may be left for the database to come.
        for journal in JOURNALS:
            old = place.final.with_name(place.final.name + journal)
            if old.exists():
                old.rename(aside.with_name(aside.name + journal))
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
