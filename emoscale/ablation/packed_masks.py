"""The run's masks, as the ablation reads them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_finished
from emoscale.schema import MASKS


@dataclass(frozen=True)
class PackedMasks:
    """The run's masks, eight neurons a byte: of a large model, only those of one unit fit into memory unpacked.

    Attributes
    ----------
    bits : ndarray of uint8, shape (masks, bytes)
        The first neuron in the highest bit.
    neurons : int
    """

    bits: NDArray[np.uint8]
    neurons: int

    def off(self, masks: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Unpack some masks: bool, shape (masks, neurons)."""
        return np.unpackbits(self.bits[masks], axis=1, count=self.neurons).view(np.bool_)


def read_masks(folder: RunFolder) -> tuple[pd.DataFrame, PackedMasks]:
    """Read the run's masks.

    Returns
    -------
    DataFrame
        Columns mask, kind, attribute, k, draw; one row a mask.
    PackedMasks

    Raises
    ------
    StageError
        If the masks are not finished.
    """
    store = open_finished(folder.masks, MASKS)
    table = pd.DataFrame({name: store.read(name) for name in ("kind", "attribute", "k", "draw")})
    table.insert(0, "mask", np.arange(len(table)))
    return table, PackedMasks(store.read("bits"), store.attributes["origin"]["neurons"])
