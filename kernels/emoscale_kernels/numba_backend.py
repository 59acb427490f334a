"""Kernels that have twins on other devices, on the processor; the twins have the same names and signatures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emoscale_kernels.jit import kernel
from emoscale_kernels.kendall import (
    NullCounts,
    Patterns,
    Rdms,
    count_followers,
    numerators,
    permuted_patterns,
    with_comparisons,
)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_PATTERN_BYTES = 2**19
"""About so much of permuted patterns is compared with all neurons before the next, so that it stays in the cache."""


def null_counts(rdms: Rdms, patterns: Patterns, orders: Integers) -> tuple[Integers, NullCounts]:
    """Compare neurons with attributes under their own and under permuted labels.

    Null values are counted as they are computed: memory does not grow with the number of permutations.

    Parameters
    ----------
    rdms : Rdms
        Of n neurons. Comparisons are packed here if they are not yet and the patterns' are.
    patterns : Patterns
        Of A attributes over the same pairs.
    orders : ndarray of int64, shape (B, C)
        Permutations of the concepts.

    Returns
    -------
    true : ndarray of int64, shape (n, A)
        Numerators under the true labels.
    counts : NullCounts
    """
    if patterns.signs is not None and rdms.signs is None:
        rdms = with_comparisons(rdms, patterns.pairs)
    true = numerators(rdms, patterns)
    A = len(patterns.ties)
    comparisons = patterns.pairs * (patterns.pairs - 1) // 2
    neuron_untied, attribute_untied = comparisons - rdms.ties[:, 0], comparisons - patterns.ties[:, 0]
    counts = _empty_counts(len(true), A, len(orders))
    # One below the true numerator, so that a permutation that equals it takes the true labels' place.
    largest, largest_under = true - 1, np.zeros_like(true)
    together = max(1, _PATTERN_BYTES // (2 * patterns.row_bytes or 1) // max(1, A))
    for first in range(0, len(orders), together):
        some = orders[first : first + together]
        compared = np.ascontiguousarray(numerators(rdms, permuted_patterns(patterns, some)))
        permuted = compared.reshape(len(true), len(some), A)
        _count(counts, permuted, true, neuron_untied, attribute_untied, first)
        _track_largest(permuted, first, largest, largest_under)
    untied = np.outer(neuron_untied, attribute_untied) > 0
    return true, counts._replace(followers=count_followers(largest_under, untied, 1 + len(orders)))


def _empty_counts(neurons: int, attributes: int, permutations: int) -> NullCounts:
    return NullCounts(
        np.zeros((neurons, attributes), dtype=np.int64),
        np.zeros((3, neurons, attributes)),
        np.full((permutations, attributes), -np.inf),
        np.zeros((1 + permutations, attributes), dtype=np.int64),
    )


def _count(
    counts: NullCounts,
    permuted: Integers,
    true: Integers,
    neuron_untied: Integers,
    attribute_untied: Integers,
    first: int,
) -> None:
    """Add what the permutations from `first` on gave, in place.

    Parameters
    ----------
    counts : NullCounts
    permuted : ndarray of int64, shape (n, b, A)
        Numerators of tau under b permutations.
    true : ndarray of int64, shape (n, A)
        Numerators under the true labels.
    neuron_untied : ndarray of int64, shape (n,)
    attribute_untied : ndarray of int64, shape (A,)
        Untied comparisons on either side; tau is the numerator over the square roots of both. They are the same under
        every permutation, so numerators are compared instead of tau.
    first : int
    """
    b = permuted.shape[1]
    constant = attribute_untied == 0
    _count_null(
        permuted,
        true,
        np.sqrt(neuron_untied),
        np.sqrt(np.where(constant, 1, attribute_untied)),
        counts.reached,
        counts.sums,
        counts.highest[first : first + b],
    )
    counts.highest[first : first + b, constant] = -np.inf


@kernel
def _count_null(
    permuted: Integers,
    true: Integers,
    neuron: Floats,
    attribute: Floats,
    reached: Integers,
    sums: Floats,
    highest: Floats,
) -> None:
    n, b, A = permuted.shape
    for k in range(n):
        if neuron[k] == 0.0:
            continue
        for i in range(b):
            for a in range(A):
                # Divided in the order of tau_b, so that equal numerators give equal values.
                tau = min(1.0, max(-1.0, permuted[k, i, a] / neuron[k] / attribute[a]))
                reached[k, a] += permuted[k, i, a] >= true[k, a]
                sums[0, k, a] += tau
                sums[1, k, a] += tau * tau
                sums[2, k, a] += tau * tau * tau
                highest[i, a] = max(highest[i, a], tau)


@kernel
def _track_largest(permuted: Integers, first: int, largest: Integers, largest_under: Integers) -> None:
    n, b, A = permuted.shape
    for k in range(n):
        for i in range(b):
            for a in range(A):
                if permuted[k, i, a] > largest[k, a]:
                    largest[k, a] = permuted[k, i, a]
                    largest_under[k, a] = 1 + first + i
