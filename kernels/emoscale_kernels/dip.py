"""Hartigan's dip: how far samples are from having one mode.

The dip is the distance (largest difference) between a sample's distribution function and the nearest one that is
convex up to some point, its mode, and concave from there on (Hartigan & Hartigan, 1985, *Annals of Statistics* 13,
70-84). Their algorithm narrows an interval that holds the mode. Beyond it, the greatest convex minorant on the left and
the least concave majorant on the right are as near as can be.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emoscale_kernels.jit import kernel

Floats = NDArray[np.float64]


def dips(samples: Floats) -> Floats:
    """Return the dip of each row.

    Parameters
    ----------
    samples : ndarray of float64, shape (S, n)
        Finite, n at least 1.

    Returns
    -------
    ndarray of float64, shape (S,)
        1 / 2n for one mode, unless all values are equal (0), to 1/4 for two values that are equally frequent.

    Examples
    --------
    >>> dips(np.array([[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 1.0, 1.0]]))
    array([0.125, 0.25 ])
    """
    found = np.empty(len(samples))
    _dips(np.sort(samples, axis=1), found)
    return found


@kernel
def _dips(ordered: Floats, found: Floats) -> None:
    for s in range(len(ordered)):
        found[s] = _dip(ordered[s])


@kernel
def _dip(x: Floats) -> float:
    n = len(x)
    # The distribution function jumps from `before` to `after` at each of its m points, in units of 1/n: whole numbers.
    points, before, after = np.empty(n), np.empty(n), np.empty(n)
    m = 0
    for i in range(n):
        if i == 0 or x[i] != x[i - 1]:
            points[m], before[m] = x[i], i
            m += 1
        after[m - 1] = i + 1
    left, right, widest = 0, m - 1, 0.0
    while left < right:
        minorant, touches_minorant = _hull(points, before, left, right, 1.0)
        majorant, touches_majorant = _hull(points, after, left, right, -1.0)
        gap, at = 0.0, left
        for i in range(left, right + 1):
            if (touches_minorant[i] or touches_majorant[i]) and majorant[i] - minorant[i] > gap:
                gap, at = majorant[i] - minorant[i], i
        if gap <= widest:
            break
        new_left = new_right = at
        while not touches_minorant[new_left]:
            new_left -= 1
        while not touches_majorant[new_right]:
            new_right += 1
        for i in range(left, new_left):
            widest = max(widest, after[i] - minorant[i])
        for i in range(new_right + 1, right + 1):
            widest = max(widest, majorant[i] - before[i])
        left, right = new_left, new_right
    return widest / 2 / n


@kernel
def _hull(points: Floats, heights: Floats, left: int, right: int, sign: float) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the greatest convex minorant (sign 1) or least concave majorant (-1) from left to right, and its knots."""
    knots = np.empty(right - left + 1, np.int64)
    count = 0
    for i in range(left, right + 1):
        while count > 1:
            a, b = knots[count - 2], knots[count - 1]
            rise = (heights[b] - heights[a]) * (points[i] - points[b])
            if sign * (rise - (heights[i] - heights[b]) * (points[b] - points[a])) < 0:
                break
            count -= 1
        knots[count] = i
        count += 1
    values, touches = np.empty(right + 1), np.zeros(right + 1, np.bool_)
    values[left], touches[left] = heights[left], True
    for k in range(1, count):
        a, b = knots[k - 1], knots[k]
        slope = (heights[b] - heights[a]) / (points[b] - points[a])
        for i in range(a + 1, b):
            values[i] = heights[a] + slope * (points[i] - points[a])
        values[b], touches[b] = heights[b], True
    return values, touches
