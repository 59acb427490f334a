"""Activations as the functions take them: an array in memory, or xarray's, read as they are needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray
from numpy.typing import NDArray

from emoscale.api.labelled import NEURON, OBSERVATION
from emoscale.errors import InputError

BLOCK = 1024
"""Neurons that are read at once."""
_BOX_BYTES = 2**26
"""About so much is read at once."""


@dataclass(frozen=True)
class ArrayActivations:
    """An array in the place of a store of activations, see `emoscale.store.Activations`.

    Attributes
    ----------
    array : ndarray or dask array, shape (rows, neurons)
    neurons : DataFrame
        What is known of each neuron: its number, ``layer``, ``unit``, ``expert``.
    """

    array: Any
    neurons: pd.DataFrame

    @property
    def sizes(self) -> dict[str, int]:
        """Numbers of rows and of neurons."""
        return dict(zip((OBSERVATION, NEURON), self.array.shape, strict=True))

    def chunks(self, name: str) -> tuple[int, int]:
        """Return how many rows and neurons are read at once."""
        return max(1, _BOX_BYTES // (8 * BLOCK)), BLOCK

    def read(self, name: str, **ranges: slice) -> NDArray[Any]:
        """Read a box of them, as floating-point numbers of at most 8 bytes."""
        box = ranges.get(OBSERVATION, slice(None)), ranges.get(NEURON, slice(None))
        values = np.asarray(self.array[box])
        kept = values if values.dtype.kind == "f" and values.itemsize <= 8 else values.astype(np.float64)
        return np.ascontiguousarray(kept)

    def boxes(self, neurons: slice) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Read some neurons, a range of rows at a time."""
        (height, _), rows = self.chunks("activations"), self.sizes[OBSERVATION]
        for first in range(0, rows, height):
            some = slice(first, min(first + height, rows))
            yield some, self.read("activations", **{OBSERVATION: some, NEURON: neurons})


def as_activations(given: Any) -> ArrayActivations:
    """Return activations of which boxes can be read.

    Raises
    ------
    InputError
        If they are not numbers of shape (rows, neurons).
    """
    if isinstance(given, xarray.DataArray):
        if set(given.dims) != {OBSERVATION, NEURON}:
            raise InputError(f"activations: has dimensions {given.dims}; give {OBSERVATION} and {NEURON}")
        turned = given.transpose(OBSERVATION, NEURON)
        known = [name for name in (NEURON, "layer", "expert", "unit") if name in turned.coords]
        table = pd.DataFrame({name: turned[name].to_numpy() for name in known})
        return ArrayActivations(turned.data, table if known else _numbers(turned.shape[1]))
    array = np.asarray(given)
    if array.ndim != 2 or array.dtype.kind not in "fiu" or not array.size:
        raise InputError(
            f"activations: {array.dtype} of shape {array.shape} given; give numbers of shape (rows, neurons)"
        )
    return ArrayActivations(array, _numbers(array.shape[1]))


def _numbers(neurons: int) -> pd.DataFrame:
    return pd.DataFrame({NEURON: np.arange(neurons)})
