"""Reading activations or moments: which rows belong to which concept, in boxes of complete chunks.

Memory does not grow with the number of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.errors import InputError
from emoscale.schema import ACTIVATIONS
from emoscale.store import Store
from emoscale_kernels import MOMENTS_BYTES, Moments, empty_moments, group_moments, update_moments

_BOX_BYTES = 2**21
"""About so much is read at once for a chunk's width of neurons, so that it is still in the cache when it is used."""


class Design(NamedTuple):
    """Which rows belong to each concept in each replicate.

    Attributes
    ----------
    of_row : ndarray of int64, shape (observations,), or (cells,) where the store holds moments
        Number ``r * C + c`` of the row's cell; -1 for rows of other concepts.
    replicates : int
        R, in the order in which the store first has them.
    concepts : int
        C
    """

    of_row: NDArray[np.int64]
    replicates: int
    concepts: int


def design_of(store: Store, concepts: Sequence[str]) -> Design:
    """Group the store's rows by concept and replicate.

    Parameters
    ----------
    store : Store
        Of activations or moments.
    concepts : sequence of str
        In the order wanted. Rows of other concepts are ignored.

    Returns
    -------
    Design

    Raises
    ------
    InputError
        Names every concept that has no row, or lacks a replicate that others have.
    """
    return design_of_labels(store.read("concept"), store.read("replicate"), concepts, str(store.path))


def design_of_labels(concept: NDArray[Any], replicate: NDArray[Any], concepts: Sequence[str], source: str) -> Design:
    """Group rows by concept and replicate.

    Parameters
    ----------
    concept, replicate : ndarray of object, shape (rows,)
    concepts : sequence of str
        In the order wanted. Rows of other concepts are ignored.
    source : str
        Where the rows are, for messages.

    Raises
    ------
    InputError
        As of `design_of`.
    """
    of_concept = pd.Index(concepts).get_indexer(pd.Index(concept))
    used = of_concept >= 0
    of_replicate = np.zeros(len(used), dtype=np.int64)
    of_replicate[used], names = pd.factorize(replicate[used])
    of_row = np.where(used, of_replicate * len(concepts) + of_concept, -1)
    filled = np.bincount(of_row[used], minlength=len(names) * len(concepts)).reshape(len(names), len(concepts))
    problems = []
    for c, name in enumerate(concepts):
        where = f"{source}: concept {name!r}"
        if not filled[:, c].any():
            problems.append(f"{where} has no activations; extract it too, or leave it out of the attributes")
        elif lacking := [each for r, each in enumerate(names) if not filled[r, c]]:
            problems.append(f"{where} lacks replicates {', '.join(lacking)}; run `emoscale extract` with --fresh")
    if problems:
        raise InputError(problems)
    return Design(of_row, len(names), len(concepts))


def box_rows(store: Store) -> int:
    """Return how many rows are read at once: complete chunks, of about 2 MiB for a chunk's width of neurons."""
    rows, neurons = store.chunks("activations")
    bytes_of_chunk = rows * neurons * store.read_dtype("activations").itemsize
    return int(min(rows * max(1, _BOX_BYTES // bytes_of_chunk), -(-store.sizes["observation"] // rows) * rows))


def used_boxes(
    store: Store, used: NDArray[np.bool_], start: int, stop: int
) -> Iterator[tuple[slice, NDArray[np.floating[Any]]]]:
    """Read some neurons, a box of rows at a time.

    Parameters
    ----------
    store : Store
        Of activations.
    used : ndarray of bool, shape (observations,)
        Boxes in which no row is used are not read.
    start, stop : int
        Neurons.

    Yields
    ------
    rows : slice
    values : ndarray, shape (rows, stop - start)
        As the store gives them: bfloat16 as float32.
    """
    height, end = box_rows(store), store.sizes["observation"]
    for first in range(0, end, height):
        rows = slice(first, min(first + height, end))
        if used[rows].any():
            yield rows, store.read("activations", observation=rows, neuron=slice(start, stop))


def moments_bytes(store: Store, count: int) -> int:
    """Return the bytes that `read_moments` takes for a neuron, with the moments of `count` cells that it returns."""
    if store.schema.kind == ACTIVATIONS.kind:
        rows = min(box_rows(store), store.sizes["observation"])
        # A box of rows twice: it is decoded from the files' bytes.
        return int(2 * rows * store.read_dtype("activations").itemsize + MOMENTS_BYTES * count)
    # What is read, and an array of it once more.
    return (MOMENTS_BYTES + 8) * store.sizes["cell"] + MOMENTS_BYTES * count


def read_moments(store: Store, cells: NDArray[np.integer[Any]], count: int, start: int, stop: int) -> Moments:
    """Summarise some neurons' rows by cell, reading every chunk once.

    Parameters
    ----------
    store : Store
        Of activations, or of the moments that were kept instead.
    cells : ndarray of int, shape (observations,) or (cells of the store,)
        Cell of each row, or of each of the store's; -1 for what is ignored.
    count : int
        Number of cells.
    start, stop : int
        Neurons.

    Returns
    -------
    Moments
        The same to the last bit for any chunks, boxes and blocks of neurons. The mean of a cell of one row is that row.
    """
    if store.schema.kind != ACTIVATIONS.kind:
        neurons = slice(start, stop)
        stored, mean, m2 = (store.read(name, neuron=neurons) for name in ("count", "mean", "m2"))
        return group_moments(Moments(stored.astype(np.int64), mean, m2), cells)
    moments = empty_moments(count, min(stop, store.sizes["neuron"]) - start)
    for rows, values in used_boxes(store, cells >= 0, start, stop):
        update_moments(moments, values, cells[rows])
    return moments


def read_rows(store: Store, used: NDArray[np.bool_], start: int, stop: int) -> NDArray[np.floating[Any]]:
    """Read the used rows of some neurons.

    Returns
    -------
    ndarray, shape (used rows, stop - start)
        As the store gives them: bfloat16 as float32.
    """
    width = min(stop, store.sizes["neuron"]) - start
    values = np.empty((int(used.sum()), width), dtype=store.read_dtype("activations"))
    filled = 0
    for rows, box in used_boxes(store, used, start, stop):
        kept = box[used[rows]]
        values[filled : filled + len(kept)] = kept
        filled += len(kept)
    return values
