"""Errors about who asks, and how much at a time.

MeterportError
├── AccessError                 whoever asks may not do that
│   ├── Unauthenticated · Forbidden
│   └── LinkInvalid · LinkExpired
├── LimitError                  too much at a time                   (retryable)
│   └── RateLimited · TooManyActiveExports · QueueFull
└── KeyRefused                  what is asked of a key cannot be done
    └── KeyNotFound · InvalidKey
"""

from meterport.domain.errors import MeterportError


class AccessError(MeterportError):
    pass


class Unauthenticated(AccessError):
    code = "UNAUTHENTICATED"


class Forbidden(AccessError):
    """`smart_meter_id`: of the meter that was asked for, where it was for that."""

    code = "FORBIDDEN"

    def __init__(
        self, message: str, details: str = "", *, smart_meter_id: str | None = None
    ) -> None:
        super().__init__(message, details)
        self.smart_meter_id = smart_meter_id


class LinkInvalid(AccessError):
    """Unknown, revoked, or of a key that may no longer read what it leads to."""

    code = "LINK_INVALID"


class LinkExpired(AccessError):
    code = "LINK_EXPIRED"


class LimitError(MeterportError):
    """`retry_after_s`: when it is worth trying again."""

    retryable = True

    def __init__(self, message: str, details: str = "", *, retry_after_s: int) -> None:
        super().__init__(message, details)
        self.retry_after_s = retry_after_s


class RateLimited(LimitError):
    code = "RATE_LIMITED"


class TooManyActiveExports(LimitError):
    code = "TOO_MANY_ACTIVE_EXPORTS"


class QueueFull(LimitError):
    """Whoever asks: the service has as many unfinished exports as it takes."""

    code = "QUEUE_FULL"


class KeyRefused(MeterportError):
    pass


class KeyNotFound(KeyRefused):
    code = "KEY_NOT_FOUND"


class InvalidKey(KeyRefused):
    code = "INVALID_KEY"
