"""Which inputs of a row block share a forward pass, and how their tokens become rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emoscale.extraction.inputs import Rows
from emoscale.extraction.sequences import Sequences
from emoscale.extraction.writing import HostCopies
from emoscale.models.capture import Captured
from emoscale.models.packing import pad_rows
from emoscale.models.sites.site import Read

Integers = NDArray[np.integer]

MOST_PADDING = 0.1
"""The largest share of a batch that is padding."""


@dataclass(frozen=True)
class Batch:
    """Inputs of one forward pass, and the tokens of them that are used.

    Attributes
    ----------
    inputs : ndarray of int64, shape (inputs,)
        Their numbers.
    first, stop : ndarray of int64, shape (inputs,)
        The first token of each that is used, and the one after the last.
    rows : ndarray of int64, shape (rows,)
        The rows of the store that they make, in the order of the tokens.
    """

    inputs: NDArray[np.int64]
    first: NDArray[np.int64]
    stop: NDArray[np.int64]
    rows: NDArray[np.int64]


def batches_of(
    lengths: Integers,
    first: Integers,
    stop: Integers,
    row_of: NDArray[np.int64],
    block: slice,
    batch_rows: int,
    most_padding: float = MOST_PADDING,
) -> list[Batch]:
    """Cut a block of rows into batches of inputs of similar length.

    They depend on the block alone, so the same inputs share a batch whatever the number of ranks. An input with rows in
    two blocks is run for each.

    Parameters
    ----------
    lengths : ndarray of int, shape (inputs,)
        Tokens of every input.
    first, stop : ndarray of int, shape (inputs,)
        Span of the tokens of every input that are used.
    row_of : ndarray of int64, shape (inputs + 1,)
        First row of every input, and the number of rows. Each token of an input with more than one row is a row.
    block : slice
        The block's rows.
    batch_rows : int
        The most inputs of a batch.
    most_padding : float
        The largest share of a batch that is padding; with 0, its inputs are all of one length.

    Returns
    -------
    list of Batch
    """
    start, end = block.start, block.stop
    inputs = np.arange(np.searchsorted(row_of, start, side="right") - 1, np.searchsorted(row_of, end, side="left"))
    begin, finish = np.maximum(row_of[inputs], start), np.minimum(row_of[inputs + 1], end)
    from_token = first[inputs] + np.where(begin > row_of[inputs], begin - row_of[inputs], 0)
    to_token = np.where(finish < row_of[inputs + 1], from_token + finish - begin, stop[inputs])
    order = np.argsort(lengths[inputs], kind="stable")
    batches = []
    for chosen in _cut(lengths[inputs][order], batch_rows, most_padding):
        own = order[chosen]
        rows = np.concatenate([np.arange(begin[i], finish[i]) for i in own])
        batches.append(Batch(inputs[own], from_token[own].astype(np.int64), to_token[own].astype(np.int64), rows))
    return batches


def _cut(lengths: Integers, most: int, most_padding: float) -> Iterator[slice]:
    """Cut sorted lengths where a batch is full or would hold too much padding."""
    start, tokens = 0, 0
    for number, length in enumerate(lengths.tolist()):
        count = number - start
        if count == most or tokens + length < (1 - most_padding) * length * (count + 1):
            yield slice(start, number)
            start, tokens = number, 0
        tokens += length
    if len(lengths):
        yield slice(start, len(lengths))


def pooler(first: Integers, stop: Integers, tokens: int, each: bool) -> Read:
    """Build the function that makes rows of a batch's values.

    Parameters
    ----------
    first, stop : ndarray of int, shape (inputs,)
        Span of the tokens of each input that are used.
    tokens : int
        Tokens of each input with its padding, which is on the right.
    each : bool
        Whether each of these tokens is a row, input by input, instead of their mean.

    Returns
    -------
    callable
        From values (inputs, tokens, units) to (rows, units).
    """
    span = stop - first
    row = np.repeat(np.arange(len(span)), span)
    within = np.arange(span.sum()) - np.repeat(np.cumsum(span) - span, span)
    flat = torch.from_numpy(row * tokens + np.repeat(first, span) + within)
    if each or (span == 1).all():
        return lambda values: values.flatten(0, 1).index_select(0, flat.to(values.device))
    weight = torch.zeros(len(span), 1, tokens)
    weight.view(-1)[flat] = 1
    share = torch.from_numpy(1 / span).float()[:, None]

    def mean(values: Tensor) -> Tensor:
        # A matrix product reads the values once; the weights are 0 and 1, so only the sum is rounded.
        total = torch.bmm(weight.to(values.device, values.dtype), values)[:, 0]
        return (total * share.to(values.device)).to(values.dtype)

    return mean


class BatchRunner:
    """Runs the inputs of a block, and gathers their rows.

    Parameters
    ----------
    sequences : Sequences
    rows : Rows
    batch_rows : int
        The most inputs of a batch.
    """

    def __init__(self, sequences: Sequences, rows: Rows, batch_rows: int) -> None:
        self._sequences, self._rows, self._batch_rows = sequences, rows, batch_rows
        self._pad_id = rows.model.outline.pad_id
        self._most_padding = 0.0 if rows.model.outline.padding_leaks else MOST_PADDING
        self._copies = HostCopies()

    def run(self, block: slice, captured: Captured, values: Tensor) -> None:
        """Fill the first rows of `values` (rows, neurons) with the block's activations."""
        s = self._sequences
        batches = batches_of(s.lengths, s.first, s.stop, s.row_of, block, self._batch_rows, self._most_padding)
        lowest = min(int(batch.inputs.min()) for batch in batches)
        ids = s.ids(lowest, max(int(batch.inputs.max()) for batch in batches) + 1)
        for batch in batches:
            tokens, attention = pad_rows([ids[i - lowest] for i in batch.inputs], self._pad_id)
            captured.expect(len(tokens), tokens.shape[1], pooler(batch.first, batch.stop, tokens.shape[1], s.each))
            captured.run(partial(self._rows.run, batch.inputs, tokens, attention))
            self._copies.put(captured.take(), values, torch.from_numpy(batch.rows - block.start))
        self._copies.finish(values)
