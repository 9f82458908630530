"""Idempotency-Key: the client's own name for one request, by which a repeated one is known."""

from dataclasses import dataclass
from datetime import timedelta

from meterport.domain.errors import IdempotencyKeyInvalid

WINDOW = timedelta(hours=24)
"""For so long a key stands for its request."""


@dataclass(frozen=True)
class ImportClaim:
    """The right to import what came under that key. `holder`: unlike any other's."""

    owner: str
    key: str
    holder: str


def check_key(key: str) -> None:
    if not (1 <= len(key) <= 255 and key.isascii() and key.isprintable()):
        raise IdempotencyKeyInvalid("Idempotency-Key must be 1 to 255 printable ASCII characters")
