"""How strongly neurons are active over all concepts: their mean absolute activation over all rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_extraction
from emoscale.store import mean_activations
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
        ignored; 0 for a neuron that is absent from all. Infinite where an activation is.

    Raises
    ------
    InputError
        If the run kept only moments.
    StageError
        If the activations are missing or not finished.
    """
    store = open_extraction(folder, needed_by="mean absolute activation")
    progress.start(store.sizes["neuron"], "neurons")
    return mean_activations(store, np.abs, progress.advance)
