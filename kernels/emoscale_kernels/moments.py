"""Count, mean and spread of every neuron in every cell of rows, in one pass; and the measures that need no more.

A cell is a set of rows that are summed up together: those of a concept, or of a concept and a replicate.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emoscale_kernels.layout import equal_columns, flat_rows
from emoscale_kernels.welford import add_rows, rows_by_cell

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Moments(NamedTuple):
    """What is known of the rows seen so far.

    Attributes
    ----------
    counts : ndarray of int64, shape (G, n)
        Rows of each cell in which the neuron has a value: those where it is NaN are left out.
    mean : ndarray of float64, shape (G, n)
        Mean activation of each neuron; 0 in a cell without values of it.
    m2 : ndarray of float64, shape (G, n)
        Sum of the squared deviations from that mean, so that ``m2 / counts`` is the variance.
    """

    counts: Integers
    mean: Floats
    m2: Floats


def empty_moments(G: int, n: int) -> Moments:
    """Return the moments of G cells without rows for n neurons."""
    return Moments(np.zeros((G, n), dtype=np.int64), np.zeros((G, n)), np.zeros((G, n)))


def update_moments(moments: Moments, values: NDArray[np.floating[Any]], cells: NDArray[np.integer[Any]]) -> None:
    """Add rows, in place.

    Parameters
    ----------
    moments : Moments
        Of G cells and n neurons.
    values : ndarray of float16, float32 or float64, shape (rows, n)
        Activations, NaN where the neuron is absent; a slice of a larger array is not copied.
    cells : ndarray of int, shape (rows,)
        Cell of each row, 0..G-1, or -1 for a row that is ignored.

    Raises
    ------
    ValueError
        If the shapes do not fit together or a cell is out of range. The moments are then as they were.
    TypeError
        If `values` are of another type.

    Notes
    -----
    Welford (1962), *Technometrics* 4, 419-420. Rows are added one by one in their order and neurons do not mix, so the
    result is the same to the last bit however the rows and the neurons are cut into blocks. NaN are not counted;
    infinite values leave their neuron's cell not finite and touch nothing else. The moments of equal values are that
    value and 0, exactly.
    """
    G, n = moments.mean.shape
    members = np.ascontiguousarray(cells, dtype=np.int64)
    if values.shape != (members.size, n):
        raise ValueError(f"activations must be of shape {(members.size, n)}, not {values.shape}")
    added = np.bincount(members + 1, minlength=G + 1)[1:]
    if added.size > G:
        raise ValueError(f"cells must be below {G}, not {added.size - 1}")
    flat, step = flat_rows(values)
    if flat.dtype == np.float16:
        flat = flat.view(np.uint16)
    add_rows(flat, step, rows_by_cell(members, added), added, moments.counts, moments.mean, moments.m2)


def merge_moments(a: Moments, b: Moments) -> Moments:
    """Return the moments of the rows of both, cell by cell (Chan, Golub & LeVeque, 1979, STAN-CS-79-773).

    Parameters
    ----------
    a, b : Moments
        Of the same G cells and n neurons. Where one has no values, the result is the other to the last bit.

    Returns
    -------
    Moments
        Equal, but for rounding, to having added all rows to one.
    """
    count = a.counts + b.counts
    share = b.counts / np.maximum(count, 1)
    with np.errstate(invalid="ignore", over="ignore"):
        deviation = b.mean - a.mean
        mean = a.mean + deviation * share
        m2 = a.m2 + b.m2 + deviation * deviation * (share * a.counts)
    # A cell without values has no say, not even through 0 times infinity.
    for empty, other in ((b.counts == 0, a), (a.counts == 0, b)):
        np.copyto(mean, other.mean, where=empty)
        np.copyto(m2, other.m2, where=empty)
    return Moments(count, mean, m2)


def group_moments(moments: Moments, group: NDArray[np.integer[Any]]) -> Moments:
    """Return the moments of coarser cells, such as those of concepts from those of their replicates.

    Parameters
    ----------
    moments : Moments
        Of G cells.
    group : ndarray of int, shape (G,)
        New cell of each cell, or -1 for one that is ignored.

    Returns
    -------
    Moments
        Of ``max(group) + 1`` cells.
    """
    grouped = empty_moments(int(np.max(group, initial=-1)) + 1, moments.mean.shape[1])
    for cell in np.flatnonzero(group >= 0):
        target = group[cell : cell + 1]
        merged = merge_moments(_cells(grouped, target), _cells(moments, [cell]))
        grouped.counts[target], grouped.mean[target], grouped.m2[target] = merged
    return grouped


def _cells(moments: Moments, index: Any) -> Moments:
    return Moments(moments.counts[index], moments.mean[index], moments.m2[index])


def eta_squared(moments: Moments) -> Floats:
    """Return how much of each neuron's variance lies between concepts.

    Parameters
    ----------
    moments : Moments
        Of cells that are the concepts.

    Returns
    -------
    ndarray of float64, shape (n,)
        Sum of squares between the concepts / total sum of squares, in [0, 1], over the rows in which the neuron has a
        value; a concept where it has none has no weight. NaN for a neuron that is constant over all rows or has an
        infinite value.

    Notes
    -----
    Fisher (1925), *Statistical Methods for Research Workers*, there the squared correlation ratio; Cohen (1973),
    *Educational and Psychological Measurement* 33, 107-112. Tied activations need no care.
    """
    share = np.empty(moments.mean.shape[1])
    for neurons, counts in equal_columns(moments.counts):
        total, deviation, weight = _spread_over_rows(moments.mean[:, neurons], moments.m2[:, neurons], counts)
        with np.errstate(invalid="ignore", over="ignore"):
            share[neurons] = _sum_rows(weight * deviation * deviation) / total
    return share


def pearson_with_scores(moments: Moments, scores: Floats) -> Floats:
    """Correlate each neuron's activation with the attribute scores of the rows' concepts.

    Parameters
    ----------
    moments : Moments
        Of cells that are the C concepts.
    scores : ndarray of float64, shape (C, A)
        Score by concept and attribute; that of a concept in which the neuron has no value does not matter.

    Returns
    -------
    ndarray of float64, shape (n, A)
        Pearson's correlation over the rows in which the neuron has a value, in [-1, 1]. NaN where the neuron or the
        attribute is constant over them or has a value that is not finite.

    Notes
    -----
    Pearson (1896), *Philosophical Transactions of the Royal Society A* 187, 253-318. The score is one number a concept,
    so the sum over rows of products of deviations is the sum over concepts of count x deviation of the concept's mean x
    deviation of its score: nothing is approximated. Tied activations need no care.
    """
    correlation = np.empty((moments.mean.shape[1], scores.shape[1]))
    for neurons, counts in equal_columns(moments.counts):
        total, deviation, weight = _spread_over_rows(moments.mean[:, neurons], moments.m2[:, neurons], counts)
        score = _deviations(scores[counts > 0], weight)
        spread = _nan_where_constant(_sum_rows(weight * score * score))
        products = np.zeros((deviation.shape[1], scores.shape[1]))
        with np.errstate(invalid="ignore", over="ignore"):
            for of_neurons, of_scores in zip(weight * deviation, score, strict=True):
                products += np.multiply.outer(of_neurons, of_scores)
            correlation[neurons] = products / np.multiply.outer(np.sqrt(total), np.sqrt(spread))
    return np.clip(correlation, -1.0, 1.0)


def _spread_over_rows(mean: Floats, m2: Floats, counts: Integers) -> tuple[Floats, Floats, Floats]:
    """Return the total sum of squares (n,), NaN for constants, and of concepts with rows the deviations and counts."""
    used = counts > 0
    weight = counts[used, np.newaxis].astype(np.float64)
    deviation = _deviations(mean[used], weight)
    with np.errstate(invalid="ignore", over="ignore"):
        total = _sum_rows(weight * deviation * deviation) + _sum_rows(m2[used])
    return _nan_where_constant(total), deviation, weight


def _deviations(values: Floats, weight: Floats) -> Floats:
    """Return the deviations (U, k) from the mean by weight (U, 1), exactly 0 where all values are equal."""
    with np.errstate(invalid="ignore", over="ignore"):
        # From the first value: a weighted mean of equal values need not be that value.
        shifted = values - values[:1]
        deviations: Floats = shifted - _sum_rows(weight * shifted) / max(weight.sum(), 1.0)
    return deviations


def _sum_rows(terms: Floats) -> Floats:
    # One by one: NumPy's own sum adds in another order when there is a single neuron.
    total = np.zeros(terms.shape[1])
    for term in terms:
        total += term
    return total


def _nan_where_constant(spread: Floats) -> Floats:
    return np.where((spread > 0) & (spread < np.inf), spread, np.nan)
