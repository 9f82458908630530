"""The audit log, as the database has it."""

from collections.abc import Iterator
from typing import Protocol

from meterport.domain.audit import AuditPage, Deed, Entry, Head, Sought


class Recorder(Protocol):
    def record(self, deed: Deed) -> Head:
        """Append it; it is durable when this returns, and has a number of its own.

        Raises ServiceUnavailable, and then nothing may be given away.
        """


class Audit(Recorder, Protocol):
    def page(self, sought: Sought, *, limit: int, before: int | None = None) -> AuditPage:
        """The newest first; `before`: the number of the last entry that was told."""

    def entries(self) -> Iterator[Entry]:
        """All, in order of their numbers, few at a time."""

    def sets(self) -> Iterator[tuple[str, str]]:
        """Each meter of each set, by digest and then by id, few at a time."""

    def first_with(self, meters_sha256: str) -> int | None:
        """The number of the first entry that names this set."""

    def first_without_set(self) -> int | None:
        """The number of the first entry whose set is not there."""
