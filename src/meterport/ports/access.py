"""Keys, as the database has them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from meterport.domain.access import Key


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
