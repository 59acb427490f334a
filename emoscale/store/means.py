"""Means over the rows of a store that does not fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from emoscale_kernels import empty_moments, update_moments


class Activations(Protocol):
    """What activations are read from, box by box: a store, or an array in memory in its place."""

    @property
    def sizes(self) -> Mapping[str, int]:
        """``observation`` and ``neuron``: numbers of rows and of neurons."""

    def chunks(self, name: str) -> tuple[int, ...]:
        """Return the rows and neurons of a box that is best read at once."""

    def read(self, name: str, **ranges: slice) -> NDArray[Any]:
        """Read a box: a range of ``observation`` and one of ``neuron``."""


def mean_activations(
    store: Activations,
    of: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
    advance: Callable[[int], None] | None = None,
) -> NDArray[np.float64]:
    """Average every neuron over the rows of an activations store, holding one chunk of them in memory.

    Parameters
    ----------
    store : Activations
    of : callable, optional
        Applied to the values first, e.g. `numpy.abs`.
    advance : callable, optional
        Called with the number of neurons of each finished block.

    Returns
    -------
    ndarray of float64, shape (N,)
        In the model's own units, the same to the last bit for any chunks. Rows in which a neuron is absent (NaN) are
        ignored; 0 for a neuron that is absent from all. Infinite where an activation is.
    """
    (height, width), rows, neurons = store.chunks("activations"), store.sizes["observation"], store.sizes["neuron"]
    mean = np.empty(neurons)
    for first in range(0, neurons, width):
        block = slice(first, min(first + width, neurons))
        moments = empty_moments(1, block.stop - first)
        for start in range(0, rows, height):
            values = store.read("activations", observation=slice(start, start + height), neuron=block)
            values = values if of is None else of(values)
            update_moments(moments, values, np.zeros(len(values), dtype=np.int64))
        # Only an infinite value makes a mean NaN.
        mean[block] = np.where(np.isnan(moments.mean[0]), np.inf, moments.mean[0])
        if advance is not None:
            advance(block.stop - first)
    return mean
