"""What permuted labels say: p of values and of counts, corrected for how many there are; the smallest possible p."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emoscale.rounding import ROUNDING, varies
from emoscale.statistics import Floats


def smallest_permutation_p(scores: Floats) -> Floats:
    """Return the smallest p that permuting the concepts of each attribute's RDM can give.

    Parameters
    ----------
    scores : ndarray of float64, shape (C, A)
        Whose absolute differences are the RDMs.

    Returns
    -------
    ndarray of float64, shape (A,)
        The share of the C! orders that leave the RDM as it is: those that exchange concepts of one score, and, where
        the scores are symmetric about their middle, those that reverse them too.

    Examples
    --------
    >>> smallest_permutation_p(np.array([[0.0, 0.1], [0.1, 0.2], [0.4, 0.3]])).round(3)
    array([0.167, 0.333])
    """
    found = []
    for column in np.sort(scores, axis=0).T:
        same = ROUNDING * np.abs(column).max()
        ties = np.diff(np.flatnonzero(np.r_[True, np.diff(column) > same, True]))
        is_symmetric = bool((np.abs(column + column[::-1] - column[0] - column[-1]) <= same).all())
        orders = math.prod(math.factorial(int(count)) for count in ties) * (1 + is_symmetric)
        found.append(min(1.0, orders / math.factorial(len(column))))
    return np.array(found)


@dataclass(frozen=True)
class PermutationTests:
    """Statistics against the same ones under permutations; one element a statistic.

    Attributes
    ----------
    null_mean, null_low, null_high : ndarray, float64
        Mean and middle 95 % under permutation.
    p : ndarray, float64
        Two-sided, or one-sided if that was asked for.
    p_corrected : ndarray, float64
        The same, corrected for all statistics that are tested together.
    """

    null_mean: Floats
    null_low: Floats
    null_high: Floats
    p: Floats
    p_corrected: Floats


def permutation_tests(values: Floats, *, greater: bool = False) -> PermutationTests:
    """Test statistics that were computed under permutations too.

    Parameters
    ----------
    values : ndarray of float64, shape (1 + B, S)
        Of S statistics: first the true ones, then under each of B permutations, the same for all statistics.
    greater : bool
        Test one-sided whether the true value is greater than under permutation.

    Returns
    -------
    PermutationTests
        NaN where the true value is NaN, or without permutations.

    Notes
    -----
    With z = |value - mean| / standard deviation (signed if one-sided), over all 1 + B orders, p is the share of orders
    whose z reaches the true one's, and the corrected p that of orders whose largest z of any statistic does (Westfall &
    Young 1993, *Resampling-Based Multiple Testing*). All orders are treated in the same way, so both are exact if they
    are exchangeable.

    Examples
    --------
    >>> permutation_tests(np.array([[3.0], [-1.0], [0.0], [1.0]])).p
    array([0.25])
    """
    count, statistics = values.shape
    known = ~np.isnan(values[0])
    summary = np.full((5, statistics), np.nan)
    if count > 1 and known.any():
        chosen = values[:, known]
        spread = chosen.std(axis=0)
        z = (chosen - chosen.mean(axis=0)) / np.where(varies(chosen), spread, np.inf)
        z = z if greater else np.abs(z)
        reached = z[0] - ROUNDING * np.abs(z[0])
        summary[0, known] = chosen[1:].mean(axis=0)
        summary[1:3, known] = np.quantile(chosen[1:], (0.025, 0.975), axis=0)
        summary[3, known] = (z >= reached).mean(axis=0)
        summary[4, known] = (z.max(axis=1)[:, None] >= reached).mean(axis=0)
    return PermutationTests(*summary)


@dataclass(frozen=True)
class CountTests:
    """Counts against the same ones under permutations; one element a count.

    Attributes
    ----------
    null_mean, null_low, null_high, null_largest : ndarray, float64
        Mean, middle 95 % and largest under permutation.
    p : ndarray, float64
        One-sided: more than under permutation.
    p_corrected : ndarray, float64
        The same, corrected for all counts that are tested together.
    """

    null_mean: Floats
    null_low: Floats
    null_high: Floats
    null_largest: Floats
    p: Floats
    p_corrected: Floats


def count_tests(counts: NDArray[np.integer]) -> CountTests:
    """Test counts that were made under permutations too.

    Parameters
    ----------
    counts : ndarray of int, shape (1 + B, S)
        Of S kinds: first the true ones, then under each of B permutations, the same for all kinds.

    Returns
    -------
    CountTests
        NaN where nothing was counted in any order, or without permutations.

    Notes
    -----
    Over all 1 + B orders, p is the share of orders whose count reaches the true one's, and the corrected p that of
    orders whose largest count of any kind does (Westfall & Young 1993, *Resampling-Based Multiple Testing*). All orders
    are treated in the same way, so both are exact if they are exchangeable; neither is less than 1 / (1 + B).

    Examples
    --------
    >>> found = count_tests(np.array([[5, 1], [0, 2], [1, 0], [0, 3]]))
    >>> found.p, found.p_corrected
    (array([0.25, 0.75]), array([0.25, 1.  ]))
    """
    known = counts.any(axis=0)
    summary = np.full((6, counts.shape[1]), np.nan)
    if len(counts) > 1 and known.any():
        true, null = counts[0, known], counts[1:, known]
        summary[0, known] = null.mean(axis=0)
        summary[1:3, known] = np.quantile(null, (0.025, 0.975), axis=0)
        summary[3, known] = null.max(axis=0)
        summary[4, known] = (counts[:, known] >= true).mean(axis=0)
        summary[5, known] = (counts.max(axis=1)[:, None] >= true).mean(axis=0)
    return CountTests(*summary)
