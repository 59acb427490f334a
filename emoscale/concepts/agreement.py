"""Reliability of mean ratings: intraclass correlations of averages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from emoscale.concepts.crossed import fit_crossed
from emoscale.rounding import varies

_CONFIDENCE = 0.95
_ROUNDING = 1e-14
"""Sums of squares below this share of the total are rounding error of 0."""


@dataclass(frozen=True)
class Agreement:
    """An intraclass correlation of means, its F test against 0 and its interval.

    Parameters
    ----------
    kind : str
        ``"ICC(1,k)"`` or ``"ICC(2,k)"``; empty if reliability is not known.
    icc : float
        Share of the variance of the means that is between concepts; at most 1, and below 0 where concepts differ less
        than chance would make them. It and the ends of its interval are NaN where the estimate of the variance of
        the means is not positive, and all is NaN where every value is the same.
    F, df1, df2, p : float
        One-sided test of "concepts do not differ".
    ci_low, ci_high : float
        Two-sided 95 % interval of `icc`.
    """

    kind: str
    icc: float
    F: float
    df1: float
    df2: float
    p: float
    ci_low: float
    ci_high: float


def icc_1k(values: NDArray[np.float64], group: NDArray[np.int64]) -> Agreement:
    """Reliability of the means of concepts whose values come from different sources (one-way random effects).

    Parameters
    ----------
    values : ndarray, float64, shape (n,)
    group : ndarray, int64, shape (n,)
        The concept of each value, 0 to C - 1; every concept has a value and some concept has two.

    Returns
    -------
    Agreement

    Notes
    -----
    Shrout and Fleiss (1979): (MSB - MSW) / MSB, with F = MSB / MSW on C - 1 and n - C degrees of freedom. Concepts may
    have different numbers of values; the interval is then approximate. Li, Su et al. 2024.
    """
    if not varies(values):
        return unknown("ICC(1,k)")
    size = np.bincount(group)
    mean = np.bincount(group, values) / size
    between = (size * (mean - values.mean()) ** 2).sum()
    within = ((values - mean[group]) ** 2).sum()
    df1, df2 = len(size) - 1, len(values) - len(size)
    between, within = _without_rounding(between, within)
    with np.errstate(divide="ignore", invalid="ignore"):
        F = np.divide(between / df1, within / df2)
        low = 1 - stats.f.isf(_tail(), df1, df2) / F
        high = 1 - 1 / (F * stats.f.isf(_tail(), df2, df1))
        icc = 1 - 1 / F
    return Agreement(
        "ICC(1,k)", float(icc), float(F), df1, df2, float(stats.f.sf(F, df1, df2)), float(low), float(high)
    )


def icc_2k(ratings: NDArray[np.float64]) -> Agreement:
    """Reliability of the means over raters who all rated every concept (two-way random effects, absolute agreement).

    Parameters
    ----------
    ratings : ndarray, float64, shape (C, k)
        One row a concept, one column a rater; nothing missing.

    Returns
    -------
    Agreement

    Notes
    -----
    Shrout and Fleiss (1979): (MSC - MSE) / (MSC + (MSR - MSE) / C), with MSC the mean square of concepts, MSR of
    raters, MSE of what remains, and F = MSC / MSE. The interval takes Satterthwaite's degrees of freedom (McGraw and
    Wong 1996, for the average of k raters). Li, Su et al. 2024.
    """
    C, k = ratings.shape
    df1, df2 = C - 1, (C - 1) * (k - 1)
    if not varies(ratings.ravel()):
        return unknown("ICC(2,k)")
    grand = ratings.mean()
    of_concepts, of_raters = ratings.mean(axis=1) - grand, ratings.mean(axis=0) - grand
    error = ((ratings - grand - of_concepts[:, None] - of_raters) ** 2).sum()
    concepts, raters, error = _without_rounding(k * (of_concepts**2).sum(), C * (of_raters**2).sum(), error)
    msc, msr, mse = concepts / df1, raters / (k - 1), error / df2
    with np.errstate(divide="ignore", invalid="ignore"):
        F = np.divide(msc, mse)
    return _of_mean_squares(C, k, (msc, msr, mse), float(F), (df1, k - 1, df2))


def icc_2k_incomplete(ratings: NDArray[np.float64]) -> Agreement:
    """Reliability of the means over raters of whom not all rated every concept (crossed random effects).

    Parameters
    ----------
    ratings : ndarray, float64, shape (C, R)
        One row a concept, one column a rater; NaN where there is no rating.

    Returns
    -------
    Agreement
        ICC(1,k) where raters cannot be told from error, as when everybody rated one concept.

    Notes
    -----
    The same model as `icc_2k`, rating = concept + rater + error, its variances by restricted maximum likelihood (REML):
    of complete ratings that is the analysis of variance. k is the harmonic mean of the concepts' numbers of ratings, F
    that of concepts after raters (Wald's exact test), and the interval that of `icc_2k` with these variances, which is
    approximate. McGraw and Wong (1996); Searle, Casella and McCulloch (1992), *Variance Components*.
    """
    concept, rater = np.nonzero(~np.isnan(ratings))
    values = ratings[concept, rater]
    if not varies(values):
        return unknown("ICC(2,k)")
    found = fit_crossed(values, concept, rater)
    if found is None:
        return icc_1k(values, concept)
    C, k = len(ratings), len(ratings) / (1 / np.bincount(concept)).sum()
    mse = found.error
    squares = (mse + k * found.concept, mse + C * found.rater, mse)
    return _of_mean_squares(C, k, squares, found.F, (found.df_concept, found.raters - 1, found.df_error))


def unknown(kind: str = "") -> Agreement:
    """Return what is known of ratings that show nothing of their reliability."""
    return Agreement(kind, np.nan, np.nan, 0, 0, np.nan, np.nan, np.nan)


def _of_mean_squares(
    C: int, k: float, squares: tuple[float, float, float], F: float, df: tuple[int, int, int]
) -> Agreement:
    msc, msr, mse = squares
    df_concept, df_rater, df_error = df
    freedom = _satterthwaite(C, k, squares, (df_rater, df_error))
    icc, low, high = (
        _share(factor * msc, msr, mse, C)
        for factor in (1, 1 / stats.f.isf(_tail(), df_concept, freedom), stats.f.isf(_tail(), freedom, df_concept))
    )
    p = float(stats.f.sf(F, df_concept, df_error))
    return Agreement("ICC(2,k)", icc, F, df_concept, df_error, p, low, high)


def _share(msc: float, msr: float, mse: float, C: int) -> float:
    variance = msc + (msr - mse) / C
    return float((msc - mse) / variance) if variance > _ROUNDING * (msc + msr + mse) else np.nan


def _satterthwaite(C: int, k: float, squares: tuple[float, float, float], df: tuple[int, int]) -> float:
    msc, msr, mse = squares
    single = (msc - mse) / (msc + (k - 1) * mse + k * (msr - mse) / C)
    # Both weights are C (1 - single) times the textbook's, which divide by 0 where raters agree perfectly.
    a, b = k * single, C * (1 - single) + k * single * (C - 1)
    spread = (a * msr) ** 2 / df[0] + (b * mse) ** 2 / df[1]
    # Without rater or error variance any degrees of freedom give the same interval.
    return float((a * msr + b * mse) ** 2 / spread) if spread else 1.0


def _without_rounding(*sums: float) -> list[np.float64]:
    total = sum(sums)
    return [np.float64(0.0 if value < _ROUNDING * total else value) for value in sums]


def _tail() -> float:
    return (1 - _CONFIDENCE) / 2
