"""Whether concepts fall into those that need an attribute's neurons and those that do not: Hartigan's dip test."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from emoscale.rounding import ROUNDING
from emoscale.statistics import Floats
from emoscale_kernels import dips

_FEWEST = 4
"""Of fewer values every sample could come from one mode."""

_DRAWS = 9_999
_NUMBERS_AT_ONCE = 1_000_000


def dip_test(values: ArrayLike) -> tuple[float, float]:
    """Test whether values come from a distribution with one mode.

    Parameters
    ----------
    values : array_like of float, shape (n,)

    Returns
    -------
    dip : float
        0 to .25, the distance from the nearest distribution with one mode.
    p : float
        The share of samples of the uniform distribution, with the given one, whose dip is as large: of 9,999 samples
        that are the same in every call. Small: more than one mode. Both are NaN of fewer than 4 values.

    Notes
    -----
    Of distributions with one mode the uniform is the hardest to tell from two (Hartigan & Hartigan, 1985, *Annals of
    Statistics* 13, 70-84).

    Examples
    --------
    >>> dip_test([1, 1.1, 1.2, 1.3, 1.4, 9, 9.1, 9.2, 9.3, 9.4])
    (0.2375, 0.0001)
    """
    samples = np.asarray(values, dtype=np.float64)[None]
    n = samples.size
    if n < _FEWEST:
        return np.nan, np.nan
    dip = float(dips(samples)[0])
    as_large = np.count_nonzero(_uniform_dips(n) >= dip * (1 - ROUNDING))
    return dip, (1 + int(as_large)) / (1 + _DRAWS)


@cache
def _uniform_dips(n: int) -> Floats:
    generator = np.random.default_rng(0)
    step = max(1, _NUMBERS_AT_ONCE // n)
    return np.concatenate([dips(generator.random((min(step, _DRAWS - i), n))) for i in range(0, _DRAWS, step)])
