"""Distances of scalars over all pairs of concepts, as they are and with the rounding of the published study.

The study averaged distances in R, whose ``rowMeans`` adds in more than double precision, and wrote them to a CSV file
with ``data.table::fwrite``, which keeps 15 digits. The last digit is found in double precision and so is not always
that of the nearest number. Both decide which distances are tied.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache

import numpy as np
from numpy.typing import NDArray

from emoscale_kernels.jit import kernel
from emoscale_kernels.vectors import LANES, mean_distances_of_1, mean_distances_of_3

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_DIGITS = 12
_SMALLEST_SCALE = 1e-280
"""Below it the step would not be a normal number, and the power of ten that 15 digits need is not a float."""
_LOWEST, _HIGHEST = -1074, 1023
_SPLITTER = 2.0**27 + 1.0


def mean_pair_distances(values: NDArray[np.floating]) -> Floats:
    """Return each neuron's RDM: the distances between concepts, averaged over replicates.

    Parameters
    ----------
    values : ndarray of float64 or float32, shape (R, C, n)
        Activation by replicate, concept and neuron.

    Returns
    -------
    ndarray of float64, shape (n, P)
        Mean over replicates of ``|x_r(i) - x_r(j)|``, in the unit of `values`; the P = C(C-1)/2 pairs in
        ``numpy.triu_indices(C, 1)`` order. NaN and infinite values go through as floating point has it.

    Notes
    -----
    Li, Su et al. 2024, searchlight analysis. Replicates are added in their order, as ``numpy.mean(axis=0)`` does.
    """
    return _mean_pair_distances(values if values.dtype == np.float32 else np.asarray(values, dtype=np.float64))


def condensed_distances(scores: Floats) -> Floats:
    """Return each attribute's RDM (Li, Su et al. 2024, attributes).

    Parameters
    ----------
    scores : ndarray of float64, shape (C, A)
        Score by concept and attribute.

    Returns
    -------
    ndarray of float64, shape (A, P)
        ``|score(i) - score(j)|`` in the unit of `scores`, pairs in ``numpy.triu_indices(C, 1)`` order.
    """
    return mean_pair_distances(scores[np.newaxis])


def decimal_distances(scores: Floats) -> Floats:
    """Return each attribute's RDM, distances that are equal as decimals made equal.

    Scores are written as decimals: .3 - .1 and .5 - .3 are the same distance, but not in binary arithmetic. Kendall's
    tau counts ties, so the last digits must not break them.

    Parameters
    ----------
    scores : ndarray of float64, shape (C, A)
        Score by concept and attribute.

    Returns
    -------
    ndarray of float64, shape (A, P)
        As `condensed_distances`, in steps of 1e-12 of the power of ten above the attribute's largest score.
    """
    distances = condensed_distances(scores)
    for attribute, largest in enumerate(np.abs(scores).max(axis=0, initial=0.0)):
        if _SMALLEST_SCALE < largest < np.inf:
            step = 10.0 ** (math.ceil(math.log10(largest)) - _DIGITS)
            distances[attribute] = np.round(distances[attribute] / step) * step
    return distances


def published_distances(values: Floats) -> Floats:
    """Return each neuron's RDM as the published study read it back from its file.

    Parameters
    ----------
    values : ndarray of float64, shape (R, C, n)
        Activation by replicate, concept and neuron.

    Returns
    -------
    ndarray of float64, shape (n, P)
        As `mean_pair_distances`, with means that are exact to the last bit but for the rarest cases,
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


@kernel
def _mean_pair_distances(values: NDArray[np.floating]) -> Floats:
    R, C, n = values.shape
    P = C * (C - 1) // 2
    distances = np.empty((n, P))
    strip = np.zeros((R, C, LANES))
    averaged = np.empty((P, LANES))
    for start in range(0, n, LANES):
        width = min(LANES, n - start)
        for r in range(R):
            for c in range(C):
                for k in range(width):
                    strip[r, c, k] = values[r, c, start + k]
        pair = 0
        for i in range(C):
            j = i + 1
            while j + 3 <= C:
                mean_distances_of_3(strip, i, j, averaged, pair)
                j += 3
                pair += 3
            while j < C:
                mean_distances_of_1(strip, i, j, averaged, pair)
                j += 1
                pair += 1
        for k in range(width):
            for p in range(P):
                distances[start + k, p] = averaged[p, k]
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
        if not (x >= _SMALLEST_SCALE and x < math.inf):
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
