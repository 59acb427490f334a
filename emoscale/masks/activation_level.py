"""How strongly neurons are active, whatever the concept: their mean absolute activation over all rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emoscale.errors import InputError, StageError
from emoscale.run.folder import RunFolder
from emoscale.schema import ACTIVATIONS
from emoscale.store import mean_activations, open_store
from emoscale.system.progress import Progress


def mean_absolute_activation(folder: RunFolder, progress: Progress) -> NDArray[np.float64]:
    """Average each neuron's absolute activation over all rows, holding one chunk of them in memory.

    Parameters
    ----------
    folder : RunFolder
        Holds the finished activations.
    progress : Progress
        Counts neurons.

    Returns
    -------
    ndarray of float64, shape (N,)
        In the model's own units, the same to the last bit for any chunks. Rows in which a neuron is absent (NaN) are
        left out; 0 for a neuron that is absent from all. Infinite where an activation is.

    Raises
    ------
    InputError
        If the run kept only moments, which do not tell.
    StageError
        If the activations are not finished.
    """
    if folder.moments.exists():
        raise InputError("activation-matched controls need extraction.keep: activations; this run kept only moments")
    store = open_store(folder.activations, ACTIVATIONS)
    if not store.complete:
        raise StageError(f"{folder.activations}: not finished; run `emoscale extract` to its end first")
    progress.start(store.sizes["neuron"], "neurons")
    return mean_activations(store, np.abs, progress.advance)


def level_bins(level: NDArray[np.float64], bins: int) -> NDArray[np.intp]:
    """Cut neurons into bins of equal numbers by their level.

    Parameters
    ----------
    level : ndarray of float64, shape (N,)
    bins : int

    Returns
    -------
    ndarray of int, shape (N,)
        From 0, the lowest. Neurons of equal level are in one bin, that of the lowest of their places, so that ties
        make bins unequal and may leave some empty.
    """
    below = np.searchsorted(np.sort(level), level, side="left")
    return below * bins // max(len(level), 1)
