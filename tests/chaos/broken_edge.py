"""Variants of the edge, where many meet, with one promise taken out; see tests/chaos/broken.py.

The web modules are imported late: only the API needs them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import null, select

NEVER_S = 3600.0
FEW_PLACES = 40


def hurried_deadlines() -> None:
    """No promise is taken out: clients have little time, to save the test's own."""
    from meterport.web import deadlines

    deadlines.HEADERS_S, deadlines.STALL_S = 1.0, 2.0


def few_places() -> None:
    """No promise is taken out: as few may wait as a small test has clients for."""
    from meterport.web.watch import Watch

    defaults: Any = Watch.__init__.__kwdefaults__
    defaults["most"] = FEW_PLACES


def no_deadline_for_headers() -> None:
    """Who has begun a request may take any time to say which."""
    from meterport.web import deadlines

    deadlines.HEADERS_S = NEVER_S


def any_byte_of_a_body_will_do() -> None:
    """A body goes on as long as something of it comes."""
    from meterport.web import deadlines

    deadlines.LEAST_BYTES = 1


def line_ends_are_waited_with() -> None:
    """Between two requests a client may send line ends for ever."""
    from meterport.web.deadlines import Punctual

    Punctual._is_idle = lambda self: False  # type: ignore[method-assign]


def places_without_number() -> None:
    """Any number of clients may wait."""
    from meterport.web.watch import Watch

    defaults: Any = Watch.__init__.__kwdefaults__
    defaults["most"] = 10**9


def patient_with_the_deaf() -> None:
    """Only our own buffer tells whether a client reads."""
    from meterport.web.deadlines import Punctual
    from meterport.web.outflow import Outflow

    Punctual._looked = lambda self: Outflow(0, 0, 0)  # type: ignore[method-assign]


def places_taken_for_ever() -> None:
    """A place is not given back when its client goes away."""
    from meterport.web.watch import Watch

    place = Watch.place

    @contextmanager
    def kept(self: Watch) -> Iterator[None]:
        with place(self):
            self._taken += 1
            yield

    Watch.place = kept  # type: ignore[method-assign]


def first_come_first_served() -> None:
    """Nobody's turn comes before that of who has waited longer."""
    from meterport.adapters import sql_claims

    sql_claims._last_served = lambda owner: select(null()).scalar_subquery()


VARIANTS: dict[str, Callable[[], None]] = {
    variant.__name__: variant
    for variant in (
        hurried_deadlines,
        few_places,
        no_deadline_for_headers,
        any_byte_of_a_body_will_do,
        line_ends_are_waited_with,
        places_without_number,
        patient_with_the_deaf,
        places_taken_for_ever,
        first_come_first_served,
    )
}
