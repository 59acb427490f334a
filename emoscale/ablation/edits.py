"""What masked neurons become: nothing, a fraction, their mean, or what they were for another row."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from emoscale.errors import InputError, StageError
from emoscale.models.masking import ZERO, Edit
from emoscale.run.folder import RunFolder
from emoscale.schema import ACTIVATIONS, MOMENTS, StoreSchema
from emoscale.store import Store, mean_activations, open_store

DONORS = 64
"""Rows of activations that resampled values come from, at most."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class RowEdit:
    """An edit, and which donor each row takes.

    Attributes
    ----------
    of_neurons : Edit
    seed : int
    """

    of_neurons: Edit = ZERO
    seed: int = 0

    def donors(self, questions: NDArray[np.int64], masks: NDArray[np.int64]) -> NDArray[np.int64]:
        """Draw each row's donor.

        It depends on the seed, the question and the mask alone, whatever else is in the pass.

        Parameters
        ----------
        questions, masks : ndarray of int64, shape (rows,)

        Returns
        -------
        ndarray of int64, shape (rows,)
        """
        count = 1 if self.of_neurons.donors is None else len(self.of_neurons.donors)
        if count == 1:
            return np.zeros(len(questions), np.int64)
        state = np.full(len(questions), self.seed, np.uint64)
        for part in (questions, masks):
            state = _mixed(state ^ part.astype(np.uint64))
        return (state % np.uint64(count)).astype(np.int64)


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64 bits (SplitMix64: Steele, Lea & Flood 2014, OOPSLA)."""
    z = state + _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def make_edit(folder: RunFolder, kind: str, factor: float = 0.5, seed: int = 0) -> RowEdit:
    """Make an edit by name.

    Parameters
    ----------
    folder : RunFolder
        Holds the extraction, for the last two kinds.
    kind : {"zero", "scale", "mean", "resample"}
        Multiply by 0 (the study's), by `factor` (its float mask), set to the neuron's mean over the extraction's rows,
        or to its value in one of them. All neurons of a row take the values of one donor, drawn for each question and
        mask.
    factor : float
    seed : int
        Of the donors.

    Returns
    -------
    RowEdit

    Raises
    ------
    InputError
        If the activations are not there; for ``resample`` also if only their moments were kept.
    StageError
        If they are not finished.
    """
    if kind == "zero":
        return RowEdit()
    if kind == "scale":
        return RowEdit(Edit("scale", factor))
    values = _mean(folder) if kind == "mean" else _some_rows(folder, seed)
    # An expert's neuron has no value in a row that was not routed to it, where it added nothing.
    donors = torch.from_numpy(np.nan_to_num(values, nan=0.0))
    return RowEdit(Edit("replace", donors=donors), seed)


def _mean(folder: RunFolder) -> NDArray[np.float32]:
    if folder.moments.exists():
        store = _finished(folder.moments, MOMENTS)
        count = store.read("count").astype(np.float64)
        total = np.nansum(store.read("mean") * count, axis=0)
        rows = count.sum(axis=0)
        mean = np.divide(total, rows, out=np.full(len(rows), np.nan), where=rows > 0)
    else:
        mean = mean_activations(_finished(folder.activations, ACTIVATIONS))
    return np.asarray(mean[None], np.float32)


def _some_rows(folder: RunFolder, seed: int) -> NDArray[np.float32]:
    if folder.moments.exists():
        raise InputError("edit 'resample' needs extraction.keep: activations; this run kept only moments")
    store = _finished(folder.activations, ACTIVATIONS)
    (height, width), rows, neurons = store.chunks("activations"), store.sizes["observation"], store.sizes["neuron"]
    chosen = np.sort(np.random.default_rng(seed).choice(rows, min(DONORS, rows), replace=False))
    found = np.empty((len(chosen), neurons), np.float32)
    block, within = np.divmod(chosen, height)
    for number in np.unique(block):  # chunk by chunk: by row, each would be read for every row in it
        there = block == number
        start = int(number) * height
        for first in range(0, neurons, width):
            piece = store.read(
                "activations", observation=slice(start, start + height), neuron=slice(first, first + width)
            )
            found[there, first : first + width] = piece[within[there]]
    return found


def _finished(path: Path, schema: StoreSchema) -> Store:
    store = open_store(path, schema)
    if not store.complete:
        raise StageError(f"{path}: not finished; run emoscale extract to its end first")
    return store
