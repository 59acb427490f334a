"""Distances of scalars over all pairs of concepts."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from emoscale_kernels.jit import kernel
from emoscale_kernels.vectors import LANES, mean_distances_of_1, mean_distances_of_3

Floats = NDArray[np.float64]

_DIGITS = 12
_SMALLEST_SCALE = 1e-280
"""Below it the step would not be a normal number."""


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
