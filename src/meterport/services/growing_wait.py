"""The wait between tries of what fails at present, such as a record on a disk that is full."""

from dataclasses import dataclass, field


@dataclass
class GrowingWait:
    """Twice as long after each failure; short again after a success.

    Threads may share one: a failure that two of them count at once does no harm.
    """

    shortest_s: float = 0.5
    longest_s: float = 4.0
    _next_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.reset()

    def next_s(self, *, jitter: float) -> float:
        """`jitter`, 0 to 1, takes up to a half off."""
        wait_s = self._next_s
        self._next_s = min(2 * wait_s, self.longest_s)
        return wait_s * (1 - jitter / 2)

    def reset(self) -> None:
        self._next_s = self.shortest_s
