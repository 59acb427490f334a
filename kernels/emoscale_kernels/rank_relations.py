"""How neurons' ranks in one respect relate to other values of theirs: rank correlations, and sums over the first k."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from emoscale_kernels.jit import kernel

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def group_order(values: Floats, starts: Integers) -> Integers:
    """Sort values within consecutive groups.

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
        No NaN.
    starts : ndarray of int64, shape (G + 1,)
        Where the groups start, and n.

    Returns
    -------
    ndarray of int64, shape (n,)
        Indices of all values, group by group, each group's smallest first, of equal ones the lower index.
    """
    order = np.empty(len(values), np.int64)
    for first, stop in pairwise(starts):
        order[first:stop] = np.argsort(values[first:stop], kind="mergesort")  # which is stable
        order[first:stop] += first
    return order


@kernel
def order_within(order: Integers, starts: Integers) -> Integers:
    """Sort the order of all values into consecutive groups, which is faster than sorting each.

    Parameters
    ----------
    order : ndarray of int64, shape (n,)
        From `group_order` with one group.
    starts : ndarray of int64, shape (G + 1,)

    Returns
    -------
    ndarray of int64, shape (n,)
        As `group_order` with these groups.
    """
    n, G = len(order), len(starts) - 1
    group, free = np.empty(n, np.int64), starts[:G].copy()
    for g in range(G):
        group[starts[g] : starts[g + 1]] = g
    found = np.empty(n, np.int64)
    for index in order:
        found[free[group[index]]] = index
        free[group[index]] += 1
    return found


def centered_ranks(values: Floats, starts: Integers) -> Floats:
    """Rank values within consecutive groups, and take the mean rank of each group from its ranks.

    Parameters
    ----------
    values, starts
        As in `group_order`.

    Returns
    -------
    ndarray of float64, shape (n,)
        Equal values share the mean of their ranks.
    """
    ranks = np.empty(len(values))
    _write_ranks(values, group_order(values, starts), starts, ranks)
    return ranks


@kernel
def _write_ranks(values: Floats, order: Integers, starts: Integers, ranks: Floats) -> None:
    for group in range(len(starts) - 1):
        first, stop = starts[group], starts[group + 1]
        i = first
        while i < stop:
            j = i + 1
            while j < stop and values[order[j]] == values[order[i]]:
                j += 1
            ranks[order[i:j]] = 0.5 * (i + j - first - stop)
            i = j


@kernel
def rank_correlations(values: Floats, order: Integers, starts: Integers, targets: Floats) -> Floats:
    """Correlate ranks within groups, pooled over the groups (Spearman's rho where there is one group).

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
    order : ndarray of int64, shape (n,)
        From `group_order`.
    starts : ndarray of int64, shape (G + 1,)
    targets : ndarray of float64, shape (n, T)
        Each column from `centered_ranks` with the same groups.

    Returns
    -------
    ndarray of float64, shape (T,)
        NaN where either side is constant within every group.
    """
    T = targets.shape[1]
    products, norms, sums = np.zeros(T), np.zeros(T), np.empty(T)
    squares = 0.0
    for group in range(len(starts) - 1):
        first, stop = starts[group], starts[group + 1]
        i = first
        while i < stop:
            sums[:] = 0.0
            j = i
            while j < stop and values[order[j]] == values[order[i]]:
                for t in range(T):
                    target = targets[order[j], t]
                    sums[t] += target
                    norms[t] += target * target
                j += 1
            rank = 0.5 * (i + j - first - stop)
            squares += (j - i) * rank * rank
            for t in range(T):
                products[t] += rank * sums[t]
            i = j
    for t in range(T):
        norm = np.sqrt(squares) * np.sqrt(norms[t])
        products[t] = min(1.0, max(-1.0, products[t] / norm)) if norm > 0 else np.nan
    return products


@kernel
def first_sums(
    values: Floats, order: Integers, weights: Floats, places: Integers, sizes: Integers
) -> tuple[Floats, Floats]:
    """Sum weights over the k neurons with the largest values, and count those among them that another order has first.

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
    order : ndarray of int64, shape (n,)
        From `group_order` with one group.
    weights : ndarray of float64, shape (n,)
    places : ndarray of int64, shape (n,)
        Place of each neuron in the other order, from 0.
    sizes : ndarray of int64, shape (K,)
        Each k, ascending, at most n.

    Returns
    -------
    sums, shared : ndarray of float64, shape (K,)
        Of equal values the lower index is first.
    """
    n, K = len(values), len(sizes)
    sums, shared = np.zeros(K), np.zeros(K)
    total, low, before = 0.0, 0, 0
    while before < n and low < K:
        after = before + 1
        while after < n and values[order[n - 1 - after]] == values[order[n - 1 - before]]:
            after += 1
        for place in range(before, after):
            # Equal values lie in the order of their indices, which runs against that of the largest first.
            index = order[n - after + place - before]
            total += weights[index]
            for size in range(low, K):
                shared[size] += places[index] < sizes[size]
            while low < K and sizes[low] == place + 1:
                sums[low] = total
                low += 1
        before = after
    return sums, shared
