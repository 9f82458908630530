"""Changes of unit that keep the digits: 2.1 W are 0.0021 kW, not 0.0021000000000000003.

A value with at most 9 decimals is taken as that decimal number: its digits are a whole number,
and one division by a power of ten gives the float64 nearest to the result. Any other value is
divided as the float64 that it is. NumPy divides; Polars may multiply by a reciprocal instead,
which is off in the last digit.
"""

import numpy as np
import numpy.typing as npt
import polars as pl

Floats = npt.NDArray[np.float64]
MOST_DECIMALS = 9
NONE = -1
_SCALES = 10.0 ** np.arange(MOST_DECIMALS + 1)
_LARGEST_EXACT = 2.0**53


def converted(values: pl.Series, units_in_ours: float) -> pl.Series:
    """`units_in_ours` is how many of the file's unit make one of ours: 1000 for W in kW."""
    if units_in_ours == 1.0:
        return values
    given = values.to_numpy()
    return _series(values.name, _quotient(given, _decimals(given), units_in_ours))


def differences(counts: pl.Series, following: pl.Series, units_in_ours: float) -> pl.Series:
    """`following` - `counts`, both shown with the places of the longer one, in our unit."""
    count, after = counts.to_numpy(), following.to_numpy()
    places = np.maximum(_decimals(count), _decimals(after))
    places[(_decimals(count) == NONE) | (_decimals(after) == NONE)] = NONE
    scale = _SCALES[places]
    exact = (np.rint(after * scale) - np.rint(count * scale)) / scale
    used = np.where(places == NONE, after - count, exact)
    return _series(counts.name, _quotient(used, places, units_in_ours))


def sums(values: Floats, more: Floats) -> Floats:
    """`values` + `more`, shown with the places of the longer one; NaN where one of them is."""
    places = np.maximum(_decimals(values), _decimals(more))
    places[(_decimals(values) == NONE) | (_decimals(more) == NONE)] = NONE
    scale = _SCALES[places]
    exact = (np.rint(values * scale) + np.rint(more * scale)) / scale
    return np.where(places == NONE, values + more, exact)


def products(values: Floats, factors: Floats) -> Floats:
    """`values` * `factors`, with the places of both together; NaN where one of them is."""
    of_value, of_factor = _decimals(values), _decimals(factors)
    digits = np.rint(values * _SCALES[of_value]) * np.rint(factors * _SCALES[of_factor])
    fits = (of_value != NONE) & (of_factor != NONE) & (np.abs(digits) < _LARGEST_EXACT)
    places = of_value + of_factor
    exact = digits / 10.0 ** np.where(fits, places, 0)
    return np.where(fits, exact, values * factors)


def _quotient(values: Floats, places: npt.NDArray[np.int8], units_in_ours: float) -> Floats:
    digits = np.rint(values * _SCALES[places])
    times, divisor = max(1.0, round(1 / units_in_ours)), max(1.0, units_in_ours)
    exact = digits * times / (_SCALES[places] * divisor)
    plain = values * times / divisor
    fits = (places != NONE) & (np.abs(digits * times) < _LARGEST_EXACT)
    return np.where(fits, exact, plain)


def _decimals(values: Floats) -> npt.NDArray[np.int8]:
    """How many decimal places show each value in full; NONE if more than 9 are needed."""
    places = np.full(len(values), NONE, dtype=np.int8)
    for count in reversed(range(MOST_DECIMALS + 1)):
        digits = np.rint(values * _SCALES[count])
        shown = (np.abs(digits) < _LARGEST_EXACT) & (digits / _SCALES[count] == values)
        places[shown] = count
    return places


def _series(name: str, values: Floats) -> pl.Series:
    return pl.Series(name, values, nan_to_null=True)
