"""Kendall's tau-b between a neuron's RDM and an attribute's RDM, the published measure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from emoscale_kernels import (
    Patterns,
    attribute_patterns,
    decimal_distances,
    kendall_block,
    mean_pair_distances,
    published_distances,
    tau_b,
)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def prepare(scores: Floats) -> Patterns:
    """Make the attributes' RDMs ready.

    Parameters
    ----------
    scores : ndarray of float64, shape (C, A)

    Returns
    -------
    Patterns
    """
    return attribute_patterns(decimal_distances(scores))


def asymptotic(
    values: Floats, patterns: Patterns, distances_of: Callable[[Floats], Floats] = mean_pair_distances
) -> tuple[Floats, Floats]:
    """Compute tau-b and its p by the normal approximation.

    Parameters
    ----------
    values : ndarray of float64, shape (R, C, n)
        Activation by replicate, concept and neuron.
    patterns : Patterns
        From `prepare`, over the same C concepts.
    distances_of : callable
        From activations to the neurons' RDMs.

    Returns
    -------
    tau, p : ndarray of float64, shape (n, A)
        One-sided p of tau > 0. Both NaN where the neuron or the attribute is constant.
    """
    C = values.shape[1]
    pairs = C * (C - 1) // 2
    numerators, ties = kendall_block(values, patterns, distances_of)
    tau = tau_b(numerators, ties, patterns.ties, pairs)
    # The variance is 0 exactly where tau is NaN, but rounding may say otherwise.
    variance = np.where(np.isnan(tau), np.nan, numerator_variance(ties, patterns.ties, pairs))
    return tau, np.asarray(ndtr(-numerators / np.sqrt(variance)))


def as_published(values: Floats, patterns: Patterns) -> tuple[Floats, Floats]:
    """Do as `asymptotic`, with distances rounded as the published study's were (Li, Su et al. 2024)."""
    return asymptotic(values, patterns, published_distances)


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
