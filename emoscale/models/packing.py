"""Cutting rows into forward passes, and filling the rows of a pass up to one length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def pack(
    lengths: Sequence[int] | NDArray[np.int64], tokens: int, *, one_length: bool = False
) -> list[NDArray[np.int64]]:
    """Cut rows into passes of rows of similar length, to pad little.

    Parameters
    ----------
    lengths : sequence of int
        Tokens of every row.
    tokens : int
        The most tokens of one pass, padding included. A row that is longer has a pass of its own.
    one_length : bool
        Whether rows of different lengths must not share a pass, see `ModelOutline.padding_leaks`.

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
        if one_length:
            some = some[some == some[0]]
        fit = np.searchsorted(np.arange(1, len(some) + 1) * some, tokens, side="right")
        start += max(int(fit), 1)
        cuts.append(start)
    return np.split(order, cuts[:-1]) if cuts else []


def pad_rows(rows: Sequence[Sequence[int] | NDArray[np.integer]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Fill rows of tokens up to the longest, on the right.

    Parameters
    ----------
    rows : sequence of sequence of int
        Token ids.
    pad_id : int
        Id of the padding, see `ModelOutline.pad_id`.

    Returns
    -------
    ids, attention : Tensor
        Shape (rows, tokens), int64, on the CPU; attention is 1 for tokens and 0 for padding.

    Examples
    --------
    >>> ids, attention = pad_rows([[5, 6], [7]], pad_id=0)
    >>> ids.tolist(), attention.tolist()
    ([[5, 6], [7, 0]], [[1, 1], [1, 0]])
    """
    lengths = torch.tensor([len(row) for row in rows])
    width = int(lengths.max())
    ids = torch.full((len(rows), width), pad_id)
    for place, row in zip(ids, rows, strict=True):
        place[: len(row)] = torch.as_tensor(row, dtype=torch.int64)
    return ids, (torch.arange(width)[None] < lengths[:, None]).long()
