"""Settings in, services out: the only module that names adapters."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meterport.adapters.local_disk import LocalDisk
from meterport.adapters.local_dispatch import LocalDispatch, SocketWakeups
from meterport.adapters.local_files import LocalFiles
from meterport.adapters.local_uploads import LocalUploads
from meterport.adapters.profile_checkup import ProfileCheckup
from meterport.adapters.sql_audit import SqlAudit
from meterport.adapters.sql_checkup import SqlCheckup
from meterport.adapters.sql_database import Database
from meterport.adapters.sql_erasures import SqlErasures, detach
from meterport.adapters.sql_figures import SqlFigures
from meterport.adapters.sql_history import SqlHistory
from meterport.adapters.sql_import_keys import SqlImportKeys
from meterport.adapters.sql_job_archive import SqlJobArchive
from meterport.adapters.sql_jobs import SqlJobs
from meterport.adapters.sql_keys import SqlKeys
from meterport.adapters.sql_leases import SqlLeases
from meterport.adapters.sql_links import SqlLinks
from meterport.adapters.sql_meters import SqlMeters
from meterport.adapters.sql_presence import SqlPresence
from meterport.adapters.sql_schema import REVISIONS, check, revision, upgrade
from meterport.adapters.sqlite_backup import SqliteBackup
from meterport.data_folder import check_whole, make_data_folder, usable
from meterport.domain.errors import SourceUnavailable, StartRefused
from meterport.domain.jobs import Room
from meterport.durable import make_folder
from meterport.ports import (
    Checkup,
    DatabaseCopier,
    Dispatcher,
    JobArchive,
    JobStore,
    Leases,
    MeterCatalog,
    ObjectStore,
    ReadingSource,
    ReadingStore,
    ReadingUpkeep,
    Space,
    Wakeups,
)
from meterport.ports.access import Keys, Links
from meterport.ports.audit import Audit
from meterport.ports.erasures import Erasures
from meterport.ports.history import History
from meterport.ports.imports import ImportKeys
from meterport.ports.overview import Disk, JobCounts, MeterPages, Presence, Uploads
from meterport.services.choose_meters import Limits
from meterport.services.erase_meter import erase_meter
from meterport.services.refresh_meters import refresh_meters
from meterport.services.submit_export import Intake
from meterport.services.unerased import Unerased
from meterport.settings import Settings
from meterport.sources.delta import DeltaSource
from meterport.sources.delta_store import DeltaReadings
from meterport.sources.delta_upkeep import DeltaUpkeep
from meterport.sources.table_files import TableFiles
from meterport.sources.table_folder import TableFolder

if TYPE_CHECKING:
    from meterport.adapters.s3_links import S3Links

SQLITE = "sqlite:///"
UPLOADS = "uploads"
SMALL_FRAME_ROWS = 90_000


@dataclass(frozen=True)
class Services:
    jobs: JobStore
    archive: JobArchive
    history: History
    keys: Keys
    audit: Audit
    links: Links
    leases: Leases
    presence: Presence
    dispatcher: Dispatcher
    source: ReadingSource
    source_in_small_frames: ReadingSource
    """For the API, which has to be small whatever is asked of it."""
    readings: ReadingStore
    upkeep: ReadingUpkeep
    catalog: MeterCatalog
    meter_pages: MeterPages
    objects: ObjectStore
    space: Space
    disk: Disk
    counts: JobCounts
    uploads: Uploads
    import_keys: ImportKeys
    checkups: list[Checkup]
    copier: DatabaseCopier
    erasures: Erasures
    limits: Limits
    room: Room
    close: Callable[[], None]
    """Give the database's connections back."""

    @property
    def intake(self) -> Intake:
        return Intake(
            self.jobs,
            self.catalog,
            self.dispatcher,
            self.space,
            self.audit,
            self.limits,
            self.room,
        )

    def unerased(self) -> Unerased:
        """See services/unerased."""
        return Unerased(jobs=self.jobs, erasures=self.erasures)


def erase(services: Services, smart_meter_id: str) -> int:
    """See services/erase_meter."""
    # A file that was sent may have readings of it.
    services.uploads.remove_left_behind()
    return erase_meter(
        smart_meter_id,
        erasures=services.erasures,
        source=services.source,
        upkeep=services.upkeep,
        catalog=services.catalog,
        archive=services.archive,
        objects=services.objects,
        audit=services.audit,
    )


def connect(settings: Settings) -> Services:
    """The services on a home that `prepare` has prepared. Raises StartRefused on another schema.

    Where a database server has the jobs, a machine may begin with an empty data folder or none.
    """
    if settings.jobs_on_server:
        make_data_folder(settings)
    elif not settings.data.is_dir():
        raise StartRefused(f"there is no data folder {settings.data}; `meterport serve` makes one")
    check_whole(settings)
    database = Database(settings.jobs_url)
    check(database)
    return _services(settings, database)


def _services(settings: Settings, database: Database) -> Services:
    with _extras():
        return _connected(settings, database)


@contextmanager
def _extras() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise StartRefused(
            f"these settings need {error.name}; install meterport[distributed]"
        ) from error


def _connected(settings: Settings, database: Database) -> Services:
    # All of them are one disk unless the operator chose others.
    folders = [settings.data]
    if not (settings.readings_in_database or settings.readings_in_store):
        folders.append(settings.readings)
    if not settings.files_in_store:
        folders.append(settings.files)
    space = LocalDisk(folders, settings.disk_reserve_bytes)
    return Services(
        jobs=SqlJobs(database),
        archive=SqlJobArchive(database),
        history=SqlHistory(database),
        keys=SqlKeys(database),
        audit=SqlAudit(database),
        links=SqlLinks(database),
        leases=SqlLeases(database),
        presence=SqlPresence(database),
        dispatcher=_dispatcher(settings, database),
        **_readings(settings, database, space),
        objects=_objects(settings, space),
        space=space,
        disk=space,
        counts=SqlFigures(database),
        uploads=LocalUploads(settings.data / UPLOADS, space),
        import_keys=SqlImportKeys(database),
        checkups=[profile(settings), SqlCheckup(database), space, *_servers(settings)],
        copier=SqliteBackup(database),
        erasures=SqlErasures(database),
        limits=Limits(settings.max_meters, settings.max_rows),
        room=Room(of_owner=settings.max_active_exports, of_all=settings.max_queued),
        close=database.engine.dispose,
    )


def profile(settings: Settings) -> Checkup:
    """Which parts are in use, whether or not they work."""
    return ProfileCheckup(settings.profile)


def _servers(settings: Settings) -> Iterator[Checkup]:
    if settings.broker_url:
        from meterport.adapters.broker_checkup import BrokerCheckup

        yield BrokerCheckup(settings.broker_url)
    if settings.files_in_store:
        from meterport.adapters.store_checkup import StoreCheckup

        yield StoreCheckup(settings.files_url, settings.store_options)


def _dispatcher(settings: Settings, database: Database) -> Dispatcher:
    # Imported late: they belong to an extra that one machine does without.
    if settings.broker_url:
        from meterport.adapters.celery_dispatch import CeleryDispatch, check_url

        check_url(settings.broker_url)
        return CeleryDispatch(settings.broker_url)
    if database.engine.dialect.name == "postgresql":
        from meterport.adapters.postgres_dispatch import PostgresDispatch

        return PostgresDispatch(database)
    return LocalDispatch(settings.data)


def wakeups(settings: Settings, wake_fd: int | None) -> Wakeups:
    """Where an idle worker of `serve` waits for the dispatcher."""
    if settings.jobs_url.startswith("postgresql") and not settings.broker_url:
        from meterport.adapters.postgres_dispatch import PostgresWakeups

        return PostgresWakeups(settings.jobs_url)
    return SocketWakeups(wake_fd)


def _readings(settings: Settings, database: Database, space: Space) -> dict[str, Any]:
    if settings.readings_in_database:
        from meterport.sources.postgres import PostgresSource, ReadOnly

        table = PostgresSource(settings.readings_url)
        return {
            "source": table,
            "source_in_small_frames": table,
            "catalog": table,
            "meter_pages": table,
            "readings": ReadOnly(),
            "upkeep": ReadOnly(),
        }
    files = _table_files(settings)
    meters = SqlMeters(database)
    return {
        "source": DeltaSource(files),
        "source_in_small_frames": DeltaSource(files, frame_rows=SMALL_FRAME_ROWS),
        "catalog": meters,
        "meter_pages": meters,
        "readings": DeltaReadings(files, space=space),
        "upkeep": DeltaUpkeep(files),
    }


def _table_files(settings: Settings) -> TableFiles:
    if settings.readings_in_store:
        from meterport.sources.table_store import TableStore

        home = settings.data.absolute()
        return TableStore(settings.readings_url, settings.store_options, staging=home)
    return TableFolder(settings.readings)


def _objects(settings: Settings, space: Space) -> ObjectStore:
    if settings.downloads == "redirect" and not settings.files_url.startswith("s3://"):
        raise StartRefused(
            "METERPORT_DOWNLOADS=redirect needs the files in an S3 store; set METERPORT_FILES_URL "
            "to one such as s3://bucket/exports, or METERPORT_DOWNLOADS=proxy"
        )
    if not settings.files_in_store:
        return LocalFiles(settings.files, space)
    from meterport.adapters.object_store import StoreFiles

    return StoreFiles(settings.files_url, settings.store_options, links=_links(settings))


def _links(settings: Settings) -> "S3Links | None":
    if settings.downloads == "proxy":
        return None
    from meterport.adapters.s3_links import S3Links

    options = dict(settings.store_options)
    if settings.store_public_endpoint:
        options["endpoint"] = settings.store_public_endpoint
    return S3Links(settings.files_url, options, valid_for=settings.download_link)


@contextmanager
def archive_in(database: Path) -> Iterator[JobArchive]:
    """The jobs of a database file, such as a backup's."""
    opened = Database(f"sqlite:///{database.absolute()}")
    try:
        yield SqlJobArchive(opened)
    finally:
        opened.engine.dispose()


@contextmanager
def open_staged(settings: Settings, *, version: int) -> Iterator[Services]:
    """The services on a copy of a backup that is about to take a home's place."""
    database = Database(settings.jobs_url)
    try:
        upgrade(database)
        detach(database, version=version)
        yield _services(settings, database)
    finally:
        database.engine.dispose()


def erased_meters(database_file: Path) -> Mapping[str, datetime]:
    """The meters that a home's database has forgotten, and when that was asked for.

    Raises ServiceUnavailable where the file cannot be read.
    """
    database = Database(f"{SQLITE}{database_file}")
    try:
        found = revision(database)
        return SqlErasures(database).all() if found in REVISIONS[1:] else {}
    finally:
        database.engine.dispose()


def prepare(settings: Settings) -> Services:
    """The services on an up-to-date home: folders, schema, readings table, catalogue.

    Raises StartRefused if the home cannot be used.
    """
    check_whole(settings)
    with usable(settings):
        if not settings.files_in_store:
            make_folder(settings.files)
        if not settings.readings_in_database:
            _create_table(settings)
    database = upgrade_schema(settings)
    services = _services(settings, database)
    services.uploads.remove_left_behind()
    refresh_meters(source=services.source, catalog=services.catalog)
    return services


def _create_table(settings: Settings) -> None:
    try:
        with _extras():
            DeltaReadings(_table_files(settings)).create()
    except SourceUnavailable as error:
        raise StartRefused(error.message, error.details) from error


def upgrade_schema(settings: Settings) -> Database:
    check_whole(settings)
    make_data_folder(settings)
    database = Database(settings.jobs_url)
    upgrade(database)
    return database
