"""Means over the rows of a store that does not fit into memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoscale.store.store import Store

_BLOCK_VALUES = 2**25


def mean_activations(
    store: Store, of: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None
) -> NDArray[np.float64]:
    """Average every neuron over the rows of an activations store, block by block.

    Parameters
    ----------
    store : Store
        Of activations (observation, neuron).
    of : callable, optional
        Applied to the values first, e.g. `numpy.abs`.

    Returns
    -------
    ndarray of float64, shape (N,)
        NaN (absent) values are left out; NaN for a neuron that is absent in every row.
    """
    rows, neurons = store.sizes["observation"], store.sizes["neuron"]
    chunk_rows, width = store.chunks("activations")
    height = max(_BLOCK_VALUES // (width * chunk_rows), 1) * chunk_rows
    total, count = np.zeros(neurons), np.zeros(neurons, np.int64)
    for left in range(0, neurons, width):
        block_neurons = slice(left, min(left + width, neurons))
        for top in range(0, rows, height):
            block: NDArray[Any] = store.read(
                "activations", observation=slice(top, top + height), neuron=block_neurons
            ).astype(np.float64)
            values = block if of is None else of(block)
            there = ~np.isnan(values)
            total[block_neurons] += np.where(there, values, 0.0).sum(axis=0)
            count[block_neurons] += there.sum(axis=0)
    mean: NDArray[np.float64] = np.divide(total, count, out=np.full(neurons, np.nan), where=count > 0)
    return mean
