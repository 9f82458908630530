"""Settings in, services out: the only module that names adapters."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from meterport.adapters.local_dispatch import LocalDispatch
from meterport.adapters.local_files import LocalFiles
from meterport.adapters.sql_database import Database
from meterport.adapters.sql_jobs import SqlJobs
from meterport.adapters.sql_meters import SqlMeters
from meterport.adapters.sql_schema import check, upgrade
from meterport.domain.errors import StartRefused
from meterport.durable import make_folder
from meterport.ports import (
    Dispatcher,
    JobStore,
    MeterCatalog,
    ObjectStore,
    ReadingSource,
    ReadingStore,
)
from meterport.services.refresh_meters import refresh_meters
from meterport.settings import Settings
from meterport.sources.delta import DeltaSource
from meterport.sources.delta_store import DeltaReadings


@dataclass(frozen=True)
class Services:
    jobs: JobStore
    dispatcher: Dispatcher
    source: ReadingSource
    readings: ReadingStore
    catalog: MeterCatalog
    objects: ObjectStore


def connect(settings: Settings) -> Services:
    """The services on a home that `prepare` has prepared. Raises StartRefused on another schema."""
    if not settings.data.is_dir():
        raise StartRefused(f"there is no data folder {settings.data}; `meterport serve` makes one")
    database = Database(settings.jobs_url)
    check(database)
    return _services(settings, database)


def _services(settings: Settings, database: Database) -> Services:
    return Services(
        jobs=SqlJobs(database),
        dispatcher=LocalDispatch(settings.data),
        source=DeltaSource(settings.readings),
        readings=DeltaReadings(settings.readings),
        catalog=SqlMeters(database),
        objects=LocalFiles(settings.files),
    )


def prepare(settings: Settings) -> Services:
    """The services on an up-to-date home: folders, schema, readings table, catalogue.

    Raises StartRefused if the home cannot be used.
    """
    with usable(settings):
        make_folder(settings.files)
        DeltaReadings(settings.readings).create()
    database = upgrade_schema(settings)
    services = _services(settings, database)
    refresh_meters(source=services.source, catalog=services.catalog)
    return services


def upgrade_schema(settings: Settings) -> Database:
    with usable(settings):
        make_folder(settings.data.absolute())
    database = Database(settings.jobs_url)
    upgrade(database)
    return database


@contextmanager
def usable(settings: Settings) -> Iterator[None]:
    """Raises StartRefused, with the remedy, where the data folder fails us."""
    try:
        yield
    except OSError as error:
        raise StartRefused(
            f"cannot use the data folder {settings.data}: {error.strerror}; "
            "choose another with --data or METERPORT_DATA"
        ) from error
