"""Kendall's tau-b between the RDMs of neurons and of attributes.

The numerator is an exact integer, whichever algorithm counts it; `tau_b` divides as SciPy's ``kendalltau`` does, so the
two agree to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from emoscale_kernels.kendall_bits import bit_numerators, pack_signs, untied_comparisons
from emoscale_kernels.kendall_sort import dense_ranks, sort_numerators, tie_sums
from emoscale_kernels.pairs import mean_pair_distances

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

BITS_BELOW_CONCEPTS = 90
"""Number of concepts from which merge sort is faster. Measured on one core with 14 attributes and 12
replicates, in microseconds a neuron, bits against merge sort: C = 27: 18 / 212, 60: 480 / 1350, 80: 1630 / 2640,
100: 4000 / 4400, 130: 11400 / 8000 with AVX-512; 27: 24 / 237, 80: 2020 / 3310, 100: 6450 / 4960 with AVX2."""

_TILE_BYTES = 2**18


class Patterns(NamedTuple):
    """The attributes' RDMs, made ready to be compared with many neurons.

    Attributes
    ----------
    ties : ndarray of int64, shape (A, 3)
        Sums over groups of t equal distances: t(t-1)/2, t(t-1)(t-2), t(t-1)(2t+5).
    ranks : ndarray of int32, shape (A, P)
        Dense ranks of the distances.
    signs : ndarray of uint64, shape (A, 2, W), or None
        Packed comparisons of the distances; None where merge sort is to be taken.
    """

    ties: Integers
    ranks: NDArray[np.int32]
    signs: NDArray[np.uint64] | None


def attribute_patterns(distances: Floats, bits: bool | None = None) -> Patterns:
    """Prepare the attributes' side once.

    Parameters
    ----------
    distances : ndarray of float64, shape (A, P)
        RDM of each attribute, pairs in ``numpy.triu_indices(C, 1)`` order. One with a value that is not finite counts
        as constant.
    bits : bool, optional
        Take the bit-sliced algorithm (True) or merge sort (False); by default the faster for this P.

    Returns
    -------
    Patterns
    """
    distances = _constant_where_not_finite(np.array(distances, dtype=np.float64))
    ties = tie_sums(distances)
    if bits is None:
        bits = distances.shape[1] < BITS_BELOW_CONCEPTS * (BITS_BELOW_CONCEPTS - 1) // 2
    return Patterns(ties, dense_ranks(distances), pack_signs(distances) if bits else None)


def kendall_block(
    values: Floats, patterns: Patterns, distances_of: Callable[[Floats], Floats] = mean_pair_distances
) -> tuple[Integers, Integers]:
    """Compare the RDMs of a block of neurons with those of all attributes.

    Parameters
    ----------
    values : ndarray of float64, shape (R, C, n)
        Activation by replicate, concept and neuron.
    patterns : Patterns
        Of A attributes over the same C concepts.
    distances_of : callable
        From activations to the neurons' RDMs (n, P).

    Returns
    -------
    numerators : ndarray of int64, shape (n, A)
        Concordant minus discordant comparisons.
    ties : ndarray of int64, shape (n, 3)
        Sums over each neuron's groups of t equal distances, as in `Patterns`. A neuron with a distance that is not
        finite counts as constant: all its distances are tied.
    """
    _, C, n = values.shape
    A, P = len(patterns.ties), C * (C - 1) // 2
    numerators = np.empty((n, A), dtype=np.int64)
    ties = np.empty((n, 3), dtype=np.int64)
    # RDMs and signs of a few neurons at a time, so that they stay in the processor's cache.
    row_bytes = 8 * P if patterns.signs is None else P * P // 8
    tile = max(1, _TILE_BYTES // max(1, row_bytes))
    for start in range(0, n, tile):
        stop = min(start + tile, n)
        distances = _constant_where_not_finite(distances_of(values[:, :, start:stop]))
        numerators[start:stop], ties[start:stop] = kendall_distances(distances, patterns)
    return numerators, ties


def kendall_distances(distances: Floats, patterns: Patterns) -> tuple[Integers, Integers]:
    """Compare RDMs that are there already with those of all attributes.

    Parameters
    ----------
    distances : ndarray of float64, shape (n, P)
        Finite.
    patterns : Patterns
        Of A attributes over the same pairs.

    Returns
    -------
    numerators : ndarray of int64, shape (n, A)
    ties : ndarray of int64, shape (n, 3)
        As `kendall_block` has them.
    """
    if patterns.signs is None:
        return sort_numerators(distances, patterns.ranks, patterns.ties)
    return _compare_bits(distances, patterns.signs)


def _compare_bits(distances: Floats, attribute_signs: NDArray[np.uint64]) -> tuple[Integers, Integers]:
    signs = pack_signs(distances)
    ties = np.zeros((len(distances), 3), dtype=np.int64)
    P = distances.shape[1]
    # Ties are rare in averaged activations, and the sums need a sort.
    tied = untied_comparisons(signs) < P * (P - 1) // 2
    if tied.any():
        ties[tied] = tie_sums(distances[tied])
    return bit_numerators(signs, attribute_signs), ties


def _constant_where_not_finite(distances: Floats) -> Floats:
    distances[~np.isfinite(distances).all(axis=1)] = 0.0
    return distances


def tau_b(numerators: Integers, neuron_ties: Integers, attribute_ties: Integers, pairs: int) -> Floats:
    """Divide the numerators by the geometric mean of the untied comparisons on either side.

    Parameters
    ----------
    numerators : ndarray of int64, shape (n, A)
    neuron_ties : ndarray of int64, shape (n, 3)
    attribute_ties : ndarray of int64, shape (A, 3)
        All as `kendall_block` and `Patterns` have them.
    pairs : int
        Number P of distances in an RDM.

    Returns
    -------
    ndarray of float64, shape (n, A)
        In [-1, 1]; NaN where the neuron or the attribute is constant.

    Notes
    -----
    Kendall (1945), *Biometrika* 33, 239-251. The order of operations is that of ``scipy.stats.kendalltau``.
    """
    comparisons = pairs * (pairs - 1) // 2
    with np.errstate(divide="ignore", invalid="ignore"):
        tau = (
            numerators
            / np.sqrt(comparisons - neuron_ties[:, 0])[:, np.newaxis]
            / np.sqrt(comparisons - attribute_ties[:, 0])
        )
    return np.clip(tau, -1.0, 1.0)
