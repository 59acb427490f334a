"""How activations and their counts lie in memory, for the kernels that go through rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray


def flat_rows(values: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """Return the elements of a matrix in one dimension, and the step from one row to the next.

    Parameters
    ----------
    values : ndarray of float16, float32 or float64, shape (rows, n)
        Contiguous or a slice of a larger array; copied only where the elements of a row are not side by side.

    Returns
    -------
    flat : ndarray, read-only
        Element ``[i, k]`` is ``flat[i * step + k]``. What lies between rows is not part of the matrix.
    step : int

    Raises
    ------
    TypeError
        If the elements are of another type, such as the bits of bfloat16, which have the size of float16.
    """
    if values.dtype not in (np.float16, np.float32, np.float64):
        raise TypeError(f"activations must be float16, float32 or float64, not {values.dtype}")
    rows, n = values.shape
    step, rest = divmod(values.strides[0], values.itemsize)
    if values.strides[1] != values.itemsize or rest or step < n:
        values, step = np.ascontiguousarray(values), n
    size = (rows - 1) * step + n if rows and n else 0
    return np.lib.stride_tricks.as_strided(values, (size,), (values.itemsize,), writeable=False), step


def equal_columns(counts: NDArray[np.integer[Any]]) -> Iterator[tuple[slice | NDArray[np.intp], NDArray[Any]]]:
    """Group the neurons that have the same counts: all of a dense model's, those of an expert otherwise.

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
