"""The jobs table as those who asked for the exports look back at it."""

from collections.abc import Sequence
from typing import Protocol

from meterport.domain.history import HistoryPage, Wanted


class History(Protocol):
    def page(self, wanted: Wanted, *, limit: int, after: Sequence[str] = ()) -> HistoryPage:
        """The newest first; `after`: the key with which an earlier page ended.

        Raises InvalidRequest for a key that no page ended with.
        """

    def expire(self, job_id: str) -> None:
        """Let the file of a completed job expire now, and its manifest go. Any other stays."""
