"""Decimal places in ESPI: a 48-bit integer times a power of ten.

A float is held by n and m if it is the float nearest to n times 10**m. As n has at most 15 digits,
n times 10**m is then its shortest decimal, and as both n and the power are floats without
rounding, one multiplication or division tells: no text is needed.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LARGEST = 2**47 - 1
NOT_HELD = 99
FINEST, COARSEST = -12, 12
MULTIPLIERS = (-3, -6, -9, -12, 0, 3, 6, 9, 12)
_RARE = (-1, -2, 1, 2, -4, -5, -7, -8, -10, -11, 4, 5, 7, 8, 10, 11)
"""Allowed, but strange to readers: only for values of which no other one holds all."""
_TEN = np.array([float(10**n) for n in range(23)])


class Scaled(NamedTuple):
    """`units` times ten to the `exponents` is the value, where it is `held`."""

    units: Integers
    held: NDArray[np.bool_]


def scaled(values: Floats, exponents: Integers) -> Scaled:
    """`exponents` from -22 to 22, one per value."""
    divisor, factor = _TEN[np.maximum(-exponents, 0)], _TEN[np.maximum(exponents, 0)]
    with np.errstate(over="ignore", invalid="ignore"):
        units = np.rint(values * divisor / factor)
        held = (units / divisor * factor == values) & (np.abs(units) <= LARGEST)
    return Scaled(np.where(held, units, 0.0).astype(np.int64), held)


def spans(values: Floats, *, shift: int) -> tuple[Integers, Integers]:
    """The finest and the coarsest multiplier that hold each value times 10**-shift.

    All between them do too. Both are NOT_HELD where none does.
    """
    coarsest = np.full(len(values), NOT_HELD, dtype=np.int64)
    waiting = np.arange(len(values))
    for multiplier in range(COARSEST, FINEST - 1, -1):
        exponents = np.full(len(waiting), multiplier + shift, dtype=np.int64)
        held = scaled(values[waiting], exponents).held
        coarsest[waiting[held]] = multiplier
        waiting = waiting[~held]
        if not len(waiting):
            break
    tens = range(FINEST + shift, COARSEST + shift + 1)
    largest = np.array([float(Decimal(LARGEST).scaleb(ten)) for ten in tens])
    finest = FINEST + np.searchsorted(largest, np.abs(values))
    finest[waiting] = NOT_HELD
    return finest, coarsest


def multipliers(spans: Iterable[tuple[int, int]]) -> tuple[int, ...]:
    """As few as there can be so that each span, from finest to coarsest, has one of them.

    The one for the finest values is the first, and one that readers know is preferred.
    """
    left, chosen = set(spans), []
    while left:
        coarsest = min(span[1] for span in left)
        together = {span for span in left if span[0] <= coarsest}
        finest = max(span[0] for span in together)
        chosen.append(next(m for m in (*MULTIPLIERS, *_RARE) if finest <= m <= coarsest))
        left -= together
    return tuple(chosen)
