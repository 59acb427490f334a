"""Statistics that several stages share: correction for many tests, ranks, t-tests of means, correlations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.stats import false_discovery_control, rankdata

from emoscale.rounding import OUTCOME_DIGITS, ROUNDING, varies

Floats = NDArray[np.float64]

_NO_SPREAD = 10.0**-OUTCOME_DIGITS

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
