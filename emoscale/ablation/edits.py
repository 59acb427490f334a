"""What masked neurons become: zero, a fraction, their mean, or their value in another row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from emoscale.ablation.options import AblationOptions
from emoscale.models.masking import ZERO, Edit
from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_extraction
from emoscale.schema import MOMENTS
from emoscale.store import Activations, mean_activations
from emoscale.system.option_types import lookup

RESAMPLE = "resample"
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

    @property
    def depends_on_item(self) -> bool:
        """Whether a mask edits rows of different items differently."""
        return self.of_neurons.donors is not None and len(self.of_neurons.donors) > 1

    def donors(self, items: NDArray[np.int64], masks: NDArray[np.int64]) -> NDArray[np.int64]:
        """Draw each row's donor.

        It depends on the seed, the item and the mask alone, not on what else is in the pass.

        Parameters
        ----------
        items, masks : ndarray of int64, shape (rows,)

        Returns
        -------
        ndarray of int64, shape (rows,)
        """
        if not self.depends_on_item or self.of_neurons.donors is None:
            return np.zeros(len(items), np.int64)
        count = len(self.of_neurons.donors)
        state = np.full(len(items), self.seed, np.uint64)
        for part in (items, masks):
            state = _mixed(state ^ part.astype(np.uint64))
        return (state % np.uint64(count)).astype(np.int64)


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64 bits (SplitMix64: Steele, Lea & Flood 2014, OOPSLA)."""
    z = state + _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@dataclass(frozen=True)
class EditKind:
    """What ``ablation.edit`` can name.

    Attributes
    ----------
    name, meaning : str
    make : callable
        Makes the edit from the run folder, which holds the extraction, and the options.
    done : str
        What happened to the neurons, for the report: "The neurons ...".
    limit : str
        What the edit leaves open, in sentences for the report.
    uses : tuple of str
        Options that only some edits read, such as ``factor``; the others are refused.
    needs_rows : bool
        Whether it needs every row's activations, not only their moments.
    of_activations : callable, optional
        Makes the edit from `Activations` and the options, if it depends on nothing else of the run.
    """

    name: str
    meaning: str
    make: Callable[[RunFolder, AblationOptions], RowEdit]
    done: str
    limit: str
    uses: tuple[str, ...] = ()
    needs_rows: bool = False
    of_activations: Callable[[Activations, AblationOptions], RowEdit] | None = None


def make_edit(folder: RunFolder, options: AblationOptions) -> RowEdit:
    """Make the edit that the options name.

    Raises
    ------
    InputError
        If there is no such edit, or it needs activations and only their moments were kept.
    StageError
        If it needs the extraction, which is missing or not finished.
    """
    return lookup("ablation.edit", EDITS, options.edit).make(folder, options)


def _zero(_folder: RunFolder, _options: AblationOptions) -> RowEdit:
    return RowEdit()


def _scale(_folder: RunFolder, options: AblationOptions) -> RowEdit:
    return RowEdit(Edit("scale", options.factor))


def _mean(folder: RunFolder, options: AblationOptions) -> RowEdit:
    return replace_by(_mean_of_rows(folder)[None], options.seed)


def _resample(folder: RunFolder, options: AblationOptions) -> RowEdit:
    return _resample_of(open_extraction(folder, needed_by=f"ablation.edit {RESAMPLE!r}"), options)


def _mean_of(activations: Activations, options: AblationOptions) -> RowEdit:
    return replace_by(mean_activations(activations)[None], options.seed)


def _resample_of(activations: Activations, options: AblationOptions) -> RowEdit:
    return replace_by(_some_rows(activations, options.seed), options.seed)


def replace_by(values: NDArray[np.floating], seed: int = 0) -> RowEdit:
    """Make the edit that sets masked neurons to their values in one of some rows.

    Parameters
    ----------
    values : ndarray, shape (donors, neurons)
        With one donor all rows take its values; else one is drawn for each item and mask.
    seed : int
    """
    # An expert's neuron has no value in a row that was not routed to it, where it added nothing.
    donors = torch.from_numpy(np.nan_to_num(np.asarray(values, np.float32), nan=0.0))
    return RowEdit(Edit("replace", donors=donors), seed)


def _mean_of_rows(folder: RunFolder) -> NDArray[np.float64]:
    store = open_extraction(folder)
    if store.schema.kind != MOMENTS.kind:
        return mean_activations(store)
    count = store.read("count").astype(np.float64)
    total = np.nansum(store.read("mean") * count, axis=0)
    rows = count.sum(axis=0)
    mean = np.full(len(rows), np.nan)
    np.divide(total, rows, out=mean, where=rows > 0)
    return mean


def _some_rows(store: Activations, seed: int) -> NDArray[np.float32]:
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


EDITS: dict[str, EditKind] = {
    edit.name: edit
    for edit in (
        EditKind(
            "zero",
            "0, as published",
            _zero,
            "were set to zero",
            "Switching a neuron off sets it to zero, a value it may never take by itself. Some of the harm can come "
            "from that unusual state rather than from the loss of what the neuron represented.",
        ),
        EditKind(
            "scale",
            "``factor`` times its own value",
            _scale,
            "were multiplied by a constant",
            "Switching a neuron off only scales it here. What is left of it may still serve, so that the losses say "
            "nothing of what the model would lose without it altogether.",
            uses=("factor",),
        ),
        EditKind(
            "mean",
            "its mean over the extraction's rows",
            _mean,
            "were held at their mean activation",
            "Switching a neuron off holds it at its mean. That takes away how it varies, but so many neurons at their "
            "means at once may be a state that the model never reaches by itself; some of the harm can come from that.",
            of_activations=_mean_of,
        ),
        EditKind(
            RESAMPLE,
            "its value in one of the extraction's rows, drawn for each item and mask",
            _resample,
            "were given the activations that they had for another input",
            "Switching a neuron off gives it the activation that it had for another input. The neuron takes such "
            "values, but not with the rest of the model as it is now, and what is true of another input can mislead "
            "the model, which is more than to miss something.",
            uses=("seed",),
            needs_rows=True,
            of_activations=_resample_of,
        ),
    )
}
"""What can become of masked neurons."""
