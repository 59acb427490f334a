"""From p to q, and from values to ranks: what is done over all neurons at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]


def q_values(p: Floats) -> Floats:
    """Correct for the number of tests as the published study did.

    Parameters
    ----------
    p : ndarray of float64, any shape
        NaN where there was no test.

    Returns
    -------
    ndarray of float64, same shape
        ``p * M / rank(p)`` with M the number of tests that are not NaN and average ranks; NaN where `p` is.

    Notes
    -----
    Li, Su et al. 2024, searchlight analysis. It is Benjamini and Hochberg's ratio without their monotone step and
    without a ceiling at 1, so q can fall where p rises, and can exceed 1.
    """
    q = np.full(p.shape, np.nan)
    tested = ~np.isnan(p)
    q[tested] = p[tested] * np.count_nonzero(tested) / rankdata(p[tested])
    return q


def average_ranks(values: Floats) -> Floats:
    """Rank the neurons of each attribute from the largest value, 1, to the smallest.

    Parameters
    ----------
    values : ndarray of float64, shape (N, A)

    Returns
    -------
    ndarray of float64, shape (N, A)
        Equal values share the average of their ranks; NaN share the last ones (Li, Su et al. 2024).
    """
    return np.asarray(rankdata(np.where(np.isnan(values), np.inf, -values), axis=0), dtype=np.float64)
