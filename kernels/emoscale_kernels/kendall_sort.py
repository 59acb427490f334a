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


def ranks_and_ties(distances: Floats) -> tuple[Ranks, Integers]:
    """Rank the distances of each row, and sum what tau-b and its variance need over groups of equal distances.

    Parameters
    ----------
    distances : ndarray of float64, shape (n, P)
        Finite.

    Returns
    -------
    ranks : ndarray of int32, shape (n, P)
        Dense: 0, 1, 2, ...; equal distances share one.
    ties : ndarray of int64, shape (n, 3)
        With t the size of a group: sums of t(t-1)/2, t(t-1)(t-2) and t(t-1)(2t+5).
    """
    ranks = np.empty(distances.shape, dtype=np.int32)
    ties = np.empty((len(distances), 3), dtype=np.int64)
    # NumPy sorts in vectors, Numba does not.
    _ranks_and_ties(distances, np.argsort(distances, axis=1), ranks, ties)
    return ranks, ties


@kernel
def _ranks_and_ties(distances: Floats, order: Integers, ranks: Ranks, ties: Integers) -> None:
    n, P = distances.shape
    for k in range(n):
        ties[k] = 0
        rank = 0
        start = 0
        for i in range(1, P + 1):
            if i == P or distances[k, order[k, i]] != distances[k, order[k, start]]:
                for within in range(start, i):
                    ranks[k, order[k, within]] = rank
                t = i - start
                ties[k, 0] += t * (t - 1) // 2
                ties[k, 1] += t * (t - 1) * (t - 2)
                ties[k, 2] += t * (t - 1) * (2 * t + 5)
                start = i
                rank += 1


def sort_numerators(ranks: Ranks, ties: Integers, pattern_ranks: Ranks, pattern_ties: Integers) -> Integers:
    """Count concordant minus discordant comparisons of every neuron with every attribute.

    Parameters
    ----------
    ranks : ndarray of int32, shape (n, P)
        RDMs of the neurons.
    ties : ndarray of int64, shape (n, 3)
    pattern_ranks : ndarray of int32, shape (A, P)
        RDMs of the attributes.
    pattern_ties : ndarray of int64, shape (A, 3)
        All as `ranks_and_ties` makes them.

    Returns
    -------
    ndarray of int64, shape (n, A)
    """
    numerators = np.empty((len(ranks), len(pattern_ranks)), dtype=np.int64)
    _sort_numerators(ranks, np.argsort(ranks, axis=1), ties, pattern_ranks, pattern_ties, numerators)
    return numerators


@kernel
def _sort_numerators(
    ranks: Ranks, order: Integers, ties: Integers, pattern_ranks: Ranks, pattern_ties: Integers, numerators: Integers
) -> None:
    n, P = ranks.shape
    values = np.empty(P, dtype=np.int32)
    spare = np.empty(P, dtype=np.int32)
    for k in range(n):
        for a in range(pattern_ranks.shape[0]):
            for i in range(P):
                values[i] = pattern_ranks[a, order[k, i]]
            joint = _sort_within_ties(ranks[k], order[k], values) if ties[k, 0] > 0 else 0
            untied = P * (P - 1) // 2 - ties[k, 0] - pattern_ties[a, 0] + joint
            numerators[k, a] = untied - 2 * _inversions(values, spare)


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
def _sort_within_ties(ranks: Ranks, order: Integers, values: Ranks) -> int:
    # Comparisons tied on the neuron's side must cost no exchange. Returns the number tied on both sides.
    joint = 0
    start = 0
    for i in range(1, order.size + 1):
        if i == order.size or ranks[order[i]] != ranks[order[start]]:
            if i - start > 1:
                values[start:i].sort()
                run = start
                for j in range(start + 1, i + 1):
                    if j == i or values[j] != values[run]:
                        joint += (j - run) * (j - run - 1) // 2
                        run = j
            start = i
    return joint
