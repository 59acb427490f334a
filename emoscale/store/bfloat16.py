"""bfloat16, which NumPy does not have: the upper half of a float32's bits, kept as uint16."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

NAN_BITS = 0x7FC0
"""The bits in which every NaN is written, so that equal values give equal files."""
_STRIP_VALUES = 2**16
"""Rounded together, so that intermediate results stay in the cache."""


def bfloat16_bits(values: NDArray[np.floating[Any]]) -> NDArray[np.uint16]:
    """Round to the nearest bfloat16, ties to even.

    Parameters
    ----------
    values : ndarray of float
        At least one-dimensional; types other than float32 are rounded to that first. Any strides.

    Returns
    -------
    ndarray of uint16, same shape
        Values from 3.39e38 on, half a step over the largest bfloat16, become infinite. NaN stays NaN.
    """
    bits = np.empty(values.shape, dtype=np.uint16)
    rows = max(1, _STRIP_VALUES // max(1, math.prod(values.shape[1:])))
    scratch = np.empty((min(rows, len(values)), *values.shape[1:]), dtype=np.uint32)
    for first in range(0, len(values), rows):
        strip = values[first : first + rows].astype(np.float32, copy=False)
        exact, sums = strip.view(np.uint32), scratch[: len(strip)]
        np.right_shift(exact, 16, out=sums)
        sums &= 1
        sums += 0x7FFF
        sums += exact
        np.right_shift(sums, 16, out=sums)
        bits[first : first + rows] = sums
        if (nan := np.isnan(strip)).any():
            np.copyto(bits[first : first + rows], NAN_BITS, where=nan)
    return bits


def from_bfloat16_bits(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return the numbers that bfloat16 bits represent, exactly.

    Parameters
    ----------
    bits : ndarray of uint16

    Returns
    -------
    ndarray of float32, same shape
    """
    return np.left_shift(bits, 16, dtype=np.uint32).view(np.float32)
