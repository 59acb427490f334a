"""The estimated effects of every neuron that a run holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.effect_schema import EFFECT_CHECK, EFFECT_MOMENTS, EFFECTS, EXACT_EFFECTS
from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_finished
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
        What the items of each cell have in common, and ``items``, the number of them.
    by_cell : ndarray of float64, shape (cells, neurons)
        NaN where a neuron was absent in all of a cell's items.
    overall : ndarray of float64, shape (neurons,)
        Mean over all items in which a neuron was not absent.
    """

    cells: pd.DataFrame
    by_cell: NDArray[np.float64]
    overall: NDArray[np.float64]


def mean_effects(
    folder: RunFolder, by: Sequence[str] = ("concept", "replicate"), *, estimates_alone: bool = False
) -> MeanEffects:
    """Read the mean effects of every neuron, by cell and over all items.

    Where a neuron's effects were computed exactly, these are returned.

    Parameters
    ----------
    folder : RunFolder
    by : sequence of str
        What makes a cell: some of ``concept``, ``replicate`` and ``half``.
    estimates_alone : bool
        Return the estimates of all neurons.

    Raises
    ------
    StageError
        If they are missing or not finished.
    """
    store, by = open_effects(folder), list(by)
    neurons, are_moments = store.sizes["neuron"], store.schema.kind == EFFECT_MOMENTS.kind
    stored = pd.DataFrame({name: store.read(name) for name in by})
    stored["items"] = store.read("rows") if are_moments else 1
    groups = stored.groupby(by, sort=False)
    cells, cell = groups["items"].sum().reset_index(), groups.ngroup().to_numpy()
    total, count = np.zeros((len(cells), neurons)), np.zeros((len(cells), neurons))
    for start in range(0, neurons, _NEURONS_AT_A_TIME):
        some = slice(start, start + _NEURONS_AT_A_TIME)
        if are_moments:
            known = store.read("count", neuron=some)
            values = np.where(known > 0, store.read("mean", neuron=some) * known, 0.0)
        else:
            values = store.read("effects", neuron=some).astype(np.float64)
            known = ~np.isnan(values)
        np.add.at(total[:, some], cell, np.where(known, values, 0.0))
        np.add.at(count[:, some], cell, known)
    with np.errstate(invalid="ignore"):
        found = MeanEffects(cells, total / count, total.sum(axis=0) / count.sum(axis=0))
    if not estimates_alone and folder.exact_effects.exists():
        _use_exact(open_finished(folder.exact_effects, EXACT_EFFECTS), found)
    return found


def effect_sizes(folder: RunFolder) -> NDArray[np.float64]:
    """Read how large every neuron's estimated effect is on single items: the root of its mean square.

    Returns
    -------
    ndarray of float64, shape (neurons,)
        NaN where a neuron was always absent.

    Raises
    ------
    StageError
        If they are missing or not finished.
    """
    store = open_effects(folder)
    found = np.empty(store.sizes["neuron"])
    for start in range(0, len(found), _NEURONS_AT_A_TIME):
        some = slice(start, start + _NEURONS_AT_A_TIME)
        if store.schema.kind == EFFECT_MOMENTS.kind:
            mean, m2, count = (store.read(name, neuron=some) for name in ("mean", "m2", "count"))
            squares = np.where(count > 0, m2 + count * mean**2, 0.0)
        else:
            effects = store.read("effects", neuron=some).astype(np.float64)
            squares, count = np.nan_to_num(effects) ** 2, ~np.isnan(effects)
        with np.errstate(invalid="ignore"):
            found[some] = np.sqrt(squares.sum(axis=0) / count.sum(axis=0))
    return found


def exact_neurons(folder: RunFolder) -> NDArray[np.int64]:
    """Return the numbers of the neurons whose effects were computed exactly."""
    if not folder.exact_effects.exists():
        return np.empty(0, np.int64)
    return open_finished(folder.exact_effects, EXACT_EFFECTS).read("neuron")


def _use_exact(store: Store, found: MeanEffects) -> None:
    """Replace the estimates of some neurons by their exact effects."""
    by = [name for name in found.cells.columns if name != "items"]
    effects = pd.DataFrame(store.read("effects").astype(np.float64))
    labels = pd.MultiIndex.from_arrays([store.read(name) for name in by])
    cells = pd.MultiIndex.from_frame(found.cells[by])
    neurons = store.read("neuron")
    found.by_cell[:, neurons] = effects.groupby(cells.get_indexer(labels)).mean()
    found.overall[neurons] = effects.mean()


def effects_by_half(folder: RunFolder) -> NDArray[np.float64]:
    """Read the mean effects of every neuron over each half of the items.

    Returns
    -------
    ndarray of float64, shape (2, neurons)
        NaN where a neuron was absent in all of a half's items. The halves of a run with a single text are both its mean
        over all items.

    Raises
    ------
    StageError
        If they are missing or not finished.
    """
    found = mean_effects(folder, ["half"])
    if len(found.cells) == 1:
        return np.stack([found.overall, found.overall])
    return found.by_cell[np.argsort(found.cells["half"].to_numpy())]


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
    samples = pd.DataFrame({name: store.read(name) for name in ("stratum", "k", "neuron", "is_exact")})
    estimated, exact, change = (store.read(name).astype(np.float64) for name in ("estimated", "exact", "change"))
    return Checked(samples, estimated, exact, change)
