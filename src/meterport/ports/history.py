"""The jobs table as those who asked for the exports look back at it."""

from collections.abc import Sequence
from typing import Protocol

from meterport.domain.access import Access
from meterport.domain.history import HistoryPage, Wanted


class History(Protocol):
    def page(
        self, wanted: Wanted, *, access: Access, limit: int, after: Sequence[str] = ()
    ) -> HistoryPage:
        """Of those that may be seen the newest first; `after`: the key of an earlier page's end.

        Raises InvalidRequest for a key that no page ended with.
        """

    def expire(self, job_id: str) -> None:
        """Let the file of a completed job expire now; its manifest and links go. Others stay."""
