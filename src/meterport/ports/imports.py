"""Keys under which files of readings are sent, so that one that comes again is imported once."""

from collections.abc import Mapping
from typing import Protocol

from meterport.domain.idempotency import ImportClaim


class ImportKeys(Protocol):
    def claim(
        self, *, owner: str, key: str, request_sha256: str
    ) -> ImportClaim | Mapping[str, object]:
        """The right to import it, for a lease's time; or the report, if that was done.

        Whoever dies with a claim loses it with its lease. Raises IdempotencyKeyReused,
        IdempotencyKeyInUse.
        """

    def renew(self, claim: ImportClaim) -> None:
        """Keep it for another lease's time, unless it was lost."""

    def finish(self, claim: ImportClaim, report: Mapping[str, object]) -> None:
        """From now on that is the answer, unless the claim was lost."""

    def release(self, claim: ImportClaim) -> None:
        """Nothing was imported: the key stands for no request any more."""
