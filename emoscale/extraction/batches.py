"""Which inputs of a row block share a forward pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PADDING = 0.1
"""The largest share of a batch that is padding."""


@dataclass(frozen=True)
class Batch:
    """Inputs of one forward pass, and what is read of them.

    Attributes
    ----------
    inputs : ndarray of int64, shape (inputs,)
        Their numbers.
    first, stop : ndarray of int64, shape (inputs,)
        The first token that is read of each, and the one after the last.
    rows : ndarray of int64, shape (rows,)
        The rows of the store that are read, in the order of reading.
    """

    inputs: NDArray[np.int64]
    first: NDArray[np.int64]
    stop: NDArray[np.int64]
    rows: NDArray[np.int64]


def batches_of(
    lengths: NDArray[np.integer],
    first: NDArray[np.integer],
    stop: NDArray[np.integer],
    row_of: NDArray[np.int64],
    start: int,
    end: int,
    batch_rows: int,
) -> list[Batch]:
    """Cut a block of rows into batches of inputs of like length.

    They depend on the block alone, so the same inputs share a batch whatever the number of ranks. An input with rows in
    two blocks is run for each.

    Parameters
    ----------
    lengths : ndarray of int, shape (inputs,)
        Tokens of every input.
    first, stop : ndarray of int, shape (inputs,)
        Tokens that are read of every input.
    row_of : ndarray of int64, shape (inputs + 1,)
        First row of every input, and the number of rows. Inputs of more than one row are read token by token.
    start, end : int
        The block's rows.
    batch_rows : int
        The most inputs of a batch.

    Returns
    -------
    list of Batch
        No more than a tenth of each is padding.
    """
    inputs = np.arange(np.searchsorted(row_of, start, side="right") - 1, np.searchsorted(row_of, end, side="left"))
    begin, finish = np.maximum(row_of[inputs], start), np.minimum(row_of[inputs + 1], end)
    from_token = first[inputs] + np.where(begin > row_of[inputs], begin - row_of[inputs], 0)
    to_token = np.where(finish < row_of[inputs + 1], from_token + finish - begin, stop[inputs])
    order = np.argsort(lengths[inputs], kind="stable")
    batches = []
    for chosen in _cut(lengths[inputs][order], batch_rows):
        own = order[chosen]
        rows = np.concatenate([np.arange(begin[i], finish[i]) for i in own])
        batches.append(Batch(inputs[own], from_token[own].astype(np.int64), to_token[own].astype(np.int64), rows))
    return batches


def _cut(lengths: NDArray[np.integer], most: int) -> Iterator[slice]:
    """Cut sorted lengths where a batch is full or would hold too much padding."""
    start, tokens = 0, 0
    for number, length in enumerate(lengths.tolist()):
        count = number - start
        if count == most or tokens + length < (1 - PADDING) * length * (count + 1):
            yield slice(start, number)
            start, tokens = number, 0
        tokens += length
    if len(lengths):
        yield slice(start, len(lengths))


def pad(sequences: Sequence[Sequence[int]], pad_id: int, side: str) -> tuple[Tensor, Tensor]:
    """Fill rows up to the longest.

    Parameters
    ----------
    sequences : sequence of sequence of int
    pad_id : int
    side : {"right", "left"}
        Where the padding goes.

    Returns
    -------
    ids, attention : Tensor
        Shape (rows, tokens), int64.
    """
    width = max(map(len, sequences))
    ids = torch.full((len(sequences), width), pad_id)
    attention = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        place = slice(0, len(sequence)) if side == "right" else slice(width - len(sequence), width)
        ids[row, place] = torch.as_tensor(sequence, dtype=torch.int64)
        attention[row, place] = 1
    return ids, attention
