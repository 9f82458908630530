"""Decimal places in ESPI: a 48-bit integer times a power of ten.

A float is held by n and m if it is the float nearest to n times 10**m. As n has at most 15 digits,
n times 10**m is then its shortest decimal, and as both n and the power are floats without
rounding, one multiplication or division tells: no text is needed.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LARGEST = 2**47 - 1
NOT_HELD = 99
MULTIPLIERS = (-3, -6, -9, -12, 0, 3, 6, 9, 12)
_RARE = (-1, -2, 1, 2, -4, -5, -7, -8, -10, -11, 4, 5, 7, 8, 10, 11)
"""Allowed, but strange to readers: only for values of 14 digits, which no other one holds."""
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


def multipliers(values: Floats, *, shift: int) -> Integers:
    """The first multiplier that holds each value times 10**-shift, else NOT_HELD."""
    chosen = np.full(len(values), NOT_HELD, dtype=np.int64)
    waiting = np.arange(len(values))
    for multiplier in (*MULTIPLIERS, *_RARE):
        exponents = np.full(len(waiting), multiplier + shift, dtype=np.int64)
        held = scaled(values[waiting], exponents).held
        chosen[waiting[held]] = multiplier
        waiting = waiting[~held]
        if not len(waiting):
            break
    return chosen
