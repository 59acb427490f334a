"""Cutting rows into forward passes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def passes(lengths: Sequence[int], tokens: int) -> list[NDArray[np.int64]]:
    """Cut rows into passes of rows of like length, so that little is padded.

    Parameters
    ----------
    lengths : sequence of int
        Tokens of every row.
    tokens : int
        The most tokens of one pass, padding included. A row that is longer has a pass of its own.

    Returns
    -------
    list of ndarray of int64
        Numbers of the rows of every pass, from the shortest rows to the longest; rows of one length in their order.
    """
    order = np.argsort(np.asarray(lengths, dtype=np.int64), kind="stable")
    cuts, start = [], 0
    for place, row in enumerate(order):
        if place > start and (place - start + 1) * lengths[row] > tokens:
            cuts.append(place)
            start = place
    return np.split(order, cuts) if len(order) else []
