"""What the masks' control from permuted concepts is made of, as the run's settings have it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from emoscale.pipeline.context import Context
from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_extraction
from emoscale.selectivity.permutation import concept_orders
from emoscale.selectivity.permuted_values import PermutedValues, values_of_orders
from emoscale.system.progress import Progress


def permuted_values(context: Context, folder: RunFolder, progress: Progress) -> Iterator[NDArray[np.float64]]:
    """Read the activations' means and compute every neuron's selectivity for permuted concepts.

    Parameters
    ----------
    context : Context
        Its settings of the masks say how many permutations and of which seed, those of the selectivity which measure.
    folder : RunFolder
        Holds the finished activations, or the moments that were kept instead.
    progress : Progress

    Returns
    -------
    iterator of ndarray of float64, shape (A, N)
        One a permutation. The first ones do not depend on how many there are.

    Raises
    ------
    StageError
        If the activations are missing or not finished.
    """
    settings, concepts, executor = context.settings, context.concepts, context.executor
    permuted = PermutedValues.of(open_extraction(folder), concepts, settings.selectivity, executor, progress)
    orders = concept_orders(len(concepts.names), settings.masks.permutations, settings.masks.seed)
    return values_of_orders(permuted, orders, executor.threads_here)
