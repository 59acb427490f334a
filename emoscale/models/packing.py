"""Cutting rows into forward passes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def pack(lengths: Sequence[int] | NDArray[np.int64], tokens: int) -> list[NDArray[np.int64]]:
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
    ascending = np.asarray(lengths, dtype=np.int64)[order]
    cuts, start = [], 0
    while start < len(order):
        # More rows than of the shortest kind cannot fit.
        some = ascending[start : start + max(tokens // max(int(ascending[start]), 1), 1)]
        fit = np.searchsorted(np.arange(1, len(some) + 1) * some, tokens, side="right")
        start += max(int(fit), 1)
        cuts.append(start)
    return np.split(order, cuts[:-1]) if cuts else []
