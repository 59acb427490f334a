"""Items of which a cheap value is always known and a better one only for a random share: the difference estimator."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emoscale.statistics import Floats


def corrected(cheap: Floats, better: Floats, group: NDArray[np.int64]) -> Floats:
    """Correct cheap values such that their means are unbiased for those of the better ones.

    Apply it to outcomes: an outcome of corrected scores that is not linear in them (the highest of them, say) would not
    be corrected.

    Parameters
    ----------
    cheap : ndarray of float64, shape (items, masks, x)
        Known of all items.
    better : ndarray of float64, shape (items, masks, x)
        NaN where it is not known. Of the n items of a group, the m known ones must be a simple random sample, drawn
        independently of the other groups.
    group : ndarray of int64, shape (items,)
        Number of each item's group, from 0.

    Returns
    -------
    ndarray of float64, shape (items, masks, x)
        `better` wherever all items of a group are known.

    Raises
    ------
    ValueError
        If nothing is known of a group under some mask.

    Notes
    -----
    With d = better - cheap, and b the mean of d over the known items of all other groups (0 if there are none), an
    unknown item gets cheap + b, a known one cheap + b + n / m (d - b). For any b

    - the mean over a group is its cheap mean plus the mean of d over its known items: the difference estimator (Cochran
      1977, *Sampling Techniques*, section 7.2; Särndal, Swensson and Wretman 1992, section 6.3; of two levels of
      computation Giles 2008, *Operations Research* 56, 607-617);
    - each item's expectation over the samples is its better value, as b depends on other groups' samples alone;
    - the ordinary variance over items, divided by their number, is that of the mean with both of its sources, the items
      and the sample of known ones, plus at most (n / m - 1) (D - b)² / (n - 1), D the mean of d over the group's items:
      b keeps a difference that all groups share, which the mean corrects, from widening the interval.
    """
    counts = np.bincount(group)
    is_known = ~np.isnan(better)
    known = _by_group(is_known.astype(np.float64), group)
    if (known[counts > 0] == 0).any():
        raise ValueError("of some group no better value is known")
    difference = np.where(is_known, better - cheap, 0.0)
    totals = _by_group(difference, group)
    others = known.sum(axis=0) - known
    shared = ((totals.sum(axis=0) - totals) / np.maximum(others, 1.0))[group]
    weight = (counts[:, None, None] / np.maximum(known, 1.0))[group]
    values = cheap + shared + np.where(is_known, weight * (difference - shared), 0.0)
    return np.asarray(np.where((counts[:, None, None] == known)[group], better, values))


def _by_group(values: Floats, group: NDArray[np.int64]) -> Floats:
    totals = np.zeros((group.max() + 1, *values.shape[1:]))
    np.add.at(totals, group, values)
    return totals
