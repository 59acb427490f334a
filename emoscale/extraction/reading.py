"""Which tokens of an input are read, and reading them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emoscale.errors import InputError
from emoscale.models.sites.site import Read

Integers = NDArray[np.integer]

OF_CONCEPT = ("concept-last", "concept-mean")
"""Kinds of reading that ask which tokens name the concept."""

MEANS = ("mean", "concept-mean")
"""Kinds of reading that average."""


def tokens_read(
    read: str, ids: Sequence[int], mask_id: int | None = None, concept: tuple[int, int] | None = None
) -> tuple[int, int]:
    """Return the first token that is read, and the one after the last.

    Parameters
    ----------
    read : {"first", "mask", "last", "concept-last", "concept-mean", "mean", "all"}
    ids : sequence of int
        Token ids of the input.
    mask_id : int, optional
        Id of the mask token.
    concept : (int, int), optional
        First token of the concept, and the one after its last.

    Raises
    ------
    InputError
        If there is no mask token to read, or nothing names the concept.
    """
    if read == "first":
        return 0, 1
    if read == "last":
        return len(ids) - 1, len(ids)
    if read == "mask":
        if mask_id is None or mask_id not in ids:
            raise InputError("extraction.read 'mask': there is no mask token in the rows; read another")
        position = list(ids).index(mask_id)
        return position, position + 1
    if read in OF_CONCEPT:
        if concept is None:
            raise InputError(
                f"extraction.read {read!r}: only templates say which tokens name the concept; read another, or set "
                "extraction.rows to templates"
            )
        return (concept[1] - 1, concept[1]) if read == "concept-last" else concept
    return 0, len(ids)


def reader(first: Integers, stop: Integers, offsets: Integers, tokens: int, each: bool) -> tuple[int, Read]:
    """Build the function that reads a batch.

    Parameters
    ----------
    first, stop : ndarray of int, shape (rows,)
        Tokens of each row that are read, counted without padding.
    offsets : ndarray of int, shape (rows,)
        How many tokens of padding come before the row.
    tokens : int
        Tokens of each row with its padding.
    each : bool
        Give every token that is read by itself, row by row, instead of their mean.

    Returns
    -------
    count : int
        Number of vectors read.
    read : callable
        Values (rows, tokens, units) in, (count, units) out.
    """
    span = stop - first
    row = np.repeat(np.arange(len(span)), span)
    within = np.arange(span.sum()) - np.repeat(np.cumsum(span) - span, span)
    flat = torch.from_numpy(row * tokens + np.repeat(first + offsets, span) + within)
    if each or (span == 1).all():
        return len(flat), lambda values: values.flatten(0, 1).index_select(0, flat.to(values.device))
    weight = torch.zeros(len(span), 1, tokens)
    weight.view(-1)[flat] = 1
    share = torch.from_numpy(1 / span).float()[:, None]

    def mean(values: Tensor) -> Tensor:
        # A product of matrices reads the values once; the weights are 0 and 1, so that it is exact but for the sum.
        total = torch.bmm(weight.to(values.device, values.dtype), values)[:, 0]
        return (total * share.to(values.device)).to(values.dtype)

    return len(span), mean
