"""What is sent for long is judged again on the way: it may take hours, and a revocation none."""

import time
from collections.abc import Callable

EVERY_S = 1.0


class Rejudged:
    """Asks `judge`, which raises where no more may be sent, about once in EVERY_S."""

    def __init__(self, judge: Callable[[], object]) -> None:
        self._judge = judge
        self._asked_at = time.monotonic()

    def check(self) -> None:
        if time.monotonic() - self._asked_at >= EVERY_S:
            self._judge()
            self._asked_at = time.monotonic()
