"""The searchlight: every neuron's RDM against every attribute's, from one pass over the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emoscale.selectivity.design import Design
from emoscale.selectivity.reading import moments_bytes, read_moments
from emoscale.selectivity.results import Tested
from emoscale.selectivity.row_measures import FROM_MOMENTS, mean_or_nan
from emoscale.store import Store
from emoscale_kernels import Moments, group_moments

Floats = NDArray[np.float64]

_NUMBERS_A_TEST = 24
"""Numbers of 8 bytes that are held for a neuron and attribute: counts, values, p, and steps on the way."""
_NUMBERS_A_PAIR = 4
"""The same for a neuron and pair of concepts: distances, keys, and steps on the way."""


class Found(NamedTuple):
    """What the searchlight says of a block of n neurons.

    Attributes
    ----------
    tested : Tested
    odd, even : ndarray of float64, shape (n, A)
        Values from the first, third, ... and from the second, fourth, ... replicate; NaN where there is none.
    absent : ndarray of bool, shape (n,)
        Neurons that have no value in any row of some concept and replicate, as of an expert never routed to. The values
        above are NaN then.
    rows : dict of str to ndarray
        By name of a row measure: its values, (n,), (n, A) or (n, C).
    """

    tested: Tested
    odd: Floats
    even: Floats
    absent: NDArray[np.bool_]
    rows: dict[str, Floats]


@dataclass(frozen=True)
class Searchlight:
    """The job of a block of neurons.

    Parameters
    ----------
    cells : Design
        Which rows stand for a concept and replicate; they are averaged.
    test : callable
        From activations (R, C, n) to `Tested`.
    value : callable
        From activations (R, C, n) to values (n, A).
    scores : ndarray of float64, shape (C, A)
    row_measures : sequence of str
        Names in `FROM_MOMENTS`.
    """

    cells: Design
    test: Callable[[Any], Tested]
    value: Callable[[Any], Floats]
    scores: Floats
    row_measures: Sequence[str] = ()

    @property
    def splits_chunks(self) -> bool:
        """Every chunk is read once."""
        return False

    def neuron_bytes(self, store: Store) -> int:
        """Count what is read, the moments and the means of them, and the tests."""
        R, C, A = self.cells.replicates, self.cells.concepts, self.scores.shape[1]
        tests = _NUMBERS_A_TEST * A + _NUMBERS_A_PAIR * C * (C - 1) // 2
        return int(moments_bytes(store, R * C) + 8 * (R * C + tests))

    def __call__(self, store: Store, start: int, stop: int) -> Found:
        """Read, average, compare."""
        R, C = self.cells.replicates, self.cells.concepts
        moments = read_moments(store, self.cells.of_row, R * C, start, stop)
        values = mean_or_nan(moments).reshape(R, C, -1)
        tested = self.test(values)
        nothing = np.full(tested.value.shape, np.nan)
        return Found(
            tested,
            self.value(values[0::2]) if R > 1 else nothing,
            self.value(values[1::2]) if R > 1 else nothing,
            (moments.counts == 0).any(axis=0),
            self._rows(moments),
        )

    def _rows(self, moments: Moments) -> dict[str, Floats]:
        if not self.row_measures:
            return {}
        concept = np.arange(len(moments.counts)) % self.cells.concepts
        by_concept = group_moments(moments, concept)
        return {name: FROM_MOMENTS[name](by_concept, self.scores) for name in self.row_measures}
