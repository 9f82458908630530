"""Keys and links, as the database has them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from meterport.domain.access import Key
from meterport.domain.jobs import JobId
from meterport.domain.links import Link


class Keys(Protocol):
    def add(self, key: Key, *, secret_sha256: str) -> None: ...

    def find(self, key_id: str) -> tuple[Key, str] | None:
        """The key, dead or alive, and the digest of its secret."""

    def all(self) -> Sequence[Key]:
        """Dead ones too, in order of their making."""

    def end(self, key_id: str, *, at: datetime) -> None:
        """Let it expire then, unless it does so before."""

    def revoke(self, key_id: str) -> None:
        """Let it be of no use from now on. Safe to repeat."""

    def used(self, key_id: str) -> None:
        """Remember when it was, to a minute."""


class Links(Protocol):
    """They go with their export's file, at once when that is removed before its time."""

    def add(self, link: Link, *, secret_sha256: str) -> bool:
        """False, and then there is none, where the export has no file any more.

        Raises InvalidRequest where it has MOST_OF_EXPORT.
        """

    def find(self, link_id: str) -> tuple[Link, str] | None:
        """The link, expired or not, and the digest of its secret."""

    def of_job(self, job_id: JobId) -> Sequence[Link]:
        """Expired ones too, in order of their making."""

    def remove(self, job_id: JobId, link_id: str) -> bool:
        """Let it lead nowhere from now on; False: there is no such link, or none any more."""
