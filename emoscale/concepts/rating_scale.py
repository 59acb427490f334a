"""The scale that ratings were given on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Scale = tuple[float, float]

_USUAL: tuple[Scale, ...] = ((0, 1), (1, 5), (1, 7), (1, 9), (1, 10), (0, 10), (-3, 3), (-4, 4), (0, 100), (-100, 100))
_MOST = 0.95
"""Share of ratings that fits a scale when the others are mistakes, or codes for no answer."""
_FAR = 2
"""Lengths of the scale from which on a value is no rating."""
_POINTS = 4
"""Length of a scale from which on values that are far from it are mistakes."""
_ANOTHER = 0.25
"""Share of ratings outside a scale that shows another scale, not mistakes."""


def fitting_scale(values: NDArray[np.float64]) -> Scale | None:
    """Return the usual scale that ratings seem to have been given on.

    Parameters
    ----------
    values : ndarray, float64, shape (n,)
        NaN where there is none.

    Returns
    -------
    tuple of float, or None
        The first of the usual scales that holds all of them, or all but a few that are far from it; None without one.

    Examples
    --------
    >>> fitting_scale(np.array([1.0, 3.0, 8.0]))
    (1, 9)
    """
    given = values[~np.isnan(values)]
    if not len(given):
        return None
    for low, high in _USUAL:
        inside = (given >= low) & (given <= high)
        far = (np.maximum(low - given, given - high) > _FAR * (high - low)) & (high - low >= _POINTS)
        if inside.mean() >= _MOST and (inside | far).all():
            return low, high
    return None


def scale_problems(path: Path, scale: Scale, values: Sequence[tuple[int, str, float]]) -> list[str]:
    """Return what lies outside a scale, one line each.

    Parameters
    ----------
    path : Path
    scale : tuple of float
    values : sequence of (int, str, float)
        Line, column, rating or NaN.
    """
    low, high = scale
    outside = [(line, column, value) for line, column, value in values if value < low or value > high]
    given = [value for _, _, value in values if not np.isnan(value)]
    if len(outside) > _ANOTHER * len(given) and min(given) < max(given) and len(outside) > 1:
        return [
            f"{path}: {len(outside)} of {len(given)} ratings lie outside the scale {low:g} to {high:g}, all run from "
            f"{min(given):g} to {max(given):g}; give the right scale"
        ]
    return [
        f"{path}, line {line}, column {column!r}: {value:g} lies outside the scale {low:g} to {high:g}; correct the "
        "cell, leave it empty if it means no answer, or give the right scale"
        for line, column, value in outside
    ]
