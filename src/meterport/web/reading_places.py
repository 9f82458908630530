"""Few requests at a time read readings in the API's own process, so that it stays small."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Semaphore

from fastapi import Request

from meterport.domain.errors import ServiceUnavailable

AT_ONCE = 2
"""Each may take a hundred MiB for a meter with a reading a second."""


class ReadingPlaces:
    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once
        self._free = Semaphore(at_once)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Raises ServiceUnavailable: who waited in line would take a thread from other requests."""
        if not self._free.acquire(blocking=False):
            raise ServiceUnavailable(
                f"{self._at_once} requests read readings now, and no more do at a time; "
                "try again in a few seconds"
            )
        try:
            yield
        finally:
            self._free.release()


def place_to_read(request: Request) -> Iterator[None]:
    """A dependency of the route, until it has its answer."""
    places: ReadingPlaces = request.app.state.reading_places
    with places.place():
        yield
