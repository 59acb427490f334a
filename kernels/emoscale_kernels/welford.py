"""Welford's update of means and squares, a matrix of rows at a time.

One value costs three additions and three multiplications; with AVX-512 or AVX2 eight or four neurons are done at once
(the loops over neurons hold nothing that depends on another neuron, and rows are contiguous).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoscale_kernels.jit import kernel

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

STRIP = 1024
"""Neurons taken through a cell's rows together. Their means and squares (16 KiB) stay in the first cache."""


@kernel
def rows_by_cell(cells: Integers, added: Integers) -> Integers:
    """Return the rows of the first cell in their order, then those of the second, ...

    Parameters
    ----------
    cells : ndarray of int64, shape (rows,)
        0..G-1, or negative for a row to be left out.
    added : ndarray of int64, shape (G,)
        How often each cell occurs.

    Returns
    -------
    ndarray of int64
    """
    free = np.cumsum(added) - added
    order = np.empty(added.sum(), dtype=np.int64)
    for row in range(cells.size):
        cell = cells[row]
        if cell >= 0:
            order[free[cell]] = row
            free[cell] += 1
    return order


@kernel
def add_rows(
    flat: NDArray[Any], step: int, order: Integers, added: Integers, counts: Integers, mean: Floats, m2: Floats
) -> None:
    """Add rows to the means and squares of their cells, in place.

    Parameters
    ----------
    flat : ndarray of float32, float64, or uint16 (the bits of float16)
    step : int
        Activations, both as `emoscale_kernels.strided.flat_rows` has them.
    order : ndarray of int64
        As `rows_by_cell` makes it.
    added : ndarray of int64, shape (G,)
        Rows of each cell among them.
    counts : ndarray of int64, shape (G,)
        Rows that each cell had before.
    mean, m2 : ndarray of float64, shape (G, n)

    Notes
    -----
    Cell by cell, so that a cell's means are fetched once, and two rows at a time, so that they are fetched half as
    often: the order of a cell's rows, which is all that the result depends on, is kept.
    """
    n = mean.shape[1]
    scratch = np.empty((2, min(n, STRIP)), dtype=np.uint32)
    converted = scratch.view(np.float32)
    for left in range(0, n, STRIP):
        width = min(STRIP, n - left)
        k = 0
        for cell in range(counts.size):
            means = mean[cell, left : left + width]
            squares = m2[cell, left : left + width]
            stop = k + added[cell]
            seen = counts[cell]
            while k < stop:
                seen += 1
                start = order[k] * step + left
                first = flat[start : start + width]
                if k + 1 < stop:
                    start = order[k + 1] * step + left
                    second = flat[start : start + width]
                    # The size is a constant to the compiler: only one of the branches is compiled.
                    if flat.itemsize == 2:
                        _convert_halves(first, scratch[0])
                        _convert_halves(second, scratch[1])
                        _add_two(converted[0, :width], converted[1, :width], seen, means, squares)
                    else:
                        _add_two(first, second, seen, means, squares)
                    seen += 1
                    k += 2
                else:
                    if flat.itemsize == 2:
                        _convert_halves(first, scratch[0])
                        _add_one(converted[0, :width], seen, means, squares)
                    else:
                        _add_one(first, seen, means, squares)
                    k += 1


@kernel
def _add_one(row: NDArray[Any], seen: int, mean: Floats, m2: Floats) -> None:
    share = 1.0 / seen
    rest = (seen - 1) * share
    for k in range(row.size):
        deviation = row[k] - mean[k]
        mean[k] += deviation * share
        m2[k] += deviation * (deviation * rest)


@kernel
def _add_two(first: NDArray[Any], second: NDArray[Any], seen: int, mean: Floats, m2: Floats) -> None:
    # `_add_one` of the first row and then of the second.
    share = 1.0 / seen
    rest = (seen - 1) * share
    next_share = 1.0 / (seen + 1)
    next_rest = seen * next_share
    for k in range(first.size):
        deviation = first[k] - mean[k]
        between = mean[k] + deviation * share
        next_deviation = second[k] - between
        mean[k] = between + next_deviation * next_share
        m2[k] = (m2[k] + deviation * (deviation * rest)) + next_deviation * (next_deviation * next_rest)


@kernel
def _convert_halves(halves: NDArray[np.uint16], bits: NDArray[np.uint32]) -> None:
    # float16 to the bits of the same float32, for any input. No step makes or takes a subnormal float32, so a
    # processor told to flush those to zero changes nothing.
    floats = bits.view(np.float32)  # made here: the compiler then sees that both are one memory
    for k in range(halves.size):
        half = np.uint32(halves[k])
        magnitude = half & np.uint32(0x7FFF)
        subnormal = magnitude < np.uint32(0x0400)
        moved = (magnitude << np.uint32(13)) + np.uint32(0x38000000)  # exponent bias 127 instead of 15
        if magnitude >= np.uint32(0x7C00):
            moved += np.uint32(0x38000000)  # infinities and NaN have the highest exponent
        if subnormal:
            moved += np.uint32(0x00800000)  # as if with a leading 1, which is taken off again
        bits[k] = moved
        value = floats[k]
        if subnormal:
            value -= np.float32(2.0**-14)
        floats[k] = value
        bits[k] |= (half & np.uint32(0x8000)) << np.uint32(16)
