"""The estimated effects of every neuron that a run holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_finished
from emoscale.schema import EFFECT_CHECK, EFFECT_MOMENTS, EFFECTS
from emoscale.statistics import Floats
from emoscale.store import Store

_NEURONS_AT_A_TIME = 2**16


def has_effects(folder: RunFolder) -> bool:
    """Whether a run has effects, by item or their moments."""
    return folder.effects.exists() or folder.effect_moments.exists()


def open_effects(folder: RunFolder) -> Store:
    """Open a run's effects by item, or the moments that were kept instead.

    Raises
    ------
    StageError
        If they are missing or not finished.
    """
    if folder.effects.exists() or not folder.effect_moments.exists():
        return open_finished(folder.effects, EFFECTS)
    return open_finished(folder.effect_moments, EFFECT_MOMENTS)


@dataclass(frozen=True, eq=False)
class MeanEffects:
    """Mean effects over items.

    Attributes
    ----------
    cells : DataFrame
        ``concept``, ``replicate``, and ``items``, the number of them.
    by_cell : ndarray of float64, shape (cells, neurons)
        NaN where a neuron was absent in all of a cell's items.
    overall : ndarray of float64, shape (neurons,)
        Mean over all items in which a neuron was not absent.
    """

    cells: pd.DataFrame
    by_cell: NDArray[np.float64]
    overall: NDArray[np.float64]


def mean_effects(folder: RunFolder) -> MeanEffects:
    """Read the mean effects of every neuron, by concept and replicate and over all items.

    Raises
    ------
    StageError
        If they are missing or not finished.
    """
    store = open_effects(folder)
    neurons = store.sizes["neuron"]
    if store.schema.kind == EFFECT_MOMENTS.kind:
        cells = pd.DataFrame({name: store.read(name) for name in ("concept", "replicate", "rows")})
        mean, count = store.read("mean"), store.read("count").astype(np.float64)
        total = np.where(count > 0, mean * count, 0.0)
        cells = cells.rename(columns={"rows": "items"})
    else:
        items = pd.DataFrame({name: store.read(name) for name in ("concept", "replicate")})
        groups = items.groupby(["concept", "replicate"], sort=False)
        cells, cell = groups.size().rename("items").reset_index(), groups.ngroup().to_numpy()
        total, count = np.zeros((len(cells), neurons)), np.zeros((len(cells), neurons))
        for start in range(0, neurons, _NEURONS_AT_A_TIME):
            some = slice(start, start + _NEURONS_AT_A_TIME)
            values = store.read("effects", neuron=some).astype(np.float64)
            np.add.at(total[:, some], cell, np.nan_to_num(values))
            np.add.at(count[:, some], cell, ~np.isnan(values))
    with np.errstate(invalid="ignore"):
        return MeanEffects(cells, total / count, total.sum(axis=0) / count.sum(axis=0))


class Checked(NamedTuple):
    """What was compared, arrays as in the schema of the effect check."""

    samples: pd.DataFrame
    estimated: Floats
    exact: Floats
    change: Floats


def read_checked(folder: RunFolder) -> Checked | None:
    """Read a run's comparison; None if it has none."""
    if not folder.effect_check.exists():
        return None
    store = open_finished(folder.effect_check, EFFECT_CHECK)
    samples = pd.DataFrame({name: store.read(name) for name in ("stratum", "k", "neuron")})
    estimated, exact, change = (store.read(name).astype(np.float64) for name in ("estimated", "exact", "change"))
    return Checked(samples, estimated, exact, change)
