"""The mean effect of all masks that a control can draw, from few draws and the known mean of their estimates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from emoscale.statistics import Floats

_ROUNDING = 1e-12
"""Spreads smaller than this share of the values are rounding error of equal values."""


class Mean(NamedTuple):
    """An estimated mean, its standard error, and the degrees of freedom of that; NaN where there are none."""

    mean: float
    se: float
    df: int

    @property
    def interval(self) -> tuple[float, float]:
        """Its two-sided 95 % t interval."""
        half = stats.t.ppf(0.975, self.df) * self.se if self.df > 0 else np.nan
        return self.mean - half, self.mean + half


class Adjusted(NamedTuple):
    """The mean by draws alone, and by regression on a covariate.

    Attributes
    ----------
    plain, adjusted : Mean
    beta : float
        Slope of the outcome by the covariate.
    rho : float
        Their correlation, each about its group's mean.
    """

    plain: Mean
    adjusted: Mean
    beta: float
    rho: float


def regression_estimate(y: Floats, x: Floats, group: NDArray[np.integer], expected: Floats) -> Adjusted:
    """Estimate the mean over groups of an outcome's expectation, with a covariate whose expectation is known.

    This is the control variate of Monte Carlo methods and the regression estimator of sampling: mean(y) - beta (mean(x)
    - E x), beta by least squares within groups. Its standard error is that of the regression's value at E x, with a
    degree of freedom for beta and the uncertainty of beta in it: given y is linear in x with normal errors, the t
    interval holds exactly, however few the draws.

    Parameters
    ----------
    y, x : ndarray of float64, shape (draws,)
    group : ndarray of int, shape (draws,)
        From 0; each has draws.
    expected : ndarray of float64, shape (groups,)
        Expectation of x in each group.

    Notes
    -----
    Cochran (1977), *Sampling Techniques*, chapter 7; Lavenberg & Welch (1981), *Management Science* 27, 322-335.
    """
    counts = np.bincount(group)
    x_means, y_means = (np.bincount(group, values) / counts for values in (x, y))
    dx, dy = x - x_means[group], y - y_means[group]
    sxx, sxy, syy = float(dx @ dx), float(dx @ dy), float(dy @ dy)
    df, share, mean = len(y) - len(counts), float((1 / counts).mean() / len(counts)), float(y_means.mean())
    plain = Mean(mean, float(np.sqrt(syy / df * share)) if df > 0 else np.nan, df)
    if df < 2 or np.sqrt(sxx) <= _ROUNDING * np.abs(x).max():
        return Adjusted(plain, Mean(np.nan, np.nan, max(df - 1, 0)), np.nan, np.nan)
    beta, off = sxy / sxx, float((x_means - expected).mean())
    left = max(syy - beta * sxy, 0.0)
    adjusted = Mean(mean - beta * off, float(np.sqrt(left / (df - 1) * (share + off**2 / sxx))), df - 1)
    return Adjusted(plain, adjusted, beta, sxy / np.sqrt(sxx * syy) if syy > 0 else np.nan)


def control_variates(effects: pd.DataFrame, expected: pd.DataFrame) -> pd.DataFrame:
    """Estimate the mean effect of all masks that each control can draw, with the estimated effects as control variate.

    Parameters
    ----------
    effects : DataFrame
        From `emoscale.analysis.mask_effects.mask_effects`.
    expected : DataFrame
        ``control``, ``k``, ``attribute`` and ``expected``, the mean estimated effect over all masks that can be drawn.

    Returns
    -------
    DataFrame
        One row a control and k. Masks that were drawn for attributes are compared with others of the same attribute,
        and all means are over attributes.

        - ``control``, ``k``, ``masks``: how many were drawn;
        - ``exact``, ``se``, ``ci_low``, ``ci_high``: mean effect over the drawn masks, in nats, its standard error and
          95 % t interval over draws;
        - ``estimated``, ``expected``: mean estimated effect over the drawn masks, and over all that can be drawn;
        - ``beta``, ``rho``: slope and correlation of the exact by the estimated effect over draws;
        - ``adjusted``, ``adjusted_se``, ``adjusted_low``, ``adjusted_high``: the regression estimate, see
          `regression_estimate`; NaN with fewer than three draws of one attribute, or fewer than two more masks than
          attributes, and where all estimates are equal;
        - ``variance_ratio``: ``adjusted_se`` squared by ``se`` squared.
    """
    joined = expected.merge(effects.rename(columns={"kind": "control"}), on=["control", "k", "attribute"])
    rows = [
        {"control": control, "k": k, "masks": len(masks), **_row(masks)}
        for (control, k), masks in joined.groupby(["control", "k"], sort=False)
    ]
    return pd.DataFrame(rows)


def _row(masks: pd.DataFrame) -> dict[str, float]:
    of_group = masks.groupby("attribute", sort=False)
    known = of_group["expected"].first().to_numpy()
    y, x = masks["exact"].to_numpy(), masks["estimated"].to_numpy()
    plain, adjusted, beta, rho = regression_estimate(y, x, np.asarray(of_group.ngroup(), np.int64), known)
    (low, high), (adjusted_low, adjusted_high) = plain.interval, adjusted.interval
    return {
        "exact": plain.mean,
        "se": plain.se,
        "ci_low": low,
        "ci_high": high,
        "estimated": of_group["estimated"].mean().mean(),
        "expected": known.mean(),
        "beta": beta,
        "rho": rho,
        "adjusted": adjusted.mean,
        "adjusted_se": adjusted.se,
        "adjusted_low": adjusted_low,
        "adjusted_high": adjusted_high,
        "variance_ratio": (adjusted.se / plain.se) ** 2 if plain.se > 0 else np.nan,
    }
