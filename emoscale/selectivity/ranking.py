"""The row measures that need a neuron's rows in order: all rows of some neurons at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emoscale.selectivity.design import Design
from emoscale.selectivity.reading import box_rows, read_rows
from emoscale.selectivity.row_measures import FROM_RANKS
from emoscale.store import Store
from emoscale_kernels import rank_summary

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ranking:
    """The job of a block of neurons.

    Parameters
    ----------
    cells : Design
        Which rows stand for a concept.
    scores : ndarray of float64, shape (C, A)
    row_measures : sequence of str
        Names in `FROM_RANKS`.
    """

    cells: Design
    scores: Floats
    row_measures: Sequence[str]

    @property
    def splits_chunks(self) -> bool:
        """Where rows are many, a chunk's width of neurons is more than memory holds."""
        return True

    def neuron_bytes(self, store: Store) -> int:
        """Count the rows, and a box of them twice over the width of a chunk."""
        itemsize = store.read_dtype("activations").itemsize
        rows = store.sizes["observation"]
        return int(rows * itemsize + 2 * min(box_rows(store), rows) * itemsize + 8 * 6 * self.cells.concepts)

    def __call__(self, store: Store, start: int, stop: int) -> dict[str, Floats]:
        """Read, sort, summarise."""
        used = self.cells.of_row >= 0
        values = read_rows(store, used, start, stop)
        C = self.cells.concepts
        summary = rank_summary(values, self.cells.of_row[used] % C, C)
        return {name: FROM_RANKS[name](summary, self.scores) for name in self.row_measures}
