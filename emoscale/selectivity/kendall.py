"""Kendall's tau-b between a neuron's RDM and an attribute's RDM, the published measure, with both its tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from emoscale.selectivity.backends import kernel
from emoscale.selectivity.permutation import Results, permutation_p
from emoscale_kernels import NullCounts, Patterns, kendall_block, mean_pair_distances, pack_rdms, tau_b

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Distances = Callable[[Any], Floats]

_NEURON_BYTES = 2**24
"""About so much of neurons' packed comparisons is held at a time."""
_LEAST_NEURONS, _MOST_NEURONS = 8, 2048


def tau(values: NDArray[np.floating], patterns: Patterns, distances_of: Distances = mean_pair_distances) -> Floats:
    """Compute tau-b alone.

    Parameters
    ----------
    values : ndarray of float64 or float32, shape (R, C, n)
        Activation by replicate, concept and neuron.
    patterns : Patterns
        Of A attributes over the same C concepts.
    distances_of : callable
        From activations to the neurons' RDMs.

    Returns
    -------
    ndarray of float64, shape (n, A)
        NaN where the neuron or the attribute is constant.
    """
    counted, ties = kendall_block(values, patterns, distances_of)
    return tau_b(counted, ties, patterns.ties, patterns.pairs)


def asymptotic(
    values: NDArray[np.floating], patterns: Patterns, distances_of: Distances = mean_pair_distances
) -> Results:
    """Compute tau-b and its p by the normal approximation (Li, Su et al. 2024, searchlight analysis).

    Parameters
    ----------
    values, patterns, distances_of
        As in `tau`.

    Returns
    -------
    Results
        No permutations. All NaN where the neuron or the attribute is constant.
    """
    counted, ties = kendall_block(values, patterns, distances_of)
    return _results(counted, ties, patterns)


def permuted(
    values: NDArray[np.floating],
    patterns: Patterns,
    orders: Integers,
    distances_of: Distances = mean_pair_distances,
    backend: str = "cpu",
) -> Results:
    """Compute tau-b and its p by permuting the concept labels of the attributes' RDMs.

    Parameters
    ----------
    values, patterns, distances_of
        As in `tau`.
    orders : ndarray of int64, shape (B, C)
        The permutations, the same for all neurons.
    backend : str
        Key of `emoscale.selectivity.backends.BACKENDS`. On a GPU, p below what B permutations resolve can differ in
        the last digits.

    Returns
    -------
    Results
        All NaN where the neuron or the attribute is constant.

    Notes
    -----
    See `emoscale.selectivity.inference` for p.
    """
    null_counts = kernel("null_counts", backend)
    parts = []
    fitting = _NEURON_BYTES // (patterns.row_bytes or 1)
    together = min(max(fitting, _LEAST_NEURONS), _MOST_NEURONS)
    for start in range(0, max(1, values.shape[2]), together):
        rdms = pack_rdms(distances_of(values[:, :, start : start + together]), bits=False)
        true, counts = null_counts(rdms, patterns, orders)
        parts.append(_results(true, rdms.ties, patterns, counts))
    return Results.joined(parts)


def _results(counted: Integers, ties: Integers, patterns: Patterns, counts: NullCounts | None = None) -> Results:
    values = tau_b(counted, ties, patterns.ties, patterns.pairs)
    # The variance is 0 exactly where tau is NaN, but rounding may say otherwise.
    variance = np.where(np.isnan(values), np.nan, numerator_variance(ties, patterns.ties, patterns.pairs))
    p = np.asarray(ndtr(-counted / np.sqrt(variance)))
    if counts is None:
        no_orders = np.empty((0, p.shape[1]))
        return Results(values, p, p, np.full(p.shape, np.nan), no_orders, no_orders.astype(np.int64))
    comparisons = patterns.pairs * (patterns.pairs - 1) // 2
    untied = np.outer(comparisons - ties[:, 0], comparisons - patterns.ties[:, 0])
    spread = np.sqrt(counts.sums[1] / len(counts.highest) * untied / variance)
    return Results(values, permutation_p(values, counts), p, spread, counts.highest, counts.followers)


def numerator_variance(neuron_ties: Integers, attribute_ties: Integers, pairs: int) -> Floats:
    """Return the variance of the numerator under independence, corrected for ties.

    Parameters
    ----------
    neuron_ties : ndarray of int64, shape (n, 3)
    attribute_ties : ndarray of int64, shape (A, 3)
        Sums over groups of t equal distances: t(t-1)/2, t(t-1)(t-2), t(t-1)(2t+5).
    pairs : int
        Number P of distances in an RDM, at least 3.

    Returns
    -------
    ndarray of float64, shape (n, A)

    Notes
    -----
    Kendall (1970), *Rank Correlation Methods*, chapter 4; the one that R's ``cor.test`` and ``scipy.stats.kendalltau``
    use (Li, Su et al. 2024, searchlight analysis). Its terms are added in SciPy's order.
    """
    # In floating point: the products of sums can leave 64-bit integers from 54 concepts on.
    x, x0, x1 = neuron_ties.astype(np.float64).T[:, :, np.newaxis]
    y, y0, y1 = attribute_ties.astype(np.float64).T[:, np.newaxis, :]
    m = pairs * (pairs - 1.0)
    variance: Floats = (m * (2 * pairs + 5) - x1 - y1) / 18 + 2 * x * y / m + x0 * y0 / (9 * m * (pairs - 2))
    return variance
