"""Every setting, with its default, unit and meaning. Read once at the start, passed down as values.

The defaults are one machine without any server; each is set by METERPORT_<NAME>.
"""

import ipaddress
import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from meterport.domain.errors import StartRefused
from meterport.domain.fleets import PART_ROWS
from meterport.domain.jobs import RetryPolicy

PREFIX = "METERPORT_"
STORES = ("s3", "gs", "az")
SECRETS = {"store_secret_access_key", "api_key"}
_USER_AND_PASSWORD = re.compile(r"(://[^:/@]*:).*@", re.DOTALL)
_SECRET_PARAMETER = re.compile(r"(?i)([?&;][^=&;]*(?:pass|secret|token|key)[^=&;]*=)[^&;#]*")


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid"
    )

    data: Annotated[Path, Field(description="Home of everything below")] = Path("meterport-data")
    database_url: Annotated[
        str, Field(description="SQLAlchemy URL of the jobs; empty: SQLite in the data folder")
    ] = ""
    readings_url: Annotated[
        str,
        Field(
            description="Folder or s3://, gs://, az:// URL of the Delta table, or a table's "
            "postgresql:// URL; empty: readings/"
        ),
    ] = ""
    files_url: Annotated[
        str,
        Field(description="Folder or s3://, gs://, az:// URL of the exports; empty: exports/"),
    ] = ""
    store_endpoint: Annotated[
        str, Field(description="Address of an S3 work-alike; empty: the provider's own")
    ] = ""
    store_region: Annotated[str, Field(description="Region of the object store")] = "us-east-1"
    store_access_key_id: Annotated[
        str, Field(description="Key id for the object store; empty: its own environment counts")
    ] = ""
    store_secret_access_key: Annotated[
        SecretStr, Field(description="Secret for the object store")
    ] = SecretStr("")
    store_public_endpoint: Annotated[
        str, Field(description="Address of that store for clients; empty: METERPORT_STORE_ENDPOINT")
    ] = ""
    downloads: Annotated[
        Literal["proxy", "redirect"],
        Field(description="proxy: the service sends the files; redirect: their S3 store does"),
    ] = "proxy"
    download_link_s: Annotated[
        int,
        Field(ge=1, le=604_800, description="Seconds that a link of `redirect` can be used"),
    ] = 300
    broker_url: Annotated[
        str, Field(description="Celery broker, redis:// or amqp://; empty: workers of `serve`")
    ] = ""
    host: Annotated[str, Field(description="Address to listen on")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535, description="Port; 0: any free one")] = 8000
    workers: Annotated[int, Field(ge=1, le=256, description="Worker processes of `serve`")] = min(
        4, os.cpu_count() or 1
    )
    auth: Annotated[
        Literal["auto", "keys", "insecure-off"],
        Field(description="auto: asks for keys but on loopback; keys: always; insecure-off: never"),
    ] = "auto"
    api_key: Annotated[
        SecretStr, Field(description="Key that `meterport export --server` shows the service")
    ] = SecretStr("")
    allowed_hosts: Annotated[
        tuple[str, ...],
        NoDecode,
        Field(description="Further host names to answer to, comma-separated"),
    ] = ()
    job_lease_s: Annotated[
        float, Field(ge=0.5, le=3600, description="Seconds without a heartbeat until a job is free")
    ] = 15.0
    job_time_limit_s: Annotated[
        float, Field(gt=0, description="Seconds that one attempt at a job may take")
    ] = 7200.0
    job_crashes: Annotated[
        int, Field(ge=1, description="Attempts that may end with their worker")
    ] = 5
    job_retries: Annotated[
        int, Field(ge=0, le=10, description="Retries after an error that may pass")
    ] = 3
    job_retry_s: Annotated[
        float, Field(gt=0, le=60, description="Seconds before the first retry; they triple")
    ] = 1.0
    part_rows: Annotated[
        int, Field(ge=1, description="Rows of one part of a fleet's export, about")
    ] = PART_ROWS
    max_meters: Annotated[int, Field(ge=1, description="Meters of one export, at most")] = 10_000
    max_rows: Annotated[
        int, Field(ge=1, le=2**31 - 1, description="Rows of one export, at most, as expected")
    ] = 1_000_000_000
    max_upload_bytes: Annotated[
        int, Field(ge=1, description="Bytes of a file sent to POST /api/readings, at most")
    ] = 1 << 30
    import_memory_mib: Annotated[
        int | None,
        Field(
            ge=512,
            description="MiB that the import of a sent file may allocate; empty: the machine's",
        ),
    ] = None
    max_queued: Annotated[
        int, Field(ge=0, description="Unfinished exports of all, at most; 0: no limit")
    ] = 10_000
    max_active_exports: Annotated[
        int, Field(ge=0, description="Unfinished exports of an owner of keys; 0: no limit")
    ] = 100
    creates_per_minute: Annotated[
        int, Field(ge=0, description="Exports and links of a key in a minute; 0: no limit")
    ] = 60
    downloads_at_once: Annotated[
        int, Field(ge=0, description="Downloads of a key at the same time; 0: no limit")
    ] = 8
    streams_at_once: Annotated[
        int, Field(ge=0, description="Event streams of a key at the same time; 0: no limit")
    ] = 5
    worker_restart_s: Annotated[
        float, Field(ge=0, le=10, description="Seconds before a dead worker is started again")
    ] = 0.1
    keep_files_days: Annotated[
        float, Field(gt=0, description="Days that a finished file can be downloaded")
    ] = 7.0
    keep_jobs_days: Annotated[
        float, Field(ge=1, description="Days that a job's record is kept")
    ] = 90.0
    keep_versions_days: Annotated[
        float, Field(ge=0.01, description="Days that earlier versions of the readings are kept")
    ] = 7.0
    disk_reserve_mib: Annotated[
        int | None, Field(ge=0, description="MiB left free; empty: 5 %, at most 2 GiB")
    ] = None
    upkeep_every_h: Annotated[
        float, Field(gt=0, description="Hours from one upkeep of the readings to the next")
    ] = 1.0
    scrub_every_h: Annotated[
        float, Field(gt=0, description="Hours from one check of all readings files to the next")
    ] = 24.0
    log_format: Annotated[
        Literal["auto", "console", "json"],
        Field(description="auto: console on a terminal, else JSON lines"),
    ] = "auto"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="Least severe event logged")
    ] = "info"

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _listed(cls, names: object) -> object:
        if not isinstance(names, str):
            return names
        return tuple(name.strip().lower() for name in names.split(",") if name.strip())

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def asks_for_keys(self) -> bool:
        return self.auth == "keys" or (self.auth == "auto" and not self.on_loopback)

    @property
    def profile(self) -> dict[str, str]:
        """Where each part is, without passwords."""
        endpoint = f" at {self.store_endpoint}" if self.store_endpoint else ""
        files = f"{self.files_url}{endpoint}" if self.files_in_store else str(self.files)
        delivery = f"Celery over {self.broker_url}" if self.broker_url else "workers of `serve`"
        parts = {
            "jobs": self.jobs_url,
            "delivery": delivery,
            "readings": self.readings_url or str(self.data.absolute() / "readings"),
            "files": files,
            "downloads": self.downloads,
        }
        return {part: without_passwords(place) for part, place in parts.items()}

    def shown(self) -> dict[str, object]:
        """Every setting as it stands, without passwords."""
        return {
            name: without_passwords(value) if isinstance(value, str) else value
            for name, value in self.model_dump(mode="json").items()
        }

    @property
    def jobs_url(self) -> str:
        return self.database_url or f"sqlite:///{self.data.absolute() / 'meterport.db'}"

    @property
    def jobs_on_server(self) -> bool:
        """Whether several machines can share the jobs."""
        return not self.jobs_url.startswith("sqlite")

    @property
    def readings_in_database(self) -> bool:
        """Whether the readings are in a table of PostgreSQL, and not in the folder `readings`."""
        return self.readings_url.startswith("postgresql")

    @property
    def readings_in_store(self) -> bool:
        """Whether the Delta table lies in an object store, and not in the folder `readings`."""
        return self.readings_url.partition("://")[0] in STORES

    @property
    def readings(self) -> Path:
        return _folder("READINGS_URL", self.readings_url, self.data / "readings")

    @property
    def store_options(self) -> dict[str, str]:
        """As obstore names them; none where the environment of the store's own tools counts."""
        options = {
            "endpoint": self.store_endpoint,
            "access_key_id": self.store_access_key_id,
            "secret_access_key": self.store_secret_access_key.get_secret_value(),
        }
        given = {name: value for name, value in options.items() if value}
        return {"region": self.store_region, **given} if given else {}

    @property
    def files_in_store(self) -> bool:
        """Whether the exports lie in an object store, and not in the folder `files`."""
        return self.files_url.partition("://")[0] in STORES

    @property
    def files(self) -> Path:
        return _folder("FILES_URL", self.files_url, self.data / "exports")

    @property
    def download_link(self) -> timedelta:
        return timedelta(seconds=self.download_link_s)

    @property
    def job_lease(self) -> timedelta:
        return timedelta(seconds=self.job_lease_s)

    @property
    def job_time_limit(self) -> timedelta:
        return timedelta(seconds=self.job_time_limit_s)

    @property
    def retry_policy(self) -> RetryPolicy:
        first = timedelta(seconds=self.job_retry_s)
        return RetryPolicy(self.job_crashes, self.job_retries, first)

    @property
    def import_memory_bytes(self) -> int:
        if self.import_memory_mib is not None:
            return self.import_memory_mib << 20
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

    @property
    def disk_reserve_bytes(self) -> int | None:
        return None if self.disk_reserve_mib is None else self.disk_reserve_mib << 20


def load_settings(**given: Any) -> Settings:
    """The environment's settings and, before them, those given (None: not given)."""
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        lines = [
            f"{PREFIX}{str(e['loc'][0]).upper()}: {e['msg']}"
            for e in error.errors(include_input=False, include_url=False)
        ]
        raise StartRefused("\n".join(lines)) from error


def environment_of(settings: Settings) -> dict[str, str]:
    """The settings as a child process reads them, also those that came by option.

    Secrets come from the environment alone, which the child has too.
    """
    given = settings.model_dump(mode="json", exclude_defaults=True, exclude=SECRETS)
    own = {f"{PREFIX}{name.upper()}": _as_variable(value) for name, value in given.items()}
    return dict(os.environ) | own


def _as_variable(value: object) -> str:
    return ",".join(value) if isinstance(value, list) else str(value)


def without_passwords(text: str) -> str:
    """Rather too much of a URL is hidden than too little, whatever stands in a password."""
    hidden = _USER_AND_PASSWORD.sub(r"\1***@", text)
    return _SECRET_PARAMETER.sub(r"\1***", hidden)


def _folder(name: str, url: str, default: Path) -> Path:
    if not url:
        return default.absolute()
    if "://" in url and not url.startswith("file:///"):
        raise StartRefused(
            f"{PREFIX}{name}: {url.partition('://')[0]}:// is not known here; "
            "write a folder such as /data/x, or a store such as s3://bucket/path"
        )
    return Path(url.removeprefix("file://")).absolute()
