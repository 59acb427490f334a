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

_UNEQUAL = -1
"""In place of the count of a strip's neurons where they have more than one."""


@kernel
def rows_by_cell(cells: Integers, added: Integers) -> Integers:
    """Return the rows of the first cell in their order, then those of the second, ...

    Parameters
    ----------
    cells : ndarray of int64, shape (rows,)
        0..G-1, or negative for a row that is ignored.
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
    """Add rows to the counts, means and squares of their cells, in place.

    Parameters
    ----------
    flat : ndarray of float32, float64, or uint16 (the bits of float16)
    step : int
        Activations, both as `emoscale_kernels.layout.flat_rows` has them. NaN are left out.
    order : ndarray of int64
        As `rows_by_cell` makes it.
    added : ndarray of int64, shape (G,)
        Rows of each cell among them.
    counts : ndarray of int64, shape (G, n)
        Values that each cell had before, by neuron.
    mean, m2 : ndarray of float64, shape (G, n)

    Notes
    -----
    Cell by cell, so that a cell's means are fetched once, and two rows at a time, so that they are fetched half as
    often: the order of a cell's rows, which is all that the result depends on, is kept. As long as the neurons of a
    strip have one count, which rows without NaN leave them, it is kept in a register.
    """
    n = mean.shape[1]
    scratch = np.empty((2, min(n, STRIP)), dtype=np.uint32)
    converted = scratch.view(np.float32)
    for left in range(0, n, STRIP):
        width = min(STRIP, n - left)
        k = 0
        for cell in range(added.size):
            stop = k + added[cell]
            if k == stop:
                continue
            own = counts[cell, left : left + width]
            means = mean[cell, left : left + width]
            squares = m2[cell, left : left + width]
            seen = _common_count(own)
            while k < stop:
                rows = min(2, stop - k)
                start = order[k] * step + left
                first = flat[start : start + width]
                start = order[k + rows - 1] * step + left
                second = flat[start : start + width]
                # The size is a constant to the compiler: only one of the branches is compiled.
                if flat.itemsize == 2:
                    _convert_halves(first, scratch[0])
                    if rows == 2:
                        _convert_halves(second, scratch[1])
                    seen = _add(converted[0, :width], converted[rows - 1, :width], rows, seen, own, means, squares)
                else:
                    seen = _add(first, second, rows, seen, own, means, squares)
                k += rows
            if seen != _UNEQUAL:
                own[:] = seen


@kernel
def _common_count(counts: Integers) -> int:
    difference = np.int64(0)
    for k in range(counts.size):
        difference |= counts[k] ^ counts[0]
    return counts[0] if difference == 0 else _UNEQUAL


@kernel
def _add(
    first: NDArray[Any], second: NDArray[Any], rows: int, seen: int, counts: Integers, mean: Floats, m2: Floats
) -> int:
    # Of one row, both are that. Returns the new count of all neurons, or _UNEQUAL: only then `counts` are up to date.
    if seen != _UNEQUAL and not (np.isnan(first[0]) or np.isnan(second[0])):
        complete = _add_two(first, second, seen + 1, mean, m2) if rows == 2 else _add_one(first, seen + 1, mean, m2)
        if complete:
            return seen + rows
        _add_left_out(first, second, rows, seen, counts, mean, m2)
        return _UNEQUAL
    # Most likely an expert that the row was not routed to, and then all of the strip is NaN.
    for row in range(rows):
        values = second if row else first
        absent = _count_nan(values)
        if absent == values.size:
            continue
        if absent == 0 and seen != _UNEQUAL:
            seen += 1
            _add_one(values, seen, mean, m2)
            continue
        if seen != _UNEQUAL:
            counts[:] = seen
            seen = _UNEQUAL
        _add_present(values, counts, mean, m2)
    return seen


@kernel
def _add_one(row: NDArray[Any], seen: int, mean: Floats, m2: Floats) -> bool:
    # Neurons whose value is NaN stay as they were; returns whether there was none.
    share = 1.0 / seen
    rest = (seen - 1) * share
    some_absent = False
    for k in range(row.size):
        absent = np.isnan(row[k])
        deviation = row[k] - mean[k]
        moved = mean[k] + deviation * share
        widened = m2[k] + deviation * (deviation * rest)
        mean[k] = mean[k] if absent else moved
        m2[k] = m2[k] if absent else widened
        some_absent |= absent
    return not some_absent


@kernel
def _add_two(first: NDArray[Any], second: NDArray[Any], seen: int, mean: Floats, m2: Floats) -> bool:
    # `_add_one` of the first row and then of the second; neurons that lack either value stay as they were.
    share = 1.0 / seen
    rest = (seen - 1) * share
    next_share = 1.0 / (seen + 1)
    next_rest = seen * next_share
    some_absent = False
    for k in range(first.size):
        absent = np.isnan(first[k]) | np.isnan(second[k])
        deviation = first[k] - mean[k]
        between = mean[k] + deviation * share
        next_deviation = second[k] - between
        moved = between + next_deviation * next_share
        widened = (m2[k] + deviation * (deviation * rest)) + next_deviation * (next_deviation * next_rest)
        mean[k] = mean[k] if absent else moved
        m2[k] = m2[k] if absent else widened
        some_absent |= absent
    return not some_absent


@kernel
def _add_left_out(
    first: NDArray[Any], second: NDArray[Any], rows: int, seen: int, counts: Integers, mean: Floats, m2: Floats
) -> None:
    # What `_add_two` or `_add_one` left as it was.
    for k in range(first.size):
        counts[k] = seen + rows
        if np.isnan(first[k]) or np.isnan(second[k]):
            counts[k] = seen
            _add_present(first[k : k + 1], counts[k : k + 1], mean[k : k + 1], m2[k : k + 1])
            if rows == 2:
                _add_present(second[k : k + 1], counts[k : k + 1], mean[k : k + 1], m2[k : k + 1])


@kernel
def _add_present(row: NDArray[Any], counts: Integers, mean: Floats, m2: Floats) -> None:
    # `_add_one`, to the last bit, of neurons that differ in their counts.
    for k in range(row.size):
        there = not np.isnan(row[k])
        counts[k] += there
        share = np.divide(1.0, max(counts[k], 1))
        rest = (counts[k] - 1) * share
        deviation = row[k] - mean[k]
        moved = mean[k] + deviation * share
        widened = m2[k] + deviation * (deviation * rest)
        mean[k] = moved if there else mean[k]
        m2[k] = widened if there else m2[k]


@kernel
def _count_nan(row: NDArray[Any]) -> int:
    found = 0
    for k in range(row.size):
        found += np.isnan(row[k])
    return found


@kernel
def _convert_halves(halves: NDArray[np.uint16], bits: NDArray[np.uint32]) -> None:
    # float16 to the bits of the same float32, for any input. No step makes or takes a subnormal float32, so a
    # processor set to flush those to zero changes nothing.
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
