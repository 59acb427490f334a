"""Writing the damaged chunks of a store anew, and no others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoscale.errors import StageError
from emoscale.store import Store


def damaged_blocks(store: Store, blocks: Iterable[int]) -> dict[int, list[int]]:
    """Check every chunk of some row blocks.

    Parameters
    ----------
    store : Store
        Of activations.
    blocks : iterable of int
        Numbers of row blocks.

    Returns
    -------
    dict
        For each block with a missing or damaged chunk, the places of those chunks among the block's chunks.
    """
    size, total = store.chunks("activations")[0], store.sizes["observation"]
    found = {}
    for block in blocks:
        rows = slice(block * size, min((block + 1) * size, total))
        if damage := store.damage("activations", observation=rows):
            found[block] = [column for _, column in damage]
    return found


def write_damaged(store: Store, values: NDArray[Any], start: int, columns: Iterable[int]) -> None:
    """Write some chunks of a row block.

    Parameters
    ----------
    store : Store
    values : ndarray, shape (rows, neurons)
        The whole block, in the store's type.
    start : int
        Its first row.
    columns : iterable of int
        Places of the damaged chunks, from `damaged_blocks`.

    Raises
    ------
    StageError
        If the block's whole chunks hold other values, to the last bit: this machine would mix two computations.
    """
    width, damaged = store.chunks("activations")[1], set(columns)
    rows = slice(start, start + len(values))
    for column, first in enumerate(range(0, values.shape[1], width)):
        chunk = values[:, first : first + width]
        if column in damaged:
            continue
        there = store.read("activations", observation=rows, neuron=slice(first, first + width))
        if there.tobytes() != np.ascontiguousarray(chunk).tobytes():
            raise StageError(
                f"{store.path}: rows {rows.start} to {rows.stop - 1} come out otherwise here than they are stored "
                "(another machine, device or library?); repair where they were extracted, or extract with --fresh"
            )
    for column in sorted(damaged):
        first = column * width
        store.write("activations", values[:, first : first + width], observation=start, neuron=first)


def write_damaged_coordinates(store: Store, coordinates: Mapping[str, NDArray[Any]]) -> None:
    """Write the store's damaged coordinates.

    Parameters
    ----------
    store : Store
    coordinates : mapping of str to ndarray
        All of them.
    """
    for spec in store.schema.coordinates:
        if store.damage(spec.name):
            store.write(spec.name, np.asarray(coordinates[spec.name]))
