"""Kendall's numerator by merge sort, and the tie sums of one RDM.

Discordant comparisons are the exchanges that sorting by one RDM and then by the other needs (Knight, 1966, *Journal of
the American Statistical Association* 61, 436-439). The work grows with P log P.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emoscale_kernels.jit import kernel

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Ranks = NDArray[np.int32]


@kernel
def _tie_sums(ordered: Floats) -> tuple[int, int, int]:
    pairs = 0
    triples = 0
    weighted = 0
    start = 0
    for i in range(1, ordered.size + 1):
        if i == ordered.size or ordered[i] != ordered[start]:
            t = i - start
            pairs += t * (t - 1) // 2
            triples += t * (t - 1) * (t - 2)
            weighted += t * (t - 1) * (2 * t + 5)
            start = i
    return pairs, triples, weighted


@kernel
def tie_sums(distances: Floats) -> Integers:
    """Return the sums over groups of equal distances that tau-b and its variance need.

    Parameters
    ----------
    distances : ndarray of float64, shape (n, P)
        Finite.

    Returns
    -------
    ndarray of int64, shape (n, 3)
        With t the size of a group: sums of t(t-1)/2, t(t-1)(t-2) and t(t-1)(2t+5).
    """
    sums = np.empty((distances.shape[0], 3), dtype=np.int64)
    for k in range(distances.shape[0]):
        sums[k, 0], sums[k, 1], sums[k, 2] = _tie_sums(np.sort(distances[k]))
    return sums


@kernel
def dense_ranks(distances: Floats) -> Ranks:
    """Replace each row's distances by ranks 0, 1, 2, ... in which equal distances share one.

    Parameters
    ----------
    distances : ndarray of float64, shape (n, P)
        Finite.

    Returns
    -------
    ndarray of int32, shape (n, P)
    """
    n, P = distances.shape
    ranks = np.empty((n, P), dtype=np.int32)
    for k in range(n):
        order = np.argsort(distances[k])
        rank = 0
        for i in range(P):
            if i > 0 and distances[k, order[i]] != distances[k, order[i - 1]]:
                rank += 1
            ranks[k, order[i]] = rank
    return ranks


@kernel
def _inversions(values: Ranks, spare: Ranks) -> int:
    # Bottom-up merge sort of `values`; both arrays are overwritten.
    n = values.size
    count = 0
    width = 1
    while width < n:
        for low in range(0, n, 2 * width):
            middle = min(low + width, n)
            high = min(low + 2 * width, n)
            i = low
            j = middle
            for k in range(low, high):
                if i < middle and (j >= high or values[i] <= values[j]):
                    spare[k] = values[i]
                    i += 1
                else:
                    spare[k] = values[j]
                    j += 1
                    count += middle - i
        values, spare = spare, values
        width *= 2
    return count


@kernel
def sort_numerators(distances: Floats, ranks: Ranks, attribute_ties: Integers) -> tuple[Integers, Integers]:
    """Count concordant minus discordant comparisons of every neuron with every attribute.

    Parameters
    ----------
    distances : ndarray of float64, shape (n, P)
        RDMs of the neurons. Finite.
    ranks : ndarray of int32, shape (A, P)
        RDMs of the attributes, as `dense_ranks` makes them.
    attribute_ties : ndarray of int64, shape (A, 3)
        Their `tie_sums`.

    Returns
    -------
    numerators : ndarray of int64, shape (n, A)
    ties : ndarray of int64, shape (n, 3)
        Tie sums of the neurons.
    """
    n, P = distances.shape
    A = ranks.shape[0]
    numerators = np.empty((n, A), dtype=np.int64)
    ties = np.empty((n, 3), dtype=np.int64)
    values = np.empty(P, dtype=np.int32)
    spare = np.empty(P, dtype=np.int32)
    for k in range(n):
        order = np.argsort(distances[k])
        ordered = distances[k][order]
        ties[k, 0], ties[k, 1], ties[k, 2] = _tie_sums(ordered)
        for a in range(A):
            for i in range(P):
                values[i] = ranks[a, order[i]]
            joint = _sort_within_ties(ordered, values) if ties[k, 0] > 0 else 0
            untied = P * (P - 1) // 2 - ties[k, 0] - attribute_ties[a, 0] + joint
            numerators[k, a] = untied - 2 * _inversions(values, spare)
    return numerators, ties


@kernel
def _sort_within_ties(ordered: Floats, values: Ranks) -> int:
    # Comparisons tied on the neuron's side must cost no exchange. Returns the number tied on both sides.
    joint = 0
    start = 0
    for i in range(1, ordered.size + 1):
        if i == ordered.size or ordered[i] != ordered[start]:
            if i - start > 1:
                values[start:i].sort()
                run = start
                for j in range(start + 1, i + 1):
                    if j == i or values[j] != values[run]:
                        joint += (j - run) * (j - run - 1) // 2
                        run = j
            start = i
    return joint
