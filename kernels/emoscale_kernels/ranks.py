"""Ranks of activations over rows, and the measures that need no more: AUROC, average precision, Spearman's rho.

Each neuron's activations are sorted once, with the concept of the row beside them, and gone through once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emoscale_kernels.layout import equal_columns, flat_rows
from emoscale_kernels.rank_words import pack_words, rank_words

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_STRIP_BYTES = 2**24
"""Memory for the neurons that are read together: a cache line holds the values of 16 of them or more."""


class RankSummary(NamedTuple):
    """What the order of the rows by activation says about the concepts.

    Attributes
    ----------
    counts : ndarray of int64, shape (C, n)
        Rows of each concept in which the neuron has a value: m, and M together.
    rank_sums : ndarray of float64, shape (C, n)
        Sum of the ranks of the concept's rows among all M; the smallest activation has rank 1, equal ones share the
        mean of theirs.
    tie_sum : ndarray of float64, shape (n,)
        Sum over groups of t equal activations of t^3 - t.
    average_precision : ndarray of float64, shape (C, n)
        Of finding the concept's rows by their high activation, in (0, 1]; NaN where m is 0.
    """

    counts: Integers
    rank_sums: Floats
    tie_sum: Floats
    average_precision: Floats


def rank_summary(values: NDArray[np.floating[Any]], concepts: NDArray[np.integer[Any]], C: int) -> RankSummary:
    """Rank the rows by each neuron's activation.

    Parameters
    ----------
    values : ndarray of float16, float32 or float64, shape (rows, n)
        Activations, NaN where the neuron is absent; a slice of a larger array is not copied, unless it is float64.
    concepts : ndarray of int, shape (rows,)
        Concept of each row, 0..C-1, or -1 for a row that is ignored.
    C : int
        Number of concepts.

    Returns
    -------
    RankSummary
        A neuron's rows without a value (NaN) are left out for that neuron. Infinite activations are the largest and
        the smallest; -0 equals 0.

    Raises
    ------
    ValueError
        If there is not a concept for each row or one is out of range.
    TypeError
        If `values` are of another type.

    Notes
    -----
    Average precision is the sum over distinct activations, from the largest, of the share of the concept's rows that
    have it x the share of the concept among the rows with that activation or a larger one: equal activations are one
    threshold and nothing is interpolated, as in scikit-learn's ``average_precision_score`` (Zhu, 2004, *Recall,
    Precision and Average Precision*, University of Waterloo).

    Rank sums are exact as long as they are at most 2^52 = 4.5e15: for any M up to 94.9 million, and at M = 1e8 for a
    concept that has up to two thirds of the rows. ``tie_sum`` is exact up to 2^53, which 208,000 tied rows do not
    exceed; beyond it is rounded at every addition.

    Memory besides the values is about 20 bytes a row (12 for float16), and at least 16 MiB if there are many neurons;
    float64, which is sorted by NumPy first, takes 4 bytes a value and 40 bytes a row more.
    """
    # Longer than 60 lines by the notes on exactness and memory.
    labels = np.ascontiguousarray(concepts, dtype=np.int32)
    if labels.size != len(values):
        raise ValueError(f"there are {len(values)} rows, but {labels.size} concepts")
    rows = np.bincount(labels + 1, minlength=C + 1)[1:]
    if rows.size > C:
        raise ValueError(f"concepts must be below {C}, not {rows.size - 1}")
    if values.dtype == np.float64:
        values = _float32_in_the_same_order(values)
    halves = values.dtype == np.float16
    flat, step = flat_rows(values)
    bits = flat.view(np.uint16 if halves else np.uint32)
    infinity = np.uint64(0x7C00 if halves else 0x7F800000)
    word = np.dtype(np.uint32 if halves and C <= 2**16 else np.uint64)

    M, n = int(rows.sum()), values.shape[1]
    strip = max(1, min(n, _STRIP_BYTES // max(1, word.itemsize * M)))
    summary = RankSummary(np.empty((C, n), dtype=np.int64), np.empty((C, n)), np.empty(n), np.empty((C, n)))
    words, spare = np.empty((strip, M), dtype=word), np.empty(M, dtype=word)
    for left in range(0, n, strip):
        block = words[: n - left]
        nan = pack_words(bits, step, left, labels, infinity, block)
        rank_words(block, spare, bits.itemsize, nan, infinity, left, *summary)
    return summary


def auroc(summary: RankSummary) -> Floats:
    """Return how well each neuron's activation separates a concept's rows from all others.

    Parameters
    ----------
    summary : RankSummary
        Of C concepts and n neurons.

    Returns
    -------
    ndarray of float64, shape (C, n)
        Area under the ROC curve, in [0, 1]: the chance that a row of the concept has the larger activation than a row
        of another, equal ones counted half. NaN for a concept that has none or all of the neuron's rows.

    Notes
    -----
    Mann & Whitney (1947), *Annals of Mathematical Statistics* 18, 50-60; Hanley & McNeil (1982), *Radiology* 143,
    29-36.
    """
    m = summary.counts.astype(np.float64)
    others = m.sum(axis=0) - m
    with np.errstate(invalid="ignore", divide="ignore"):
        area: Floats = (summary.rank_sums - m * (m + 1) / 2) / (m * others)
    return area


def spearman_with_scores(summary: RankSummary, scores: Floats) -> Floats:
    """Correlate the ranks of each neuron's activation with those of the attribute scores of the rows' concepts.

    Parameters
    ----------
    summary : RankSummary
        Of C concepts and n neurons.
    scores : ndarray of float64, shape (C, A)
        Score by concept and attribute; that of a concept in which the neuron has no value does not matter.

    Returns
    -------
    ndarray of float64, shape (n, A)
        Spearman's rho over rows, in [-1, 1]: Pearson's correlation of the ranks, of which equal activations, and equal
        scores, share the mean. NaN where the neuron or the attribute is constant over the rows in which the neuron has
        a value, or the attribute has a NaN.

    Notes
    -----
    Spearman (1904), *American Journal of Psychology* 15, 72-101; ties as in Kendall (1945), *Biometrika* 33, 239-251.
    Rows of a concept share one score, so the rank sums say all that is needed of the activations.
    """
    rho = np.empty((summary.rank_sums.shape[1], scores.shape[1]))
    for neurons, counts in equal_columns(summary.counts):
        used = counts > 0
        m = counts[used, np.newaxis].astype(np.float64)
        M = m.sum()
        score = _score_ranks(scores[used], m) - (M + 1) / 2
        deviation = summary.rank_sums[:, neurons][used] - m * (M + 1) / 2
        products = np.zeros((deviation.shape[1], scores.shape[1]))
        for of_neurons, of_scores in zip(deviation, score, strict=True):
            products += np.multiply.outer(of_neurons, of_scores)
        # As `rank_words` computes it, so that a constant neuron comes to 0 exactly.
        spread = (M * (M * M - 1.0) - summary.tie_sum[neurons]) / 12
        score_spread = np.sum(m * score * score, axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            rho[neurons] = products / np.multiply.outer(np.sqrt(spread), np.sqrt(score_spread))
    return np.clip(rho, -1.0, 1.0)


def _score_ranks(scores: Floats, m: Floats) -> Floats:
    """Return the rank of each concept's score over rows, NaN for an attribute that has a NaN."""
    ranks = np.empty(scores.shape)
    for a, score in enumerate(scores.T):
        smaller = np.sum(m * (score[:, np.newaxis] < score), axis=0)
        equal = np.sum(m * (score[:, np.newaxis] == score), axis=0)
        ranks[:, a] = smaller + (equal + 1) / 2
    ranks[:, np.isnan(scores).any(axis=0)] = np.nan
    return ranks


def _float32_in_the_same_order(values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Replace float64 by float32 with the same order and ties."""
    ordered = np.empty(values.shape, dtype=np.float32)
    for k in range(values.shape[1]):
        column = values[:, k]
        ranks = np.unique(column, return_inverse=True)[1]
        # The bits of positive floats are ordered as integers are.
        ordered[:, k] = np.where(np.isnan(column), np.float32(np.nan), ranks.astype(np.int32).view(np.float32))
    return ordered
