"""One-sample t-tests of many groups at once, intervals of correlations, and the correction for many tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

_NO_SPREAD = 1e-12
"""Standard deviations of accuracies (0..1) or Fisher z below this are rounding error of equal values."""


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

    t: NDArray[np.float64]
    df: NDArray[np.int64]
    p_less: NDArray[np.float64]
    p_two_sided: NDArray[np.float64]
    ci_low: NDArray[np.float64]
    ci_high: NDArray[np.float64]
    effect_size: NDArray[np.float64]


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
    """
    size, average = np.asarray(n, np.int64), np.asarray(mean, np.float64)
    spread = np.asarray(sd, np.float64)
    spread = np.where((size > 1) & (spread > _NO_SPREAD), spread, np.nan)
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


def correlation_interval(r: ArrayLike, n: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
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
    known = (np.abs(values) < 1) & (size > 3)
    z = np.arctanh(np.where(known, values, np.nan))
    half = stats.norm.ppf(0.975) / np.sqrt(np.maximum(size - 3, 1))
    return np.tanh(z - half), np.tanh(z + half)


def q_values(p: ArrayLike) -> NDArray[np.float64]:
    """Correct p for the number of tests: q = p * M / rank(p) (Li, Su et al. 2024, searchlight analysis).

    Parameters
    ----------
    p : array_like of float, shape (M,)
        NaN where there was no test; such entries do not count in M.

    Returns
    -------
    ndarray, float64, shape (M,)
        With average ranks and, as published, without the step that makes Benjamini-Hochberg's q monotone; so a q may
        exceed 1.
    """
    values = np.asarray(p, np.float64)
    tested = ~np.isnan(values)
    q = np.full(values.shape, np.nan)
    q[tested] = values[tested] * tested.sum() / stats.rankdata(values[tested])
    return q
