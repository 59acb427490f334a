"""Neurons whose rows are counted alike, so that what depends on the counts alone is done once for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray


def equal_columns(counts: NDArray[np.integer[Any]]) -> Iterator[tuple[slice | NDArray[np.intp], NDArray[Any]]]:
    """Put the neurons together that have the same counts: all of a dense model's, those of an expert otherwise.

    Parameters
    ----------
    counts : ndarray of int, shape (C, n)

    Yields
    ------
    neurons : slice or ndarray of intp
        Each neuron is in one of them.
    column : ndarray, shape (C,)
        Their counts.
    """
    first = counts.max(axis=1, initial=0)
    if (counts == first[:, np.newaxis]).all():
        yield slice(None), first
        return
    columns, of_neuron = np.unique(counts, axis=1, return_inverse=True)
    for number, column in enumerate(columns.T):
        yield np.flatnonzero(of_neuron == number), column
