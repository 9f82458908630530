"""Every setting, with its default, unit and meaning. Read once at the start, passed down as values.

The defaults are one machine without any server; each is set by METERPORT_<NAME>.
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from meterport.domain.errors import StartRefused

PREFIX = "METERPORT_"


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    data: Annotated[Path, Field(description="Home of everything below")] = Path("meterport-data")
    database_url: Annotated[
        str, Field(description="SQLAlchemy URL of the jobs; empty: SQLite in the data folder")
    ] = ""
    readings_url: Annotated[
        str, Field(description="Folder of the Delta table; empty: readings/ in the data folder")
    ] = ""
    files_url: Annotated[
        str, Field(description="Folder of the exports; empty: exports/ in the data folder")
    ] = ""
    host: Annotated[str, Field(description="Address to listen on")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535, description="Port; 0: any free one")] = 8000
    workers: Annotated[int, Field(ge=1, le=256, description="Worker processes of `serve`")] = min(
        4, os.cpu_count() or 1
    )
    auth: Annotated[
        Literal["off", "insecure-off"],
        Field(description="off: loopback only; insecure-off: any address, no keys asked"),
    ] = "off"
    allowed_hosts: Annotated[
        tuple[str, ...],
        NoDecode,
        Field(description="Further host names to answer to, comma-separated"),
    ] = ()
    job_lease_s: Annotated[
        float, Field(ge=2, le=3600, description="Seconds without a heartbeat until a job is free")
    ] = 15.0
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
    def jobs_url(self) -> str:
        return self.database_url or f"sqlite:///{self.data.absolute() / 'meterport.db'}"

    @property
    def readings(self) -> Path:
        return _folder("READINGS_URL", self.readings_url, self.data / "readings")

    @property
    def files(self) -> Path:
        return _folder("FILES_URL", self.files_url, self.data / "exports")

    @property
    def job_lease(self) -> timedelta:
        return timedelta(seconds=self.job_lease_s)


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


def _folder(name: str, url: str, default: Path) -> Path:
    if not url:
        return default.absolute()
    if "://" in url and not url.startswith("file:///"):
        raise StartRefused(
            f"{PREFIX}{name}: this version knows local folders only, such as /data/x"
        )
    return Path(url.removeprefix("file://")).absolute()
