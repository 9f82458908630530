"""What is asked from the outside for people and machines that watch, and not for any export."""

from collections.abc import Sequence
from typing import Protocol

from meterport.domain.readings import MeterSummary


class MeterPages(Protocol):
    def page(self, *, prefix: str, after: str, limit: int) -> Sequence[MeterSummary]:
        """The next meters whose ids begin with `prefix`, behind the id `after`, in order."""
