"""The jobs of a block of neurons: the searchlight, in one pass over the store; and row measures from sorted rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emoscale.concepts.loading import Concepts
from emoscale.selectivity.inference import INFERENCES
from emoscale.selectivity.measures import MEASURES
from emoscale.selectivity.options import SelectivityOptions
from emoscale.selectivity.permutation import Results
from emoscale.selectivity.reading import Design, box_rows, moments_bytes, read_moments, read_rows
from emoscale.selectivity.row_measures import ROW_MEASURES, RowMeasure, mean_or_nan
from emoscale.store import Store
from emoscale.system.option_types import lookup
from emoscale_kernels import (
    Moments,
    decimal_distances,
    group_moments,
    mean_pair_distances,
    published_distances,
    rank_summary,
)

Floats = NDArray[np.float64]

_NUMBERS_PER_TEST = 26
"""Numbers of 8 bytes that are held for a neuron and attribute: counts, values, p, and intermediate results."""
_NUMBERS_PER_PAIR = 4
"""The same for a neuron and pair of concepts: distances, keys, and intermediate results."""


class BlockResults(NamedTuple):
    """What the searchlight finds in a block of n neurons.

    Attributes
    ----------
    results : Results
        Of all replicates.
    odd, even : ndarray of float64, shape (n, A)
        Values from the first, third, ... and from the second, fourth, ... replicate; NaN where there is none.
    absent : ndarray of bool, shape (n,)
        Neurons that have no value in any row of some concept and replicate, as of an expert never routed to. The values
        above are NaN then.
    rows : dict of str to ndarray
        By name of a row measure: its values, (n,), (n, A) or (n, C).
    """

    results: Results
    odd: Floats
    even: Floats
    absent: NDArray[np.bool_]
    rows: dict[str, Floats]


@dataclass(frozen=True)
class Searchlight:
    """Compares a block of neurons with all attributes.

    Parameters
    ----------
    design : Design
        Rows of one concept and replicate are averaged.
    test : callable
        From activations (R, C, n) to `Results`.
    value : callable
        From activations (R, C, n) to values (n, A).
    scores : ndarray of float64, shape (C, A)
    row_measures : sequence of RowMeasure
        Those that need moments.
    """

    design: Design
    test: Callable[[Any], Results]
    value: Callable[[Any], Floats]
    scores: Floats
    row_measures: Sequence[RowMeasure] = ()

    @property
    def splits_chunks(self) -> bool:
        """Every chunk is read once."""
        return False

    def neuron_bytes(self, store: Store) -> int:
        """Count what is read, the moments and the means of them, and the tests."""
        R, C, A = self.design.replicates, self.design.concepts, self.scores.shape[1]
        tests = _NUMBERS_PER_TEST * A + _NUMBERS_PER_PAIR * C * (C - 1) // 2
        return int(moments_bytes(store, R * C) + 8 * (R * C + tests))

    def __call__(self, store: Store, start: int, stop: int) -> BlockResults:
        """Read, average, compare."""
        R, C = self.design.replicates, self.design.concepts
        return self.of_moments(read_moments(store, self.design.of_row, R * C, start, stop))

    def of_moments(self, moments: Moments) -> BlockResults:
        """Compare a block of neurons of which each cell's moments are known, in the order of `Design.of_row`."""
        R, C = self.design.replicates, self.design.concepts
        values = mean_or_nan(moments).reshape(R, C, -1)
        results = self.test(values)
        nothing = np.full(results.value.shape, np.nan)
        return BlockResults(
            results,
            self.value(values[0::2]) if R > 1 else nothing,
            self.value(values[1::2]) if R > 1 else nothing,
            (moments.counts == 0).any(axis=0),
            self._rows(moments),
        )

    def _rows(self, moments: Moments) -> dict[str, Floats]:
        if not self.row_measures:
            return {}
        concept = np.arange(len(moments.counts)) % self.design.concepts
        by_concept = group_moments(moments, concept)
        return {measure.name: measure(by_concept, self.scores) for measure in self.row_measures}


@dataclass(frozen=True)
class Ranking:
    """Computes row measures that need all rows of some neurons at once.

    Parameters
    ----------
    design : Design
    scores : ndarray of float64, shape (C, A)
    row_measures : sequence of RowMeasure
        Those that need ranks.
    """

    design: Design
    scores: Floats
    row_measures: Sequence[RowMeasure]

    @property
    def splits_chunks(self) -> bool:
        """Where rows are many, a chunk's width of neurons is more than memory holds."""
        return True

    def neuron_bytes(self, store: Store) -> int:
        """Count the rows, and a box of them twice over the width of a chunk."""
        itemsize = store.read_dtype("activations").itemsize
        rows = store.sizes["observation"]
        return int(rows * itemsize + 2 * min(box_rows(store), rows) * itemsize + 8 * 6 * self.design.concepts)

    def __call__(self, store: Store, start: int, stop: int) -> dict[str, Floats]:
        """Read, sort, summarise."""
        used = self.design.of_row >= 0
        values = read_rows(store, used, start, stop)
        C = self.design.concepts
        summary = rank_summary(values, self.design.of_row[used] % C, C)
        return {measure.name: measure(summary, self.scores) for measure in self.row_measures}


def searchlight_job(
    design: Design,
    concepts: Concepts,
    options: SelectivityOptions,
    *,
    backend: str,
    rdms: Floats | None = None,
    as_published: bool = False,
) -> Searchlight:
    """Put together what is done with every block of neurons.

    Parameters
    ----------
    design : Design
        Of the rows, or of the cells of moments.
    concepts : Concepts
    options : SelectivityOptions
    backend : str
        The setting, which is resolved where the job runs.
    rdms, as_published
        As in `emoscale.selectivity.select.select`.
    """
    measure = lookup("selectivity.measure", MEASURES, options.measure)
    inference = lookup("selectivity.inference", INFERENCES, options.inference)
    prepared: dict[str, Any] = {
        "patterns": measure.prepare(decimal_distances(concepts.scores) if rdms is None else rdms),
        "distances_of": published_distances if as_published else mean_pair_distances,
    }
    return Searchlight(
        design,
        partial(inference.test(measure, len(concepts.names), options, backend), **prepared),
        partial(measure.value, **prepared),
        concepts.scores,
        [entry for entry in chosen_row_measures(options) if not entry.needs_rows],
    )


def chosen_row_measures(options: SelectivityOptions) -> list[RowMeasure]:
    """Return the entries that the options name.

    Raises
    ------
    InputError
        If one is unknown.
    """
    return [lookup("selectivity.row_measures", ROW_MEASURES, name) for name in options.row_measures]
