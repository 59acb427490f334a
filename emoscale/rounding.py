"""Whether numbers differ by more than rounding. It imports little: reading a config asks it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

ROUNDING = 1e-9
"""Values that differ by no more than this share are equal but for rounding."""

OUTCOME_DIGITS = 12
"""Decimals of an outcome (accuracy, log-odds in nats). Beyond them is what rounding leaves where outcomes cancel: near
0 a share of their own size says nothing."""


def varies(values: ArrayLike) -> Any:
    """Say which columns hold values that differ by more than rounding.

    Parameters
    ----------
    values : array_like of float, shape (n, ...)
        NaN are ignored.

    Returns
    -------
    ndarray of bool, shape (...), or bool
        Whether largest and smallest differ by more than 1e-9 of the largest size; False for a column of NaN.

    Examples
    --------
    >>> varies([[0.3, 1.0], [0.1 + 0.2, 2.0]])
    array([False,  True])
    """
    array = np.asarray(values, dtype=np.float64)
    given = ~np.isnan(array)
    high, low = (fold(array, axis=0, where=given, initial=end) for fold, end in ((np.max, -np.inf), (np.min, np.inf)))
    return given.any(axis=0) & (high - low > ROUNDING * np.maximum(np.abs(high), np.abs(low)))
