"""How much one key may ask for at a time; whoever needs no key is not limited by these.

Each process of the API counts for itself, in memory, and in its event loop alone.
Source: draft-ietf-httpapi-ratelimit-headers-10, for the headers.
"""

import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated

from fastapi import Depends, Request
from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from meterport.domain.access import Access, Scope
from meterport.domain.access_errors import RateLimited
from meterport.settings import Settings
from meterport.web.access import AccessOf, MayRead
from meterport.web.edge import answer_headers

POLICY = "creates"
AGAIN_AFTER_S = 5
WINDOW_S = 60
WAITS_AT_ONCE = 100
"""Of the watch's thousand places, so that no key takes all; further ones are answered at once."""


class Rate:
    """At most so many requests of a key in any `window_s` seconds; 0: any number."""

    def __init__(self, most: int, *, window_s: int = WINDOW_S) -> None:
        self._most = most
        self._item = RateLimitItemPerSecond(most, window_s)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def take(self, key_id: str, headers: dict[str, str]) -> None:
        """One more; `headers` get what the answer shall tell of it. Raises RateLimited."""
        if not (self._most and key_id):
            return
        is_allowed = self._limiter.hit(self._item, key_id)
        stats = self._limiter.get_window_stats(self._item, key_id)
        left = max(0, stats.remaining) if is_allowed else 0
        reset_s = max(1, math.ceil(stats.reset_time - time.time()))
        window_s = self._item.get_expiry()
        headers["RateLimit-Policy"] = f'"{POLICY}";q={self._most};w={window_s}'
        headers["RateLimit"] = f'"{POLICY}";r={left};t={reset_s}'
        if not is_allowed:
            raise RateLimited(
                f"this key may ask for {self._most} exports and links in {window_s} seconds; "
                f"try again in {reset_s}",
                retry_after_s=reset_s,
            )


class Places:
    """At most so many requests of a key are answered at the same time; 0: any number.

    `what`: they are called so.
    """

    def __init__(self, most: int, what: str) -> None:
        self._most = most
        self._what = what
        self._taken: Counter[str] = Counter()

    @contextmanager
    def taken(self, key_id: str) -> Iterator[None]:
        """Raises RateLimited."""
        if not (self._most and key_id):
            yield
            return
        if self._taken[key_id] >= self._most:
            raise RateLimited(
                f"{self._most} {self._what} of this key are under way, and more may not be at the "
                "same time; try again when one has ended",
                retry_after_s=AGAIN_AFTER_S,
            )
        self._taken[key_id] += 1
        try:
            yield
        finally:
            self._taken[key_id] -= 1
            if not self._taken[key_id]:
                del self._taken[key_id]


class KeyLimits:
    def __init__(self, settings: Settings) -> None:
        self.creates = Rate(settings.creates_per_minute)
        self.downloads = Places(settings.downloads_at_once, "downloads")
        self.waits = Places(WAITS_AT_ONCE, "waits")
        self.streams = Places(settings.streams_at_once, "event streams")


def told(settings: Settings) -> Mapping[str, int]:
    """As `/api/capabilities` tells them, to whom they apply; 0: no limit."""
    of_keys = {
        "creates_per_minute": settings.creates_per_minute,
        "active_exports": settings.max_active_exports,
        "downloads_at_once": settings.downloads_at_once,
        "streams_at_once": settings.streams_at_once,
    }
    applied = of_keys if settings.asks_for_keys else dict.fromkeys(of_keys, 0)
    return {**applied, "queued_exports": settings.max_queued}


def key_limits_of(request: Request) -> KeyLimits:
    found: KeyLimits = request.app.state.key_limits
    return found


KeyLimitsOf = Annotated[KeyLimits, Depends(key_limits_of)]


async def _creator(access: AccessOf, request: Request, limits: KeyLimitsOf) -> Access:
    """Counted before anything else, so that every answer to a key tells how many are left."""
    limits.creates.take(access.key_id, answer_headers(request.scope))
    access.check(Scope.EXPORT)
    return access


async def _download(access: MayRead, limits: KeyLimitsOf) -> AsyncIterator[None]:
    with limits.downloads.taken(access.key_id):
        yield


async def _stream(access: MayRead, limits: KeyLimitsOf) -> AsyncIterator[None]:
    with limits.streams.taken(access.key_id):
        yield


MayCreate = Annotated[Access, Depends(_creator)]
# Of the scope "request": given back when the response has ended, however it does.
DOWNLOAD_PLACE = Depends(_download, scope="request")
STREAM_PLACE = Depends(_stream, scope="request")
