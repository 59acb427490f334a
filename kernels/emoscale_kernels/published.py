"""Distances with the rounding that they went through in the published study.

The study averaged them in R, whose ``rowMeans`` adds in more than double precision, and wrote them to a CSV file with
``data.table::fwrite``, which keeps 15 digits. The last digit is found in double precision and so is not always that of
the number nearest. Both decide which distances are tied.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache

import numpy as np
from numpy.typing import NDArray

from emoscale_kernels.jit import kernel

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_LOWEST, _HIGHEST = -1074, 1023
_SPLITTER = 2.0**27 + 1.0
_SMALLEST = 1e-280
"""Below it a distance is left as it is: the power of ten that it needs is not a float."""


def published_distances(values: Floats) -> Floats:
    """Return each neuron's RDM as the published study read it back from its file.

    Parameters
    ----------
    values : ndarray of float64, shape (R, C, n)
        Activation by replicate, concept and neuron.

    Returns
    -------
    ndarray of float64, shape (n, P)
        As `emoscale_kernels.mean_pair_distances`, with means that are exact to the last bit but for the rarest cases,
        and 15 significant digits kept of them.

    Notes
    -----
    Li, Su et al. 2024. With this all of the 18,432 x 14 released ranks come out equal; with the means of
    `mean_pair_distances` and correct rounding, as in ``float(f"{x:.15g}")``, 99.76 % do.
    """
    factors, powers = _powers_of_two()
    distances = _exact_means(np.ascontiguousarray(values, dtype=np.float64))
    _keep_15_digits(distances.reshape(-1), factors, powers)
    return distances


@cache
def _powers_of_two() -> tuple[Floats, Integers]:
    """Return every power of two as a number in [1, 10) and a power of ten."""
    exponents = range(_LOWEST, _HIGHEST + 1)
    powers = [math.floor(exponent * math.log10(2)) for exponent in exponents]
    factors = [float(Fraction(2) ** e / Fraction(10) ** p) for e, p in zip(exponents, powers, strict=True)]
    return np.array(factors), np.array(powers, dtype=np.int64)


@kernel
def _exact_means(values: Floats) -> Floats:
    R, C, n = values.shape
    distances = np.empty((n, C * (C - 1) // 2))
    pair = 0
    for i in range(C):
        for j in range(i + 1, C):
            for k in range(n):
                total = 0.0
                rest = 0.0  # what the additions lost (Knuth, 1997, The Art of Computer Programming 2, 4.2.2)
                for r in range(R):
                    distance = abs(values[r, i, k] - values[r, j, k])
                    added = total + distance
                    part = added - total
                    rest += (total - (added - part)) + (distance - part)
                    total = added
                mean = (total + rest) / R
                # What the division left over: R has few digits, so only the mean is split (Dekker, 1971).
                split = _SPLITTER * mean
                high = split - (split - mean)
                product = mean * R
                lost = (high * R - product) + (mean - high) * R
                distances[k, pair] = mean + (((total - product) - lost) + rest) / R
            pair += 1
    return distances


@kernel
def _keep_15_digits(distances: Floats, factors: Floats, powers: Integers) -> None:
    for i in range(distances.size):
        x = distances[i]
        if not (x >= _SMALLEST and x < math.inf):
            continue
        fraction, exponent = math.frexp(x)
        scaled = 2.0 * fraction * factors[exponent - 1 - _LOWEST]
        power = powers[exponent - 1 - _LOWEST]
        if scaled >= 9.99999999999999:
            scaled /= 10.0
            power += 1
        digits = np.int64(scaled * 1e15)
        digits = (digits + 10 if digits % 10 >= 5 else digits) // 10
        shift = 14 - power
        distances[i] = digits / 10.0**shift if shift >= 0 else digits * 10.0**-shift
