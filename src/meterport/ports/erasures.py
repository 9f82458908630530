"""The list of forgotten meters, as the database has it."""

from collections.abc import Hashable, Mapping, Sequence
from datetime import datetime
from typing import Protocol


class Erasures(Protocol):
    """The list of forgotten meters, kept so that a restored backup forgets them again."""

    def begin(self, smart_meter_id: str, *, version: int | None = None) -> None:
        """Record it; end the meter's unfinished jobs, and let its files expire now.

        `version`: earlier ones go now, so whoever is unfinished and reads one begins anew.
        """

    def finish(self, smart_meter_id: str) -> None: ...

    def unfinished(self) -> Sequence[str]: ...

    def all(self) -> Mapping[str, datetime]:
        """The meters, and when each was last asked to be forgotten."""

    def mark(self) -> Hashable:
        """Another one whenever a meter is asked to be forgotten, and again when it is."""

    def state(self, smart_meter_id: str) -> tuple[datetime | None, datetime | None]:
        """When that meter was last asked to be forgotten, and when it was."""
