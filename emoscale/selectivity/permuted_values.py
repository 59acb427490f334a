"""Every neuron's selectivity for permuted attributes, all neurons at once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor as Threads
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emoscale.concepts.loading import Concepts
from emoscale.selectivity.executor import Executor, compute_neurons
from emoscale.selectivity.measures import MEASURES, Measure
from emoscale.selectivity.options import SelectivityOptions
from emoscale.selectivity.reading import Design, design_of, moments_bytes, read_moments
from emoscale.selectivity.row_measures import mean_or_nan
from emoscale.store import Store
from emoscale.system.option_types import lookup
from emoscale.system.progress import Progress
from emoscale_kernels import decimal_distances, mean_pair_distances

Floats = NDArray[np.float64]

_NEURONS_A_TASK = 1024
_BYTES_AT_A_TIME = 2**30
"""About so much is held of values under permutations."""


@dataclass(frozen=True)
class _Means:
    """Averages the rows of each concept and replicate."""

    design: Design

    @property
    def splits_chunks(self) -> bool:
        """Every chunk is read once."""
        return False

    def neuron_bytes(self, store: Store) -> int:
        """Count the moments and the means of them."""
        cells = self.design.replicates * self.design.concepts
        return int(moments_bytes(store, cells) + 8 * cells)

    def __call__(self, store: Store, start: int, stop: int) -> Floats:
        """Return the means, (cells, neurons)."""
        cells = self.design.replicates * self.design.concepts
        return mean_or_nan(read_moments(store, self.design.of_row, cells, start, stop))


@dataclass(frozen=True, eq=False)
class PermutedValues:
    """Computes what the searchlight would find if the attributes belonged to other concepts.

    Attributes
    ----------
    means : ndarray of float64, shape (R, C, N)
        Activation by replicate, concept and neuron: 8 R C bytes a neuron.
    scores : ndarray of float64, shape (C, A)
    measure : Measure
    """

    means: Floats
    scores: Floats
    measure: Measure

    @staticmethod
    def of(
        store: Store, concepts: Concepts, options: SelectivityOptions, executor: Executor, progress: Progress
    ) -> PermutedValues:
        """Read what is needed of activations or moments, once."""
        design = design_of(store, concepts.names)
        means = np.concatenate(compute_neurons(store, _Means(design), executor, progress), axis=1)
        measure = lookup("selectivity.measure", MEASURES, options.measure)
        return PermutedValues(
            means.reshape(design.replicates, design.concepts, -1), np.asarray(concepts.scores, np.float64), measure
        )

    def in_batches(self, orders: NDArray[np.int64], threads: Threads) -> Iterator[Floats]:
        """Compute a few permutations at a time, as memory allows.

        Parameters
        ----------
        orders, threads
            As in `compute`.

        Yields
        ------
        ndarray of float64, shape (b, A, N)
            What `compute` returns, one part of the permutations after the other.
        """
        A, N = self.scores.shape[1], self.means.shape[2]
        together = max(1, _BYTES_AT_A_TIME // max(1, 8 * N * A))
        for start in range(0, len(orders), together):
            yield self.compute(orders[start : start + together], threads)

    def compute(self, orders: NDArray[np.int64], threads: Threads) -> Floats:
        """Compare every neuron with every attribute under some permutations.

        Parameters
        ----------
        orders : ndarray of int64, shape (B, C)
            From `concept_orders`.
        threads : concurrent.futures.Executor
            Each computes some of the neurons.

        Returns
        -------
        ndarray of float64, shape (B, A, N)
            NaN where there is no value. With the concepts in their own order, what the searchlight stores.
        """
        A, N = self.scores.shape[1], self.means.shape[2]
        patterns = self.measure.prepare(np.concatenate([decimal_distances(self.scores[order]) for order in orders]))
        values = np.empty((len(orders) * A, N))

        def fill(start: int) -> None:
            some = slice(start, start + _NEURONS_A_TASK)
            means = np.ascontiguousarray(self.means[:, :, some])
            values[:, some] = self.measure.value(means, patterns=patterns, distances_of=mean_pair_distances).T

        finished = wait([threads.submit(fill, start) for start in range(0, N, _NEURONS_A_TASK)])
        for future in finished.done:
            future.result()
        return values.reshape(len(orders), A, N)


def values_of_orders(permuted: PermutedValues, orders: NDArray[np.int64], threads: int) -> Iterator[Floats]:
    """Compare every neuron with every attribute under one permutation after the other.

    Parameters
    ----------
    permuted : PermutedValues
    orders : ndarray of int64, shape (B, C)
        From `concept_orders`.
    threads : int
        The values do not depend on it.

    Yields
    ------
    ndarray of float64, shape (A, N)
        As in `PermutedValues.compute`.
    """
    with ThreadPoolExecutor(threads) as pool:
        for values in permuted.in_batches(orders, pool):
            yield from values
