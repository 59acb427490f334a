"""Statistics that several stages share: correction for many tests, ranks, t-tests of means, correlations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.stats import false_discovery_control, rankdata

from emoscale.rounding import ROUNDING, varies

Floats = NDArray[np.float64]

_NO_SPREAD = 1e-12
"""Up to here a standard deviation of outcomes is what rounding leaves where they cancel: near 0 a share of their own
size says nothing."""

_PERFECT = 1 - 1e-12
"""Correlations from here on are perfect but for rounding: their Fisher z is infinite."""


_FEWEST_TO_CORRELATE = 3
"""Two points always correlate perfectly."""


def published_q(p: ArrayLike) -> Floats:
    """Correct for the number of tests as the published study did, ``q = p * M / rank(p)``.

    Parameters
    ----------
    p : array_like of float, any shape
        NaN where there was no test.

    Returns
    -------
    ndarray of float64, same shape
        M is the number of tests that are not NaN, ranks are average ranks; NaN where `p` is.

    Notes
    -----
    Li, Su et al. 2024, searchlight analysis. It is Benjamini and Hochberg's ratio without their monotone step and
    without a ceiling at 1: q can fall where p rises, and can exceed 1. Not a valid control of false discoveries; see
    `benjamini_hochberg`.

    Examples
    --------
    >>> published_q([0.02, 0.021, 0.9, 0.9]).round(3)
    array([0.08 , 0.042, 1.029, 1.029])
    """
    values = np.asarray(p, dtype=np.float64)
    q = np.full(values.shape, np.nan)
    tested = ~np.isnan(values)
    q[tested] = values[tested] * np.count_nonzero(tested) / rankdata(values[tested])
    return q


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """Adjust p to control the false discovery rate of all tests together.

    Parameters
    ----------
    p : array_like of float, any shape
        NaN where there was no test.

    Returns
    -------
    ndarray of float64, same shape
        NaN where `p` is.

    Notes
    -----
    Benjamini & Hochberg (1995), *Journal of the Royal Statistical Society B* 57, 289-300.

    Examples
    --------
    >>> benjamini_hochberg([0.02, 0.021, 0.9, float("nan")]).round(4)
    array([0.0315, 0.0315, 0.9   ,    nan])
    """
    values = np.asarray(p, dtype=np.float64)
    q = np.full(values.shape, np.nan)
    tested = ~np.isnan(values)
    if tested.any():
        q[tested] = false_discovery_control(values[tested])
    return q


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


def average_ranks(values: Floats) -> Floats:
    """Rank the rows of each column from the largest value, 1, to the smallest.

    Parameters
    ----------
    values : ndarray of float64, shape (N, A)

    Returns
    -------
    ndarray of float64, shape (N, A)
        Equal values share the average of their ranks; NaN share the last ones (Li, Su et al. 2024).
    """
    return np.asarray(rankdata(np.where(np.isnan(values), np.inf, -values), axis=0), dtype=np.float64)


@dataclass(frozen=True)
class MeanTest:
    """t-tests of means against 0, one element a group.

    Attributes
    ----------
    t : ndarray, float64
    df : ndarray, int64
        n - 1.
    p_less, p_two_sided : ndarray, float64
        P(T <= t) and P(|T| >= |t|) if the mean were 0.
    ci_low, ci_high : ndarray, float64
        Two-sided 95 % t interval of the mean.
    effect_size : ndarray, float64
        Mean in standard deviations (Cohen's d of paired differences).
    """

    t: Floats
    df: NDArray[np.int64]
    p_less: Floats
    p_two_sided: Floats
    ci_low: Floats
    ci_high: Floats
    effect_size: Floats


def mean_tests(n: ArrayLike, mean: ArrayLike, sd: ArrayLike) -> MeanTest:
    """Test means against 0 from their groups' sizes, means and standard deviations.

    Parameters
    ----------
    n : array_like of int, shape (G,)
    mean : array_like of float, shape (G,)
    sd : array_like of float, shape (G,)
        With n - 1 in the denominator.

    Returns
    -------
    MeanTest
        All but `df` is NaN where a group has a single value or no spread: there is nothing to measure chance against.

    Examples
    --------
    >>> mean_tests([4], [0.5], [1.0]).t
    array([1.])
    """
    size, average = np.asarray(n, np.int64), np.asarray(mean, np.float64)
    spread = np.asarray(sd, np.float64)
    spread = np.where((size > 1) & (spread > np.maximum(ROUNDING * np.abs(average), _NO_SPREAD)), spread, np.nan)
    error = spread / np.sqrt(size)
    t = average / error
    df = size - 1
    half = stats.t.ppf(0.975, np.maximum(df, 1)) * error
    return MeanTest(
        t=t,
        df=df,
        p_less=np.asarray(stats.t.cdf(t, np.maximum(df, 1))),
        p_two_sided=np.asarray(2 * stats.t.sf(np.abs(t), np.maximum(df, 1))),
        ci_low=average - half,
        ci_high=average + half,
        effect_size=average / spread,
    )


def correlation(x: Floats, y: Floats) -> float:
    """Correlate two vectors (Pearson); NaN with fewer than 3 values or where either does not vary."""
    if len(x) < _FEWEST_TO_CORRELATE or not (varies(x) and varies(y)):
        return np.nan
    return float(np.corrcoef(x, y)[0, 1])


def row_correlations(rows: Floats, values: Floats) -> Floats:
    """Correlate each row with the same values (Pearson).

    Parameters
    ----------
    rows : ndarray of float64, shape (G, n)
    values : ndarray of float64, shape (n,)

    Returns
    -------
    ndarray of float64, shape (G,)
        NaN with fewer than 3 values or where either does not vary.
    """
    r = np.full(len(rows), np.nan)
    if len(values) >= _FEWEST_TO_CORRELATE:
        x = values - values.mean()
        y = rows - rows.mean(axis=1, keepdims=True)
        norms = np.linalg.norm(y, axis=1) * np.linalg.norm(x)
        r = np.divide(y @ x, norms, out=r, where=varies(rows.T) & varies(values))
    return np.asarray(np.clip(r, -1, 1))


def column_correlations(x: Floats, y: Floats) -> Floats:
    """Correlate every column of one table with every column of another (Pearson).

    Parameters
    ----------
    x : ndarray of float64, shape (..., n, a)
    y : ndarray of float64, shape (..., n, A)

    Returns
    -------
    ndarray of float64, shape (..., a, A)
        NaN with fewer than 3 rows or where a column does not vary. Not clipped: rounding can exceed 1.
    """
    if x.shape[-2] < _FEWEST_TO_CORRELATE:
        return np.full((*x.shape[:-2], x.shape[-1], y.shape[-1]), np.nan)
    return np.asarray(np.swapaxes(unit_columns(x), -1, -2) @ unit_columns(y))


def unit_columns(x: Floats) -> Floats:
    """Center the columns of x, shape (..., n, a), and scale them to length 1; NaN where a column does not vary."""
    centered = x - x.mean(axis=-2, keepdims=True)
    norm = np.linalg.norm(centered, axis=-2, keepdims=True)
    is_spread = norm > ROUNDING * np.abs(x).max(axis=-2, keepdims=True)
    return np.asarray(centered / np.where(is_spread, norm, np.nan))


def fisher_z(r: ArrayLike) -> Floats:
    """Transform correlations to Fisher's z, atanh(r); NaN where r is NaN or perfect, so that z would be infinite."""
    values = np.asarray(r, np.float64)
    return np.asarray(np.arctanh(np.where(np.abs(values) < _PERFECT, values, np.nan)))


def correlation_interval(r: ArrayLike, n: ArrayLike) -> tuple[Floats, Floats]:
    """Compute two-sided 95 % intervals of Pearson correlations: tanh(atanh(r) ± 1.96 / sqrt(n - 3)).

    Parameters
    ----------
    r : array_like of float, shape (G,)
    n : array_like of int
        Observations of each.

    Returns
    -------
    low, high : ndarray, float64, shape (G,)
        NaN with fewer than 4 observations or where r is NaN, 1 or -1.

    Notes
    -----
    Fisher (1921), *Metron* 1, 3-32.
    """
    values, size = np.broadcast_arrays(np.asarray(r, np.float64), np.asarray(n, np.int64))
    z = np.where(size > 3, fisher_z(values), np.nan)
    half = stats.norm.ppf(0.975) / np.sqrt(np.maximum(size - 3, 1))
    return np.tanh(z - half), np.tanh(z + half)


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
