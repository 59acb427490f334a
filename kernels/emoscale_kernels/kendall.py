"""Kendall's tau-b between the RDMs of neurons and of attributes.

The numerator is an exact integer, whichever algorithm counts it; `tau_b` divides as SciPy's ``kendalltau`` does, so the
two agree to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emoscale_kernels.distances import mean_pair_distances
from emoscale_kernels.kendall_bits import discordant_comparisons, order_keys, pack_keys, valid_comparisons
from emoscale_kernels.kendall_sort import ranks_and_ties, sort_numerators
from emoscale_kernels.vectors import BLOCK

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Ranks = NDArray[np.int32]
Words = NDArray[np.uint64]

BITS_BELOW_CONCEPTS = 140
"""Number of concepts from which merge sort is taken. Measured on one core with 14 attributes and 12 replicates, in
microseconds a neuron, packed comparisons against merge sort: C = 27: 7 / 251, 80: 498 / 2940, 140: 3700 / 8420,
170: 8170 / 12460, 200: 17700 / 18500 with AVX-512; 170: 12100 / 13500, 200: 22600 / 19400 with AVX2. They are equal at
about 190, but the packed comparisons of an RDM take 6 MB at 140 and 20 MB there."""

_TILE_BYTES = 2**20
_LEAST_TILE = 8
"""Neurons that are counted side by side."""


class Patterns(NamedTuple):
    """The attributes' RDMs, made ready to be compared with many neurons.

    Attributes
    ----------
    ties : ndarray of int64, shape (A, 3)
        Sums over groups of t equal distances: t(t-1)/2, t(t-1)(t-2), t(t-1)(2t+5).
    ranks : ndarray of int32, shape (A, P)
        Dense ranks of the distances.
    signs, masks : ndarray of uint64, shape (A, W), or None
        Packed outcomes of the comparisons between distances, and which are not ties; None where merge sort is to be
        taken.
    """

    ties: Integers
    ranks: Ranks
    signs: Words | None
    masks: Words | None

    @property
    def pairs(self) -> int:
        """Number P of distances in an RDM."""
        return int(self.ranks.shape[1])

    @property
    def row_bytes(self) -> int:
        """Bytes of one RDM's packed comparisons, or of its ranks where they are not packed."""
        return self.ranks.itemsize * self.pairs if self.signs is None else 8 * int(self.signs.shape[1])


class Rdms(NamedTuple):
    """The neurons' RDMs, made ready to be compared with many patterns.

    Attributes
    ----------
    ties : ndarray of int64, shape (n, 3)
        As in `Patterns`. A neuron with a distance that is not finite counts as constant: all its distances are tied.
    keys : ndarray of int32, shape (n, P rounded up to 32)
        Integers in the order of the distances; the last ones mean nothing.
    tied : ndarray of int64, shape (t,)
        The neurons that have ties.
    signs : ndarray of uint64, shape (n, W), or None
        Packed outcomes of the comparisons, ties counted as greater; None where they were not asked for.
    tied_signs : ndarray of uint64, shape (t, W), or None
        Of the neurons that have ties, these counted as less.
    """

    ties: Integers
    keys: Ranks
    tied: Integers
    signs: Words | None
    tied_signs: Words | None


class NullCounts(NamedTuple):
    """What is kept of a block of neurons' values under permuted labels, whatever the number of permutations.

    Attributes
    ----------
    reached : ndarray of int64, shape (n, A)
        Permutations under which tau is at least the true one.
    sums : ndarray of float64, shape (3, n, A)
        Sums over permutations of tau, its square and its cube.
    highest : ndarray of float64, shape (B, A)
        Largest tau of any neuron, by permutation; -inf where no neuron has one.
    followers : ndarray of int64, shape (1 + B, A)
        Neurons whose tau is largest under each order: the true labels, then the permutations. Under the true ones it
        must exceed all others; of equal permutations the first counts. Constant neurons and attributes count nowhere.
    """

    reached: Integers
    sums: Floats
    highest: Floats
    followers: Integers


def attribute_patterns(distances: Floats, bits: bool | None = None) -> Patterns:
    """Prepare the attributes' side once.

    Parameters
    ----------
    distances : ndarray of float64, shape (A, P)
        RDM of each attribute, pairs in ``numpy.triu_indices(C, 1)`` order. One with a value that is not finite counts
        as constant.
    bits : bool, optional
        Take the algorithm of packed comparisons (True) or merge sort (False); by default the faster for this P.

    Returns
    -------
    Patterns
    """
    if bits is None:
        bits = distances.shape[1] < BITS_BELOW_CONCEPTS * (BITS_BELOW_CONCEPTS - 1) // 2
    ranks, ties = ranks_and_ties(_constant_where_not_finite(distances))
    return _pack_patterns(ties, ranks) if bits else Patterns(ties, ranks, None, None)


def permuted_patterns(patterns: Patterns, orders: Integers) -> Patterns:
    """Exchange the concepts of every attribute.

    Parameters
    ----------
    patterns : Patterns
        Of A attributes over C concepts.
    orders : ndarray of int64, shape (B, C)
        Permutations: concept c takes the place of ``orders[b, c]``.

    Returns
    -------
    Patterns
        Of B * A patterns: all attributes after the first permutation, then all after the second, and so on.
    """
    first, second = np.triu_indices(orders.shape[1], 1)
    pair = np.zeros((orders.shape[1], orders.shape[1]), dtype=np.int64)
    pair[first, second] = pair[second, first] = np.arange(len(first))
    moved = pair[orders[:, first], orders[:, second]]
    ranks = np.take(patterns.ranks, moved, axis=1).transpose(1, 0, 2).reshape(-1, patterns.pairs)
    ties = np.tile(patterns.ties, (len(orders), 1))
    return Patterns(ties, ranks, None, None) if patterns.signs is None else _pack_patterns(ties, ranks)


def _pack_patterns(ties: Integers, ranks: Ranks) -> Patterns:
    pairs = ranks.shape[1]
    keys = np.pad(ranks, ((0, 0), (0, -pairs % BLOCK)))
    less = pack_keys(keys, pairs)
    masks = pack_keys(keys, pairs, lift=1)
    masks ^= less  # the ties
    np.invert(masks, out=masks)
    masks &= valid_comparisons(pairs)
    return Patterns(ties, ranks, less, masks)


def pack_rdms(distances: Floats, bits: bool, reuse: bool = False) -> Rdms:
    """Prepare the neurons' side once.

    Parameters
    ----------
    distances : ndarray of float64, shape (n, P)
    bits : bool
        Pack the comparisons, as `with_comparisons` does.
    reuse : bool
        Whether this thread's next call may overwrite the result.

    Returns
    -------
    Rdms
    """
    distances = _constant_where_not_finite(distances)
    pairs = distances.shape[1]
    keys, doubtful = order_keys(distances, reuse)
    ties = np.zeros((len(distances), 3), dtype=np.int64)
    # Ties are rare in averaged activations; finding them for certain needs a sort.
    sorted_rows = np.flatnonzero(doubtful)
    if sorted_rows.size:
        keys[sorted_rows, :pairs], ties[sorted_rows] = ranks_and_ties(distances[sorted_rows])
    rdms = Rdms(ties, keys, np.flatnonzero(ties[:, 0]), None, None)
    return with_comparisons(rdms, pairs, reuse) if bits else rdms


def with_comparisons(rdms: Rdms, pairs: int, reuse: bool = False) -> Rdms:
    """Pack the comparisons of every neuron, which `numerators` needs for patterns that have theirs packed.

    Parameters
    ----------
    rdms : Rdms
    pairs : int
        Number P of distances.
    reuse : bool
        Whether this thread's next call may overwrite the result.
    """
    signs = pack_keys(rdms.keys, pairs, reuse=reuse)
    tied_signs = pack_keys(rdms.keys[rdms.tied], pairs, lift=1, reuse=reuse)
    return rdms._replace(signs=signs, tied_signs=tied_signs)


def numerators(rdms: Rdms, patterns: Patterns) -> Integers:
    """Count concordant minus discordant comparisons of every neuron with every pattern.

    Parameters
    ----------
    rdms : Rdms
        Of n neurons.
    patterns : Patterns
        Of A attributes over the same pairs. Merge sort is taken unless both have packed comparisons.

    Returns
    -------
    ndarray of int64, shape (n, A)

    Notes
    -----
    A tied comparison counts nothing. In packed comparisons a neuron's ties are broken both ways, and the two counts
    averaged: what ties add to one they take from the other.
    """
    if patterns.signs is None or patterns.masks is None or rdms.signs is None or rdms.tied_signs is None:
        return sort_numerators(rdms.keys[:, : patterns.pairs], rdms.ties, patterns.ranks, patterns.ties)
    untied = patterns.pairs * (patterns.pairs - 1) // 2 - patterns.ties[:, 0]
    discordant = discordant_comparisons(rdms.signs, patterns.signs, patterns.masks)
    result: Integers = untied - 2 * discordant
    if rdms.tied.size:
        other = discordant_comparisons(rdms.tied_signs, patterns.signs, patterns.masks)
        result[rdms.tied] = untied - discordant[rdms.tied] - other
    return result


def kendall_block(
    values: NDArray[np.floating], patterns: Patterns, distances_of: Callable[[Any], Floats] = mean_pair_distances
) -> tuple[Integers, Integers]:
    """Compare the RDMs of a block of neurons with those of all attributes.

    Parameters
    ----------
    values : ndarray of float64 or float32, shape (R, C, n)
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
        As in `Rdms`.
    """
    n = values.shape[2]
    counted = np.empty((n, len(patterns.ties)), dtype=np.int64)
    ties = np.empty((n, 3), dtype=np.int64)
    # RDMs and comparisons of a few neurons at a time, so that they stay in the processor's cache.
    row_bytes = 8 * patterns.pairs if patterns.signs is None else 8 * patterns.signs.shape[1]
    tile = min(max(_LEAST_TILE, _TILE_BYTES // max(1, row_bytes)), max(1, n))
    for start in range(0, n, tile):
        stop = min(start + tile, n)
        rdms = pack_rdms(distances_of(values[:, :, start:stop]), patterns.signs is not None, reuse=True)
        counted[start:stop], ties[start:stop] = numerators(rdms, patterns), rdms.ties
    return counted, ties


def count_followers(largest_under: Integers, untied: NDArray[np.bool_], orders: int) -> Integers:
    """Count the neurons that each order is the one with the largest tau of.

    Parameters
    ----------
    largest_under : ndarray of int64, shape (n, A)
        Number of the order, 0 to orders - 1.
    untied : ndarray of bool, shape (n, A)
        False where the neuron or the attribute is constant, which is not counted.
    orders : int

    Returns
    -------
    ndarray of int64, shape (orders, A)
    """
    A = largest_under.shape[1]
    places = (largest_under * A + np.arange(A))[untied]
    return np.bincount(places, minlength=orders * A).reshape(orders, A)


def _constant_where_not_finite(distances: Floats) -> Floats:
    finite = np.asarray(np.isfinite(distances).all(axis=1))
    return distances if finite.all() else np.where(finite[:, np.newaxis], distances, 0.0)


def tau_b(numerators: Integers, neuron_ties: Integers, attribute_ties: Integers, pairs: int) -> Floats:
    """Divide the numerators by the geometric mean of the untied comparisons on either side.

    Parameters
    ----------
    numerators : ndarray of int64, shape (n, A)
    neuron_ties : ndarray of int64, shape (n, 3)
    attribute_ties : ndarray of int64, shape (A, 3)
        As `Rdms` and `Patterns` have them.
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
