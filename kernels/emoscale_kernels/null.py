"""What a neuron's values under permuted labels say of its value under the true ones, counted as they come."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from emoscale_kernels.jit import kernel

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class NullCounts(NamedTuple):
    """What is kept of the null values of a block of neurons, whatever the number of permutations.

    Attributes
    ----------
    reached : ndarray of int64, shape (n, A)
        Permutations under which tau is at least the true one.
    sums : ndarray of float64, shape (3, n, A)
        Sums over permutations of tau, its square and its cube.
    highest : ndarray of float64, shape (B, A)
        Largest tau of any neuron, by permutation; -inf where no neuron has one.
    """

    reached: Integers
    sums: Floats
    highest: Floats


def empty_null_counts(neurons: int, attributes: int, permutations: int) -> NullCounts:
    """Return counts of nothing yet."""
    return NullCounts(
        np.zeros((neurons, attributes), dtype=np.int64),
        np.zeros((3, neurons, attributes)),
        np.full((permutations, attributes), -np.inf),
    )


def count_null(
    counts: NullCounts,
    permuted: Integers,
    true: Integers,
    neuron_untied: Integers,
    attribute_untied: Integers,
    first: int,
) -> None:
    """Add what some permutations gave.

    Parameters
    ----------
    counts : NullCounts
        Changed in place.
    permuted : ndarray of int64, shape (n, b * A)
        Numerators of tau: all attributes under the first of b permutations, then all under the second, and so on.
    true : ndarray of int64, shape (n, A)
        Numerators under the true labels.
    neuron_untied : ndarray of int64, shape (n,)
    attribute_untied : ndarray of int64, shape (A,)
        Untied comparisons on either side; tau is the numerator over the square roots of both. They are the same under
        every permutation, so numerators are compared in place of tau.
    first : int
        Number of the first of these permutations.
    """
    n, A = true.shape
    b = permuted.shape[1] // max(1, A)
    constant = attribute_untied == 0
    _count_null(
        np.ascontiguousarray(permuted).reshape(n, b, A),
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
