"""Statistics that several stages share: correction for many tests, and ranks."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import false_discovery_control, rankdata

Floats = NDArray[np.float64]


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
