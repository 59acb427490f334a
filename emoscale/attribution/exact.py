"""Exact ablation of a few masks of one's own, by the ablation's own means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoscale.ablation.ablate import ablate
from emoscale.ablation.options import TWO_LEVEL, AblationOptions
from emoscale.errors import InputError
from emoscale.models.loading import LanguageModel
from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_finished
from emoscale.schema import MASKS, NO_MASK, SCORES, StoreSchema
from emoscale.statistics import Floats
from emoscale.store import create_store, open_store
from emoscale.system.progress import Progress
from emoscale.system.ranks import Ranks
from emoscale.tasks.outcomes import ATTRIBUTED, NORMALIZATIONS, Design, gradient, read_design
from emoscale.tasks.task import Task


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of some items under some masks, the first of which edits nothing.

    Attributes
    ----------
    by_option : ndarray of float64, shape (items, masks, options)
    design : Design
    """

    by_option: Floats
    design: Design

    def weights(self, normalization: str) -> Floats:
        """Return the gradient of the sum of the items' log-odds by their scores without a mask: (items, options)."""
        return gradient(self.by_option[:, :1], self.design, ATTRIBUTED, normalization)[:, 0]

    def contributions(self, weights: Floats) -> Floats:
        """Return the change of each item's scores under each further mask, weighed: (items, masks - 1)."""
        return np.asarray(((self.by_option[:, 1:] - self.by_option[:, :1]) * weights[:, None]).sum(axis=2))

    def changes(self, normalization: str) -> Floats:
        """Return how each further mask changes the mean log-odds: (masks - 1,)."""
        outcome = self.log_odds(normalization)
        return np.asarray((outcome[:, 1:] - outcome[:, :1]).mean(axis=0))

    def log_odds(self, normalization: str) -> Floats:
        """Return the log-odds of each item's right answer: (items, masks)."""
        right = self.design.items["right"].to_numpy(np.int64)[:, None, None]
        return ATTRIBUTED.compute(NORMALIZATIONS[normalization].apply(self.by_option, self.design), right)[:, :, 0]


@dataclass(frozen=True)
class ExactAblation:
    """How neurons are ablated exactly.

    Attributes
    ----------
    folder : RunFolder
    model : LanguageModel
    options : AblationOptions
    origin : mapping
        Where the scores come from.
    ranks : Ranks
    place : Path, optional
        Folder within the run's for masks and scores; by default `RunFolder.exact_checks`.
    """

    folder: RunFolder
    model: LanguageModel
    options: AblationOptions
    origin: Mapping[str, Any]
    ranks: Ranks
    place: Path | None = None

    def scores(self, task: Task, part: str, off: NDArray[np.bool_], progress: Progress) -> Scores:
        """Score items without a mask and under some masks; what is done already is kept.

        Parameters
        ----------
        task : Task
        part : str
            Name of a folder for the masks and scores.
        off : ndarray of bool, shape (masks, neurons)
        progress : Progress
        """
        folder, options = self.folder.with_ablation((self.place or self.folder.exact_checks) / part), self.options
        if self.ranks.is_main:
            _write_masks(folder, off)
        self.ranks.wait()
        if options.precision == TWO_LEVEL:  # few masks, of which single items are looked at
            options = replace(options, precision="exact", exact_share=None)
        if len(off) == 0:  # as much work in a unit as with many masks
            options = replace(options, items_per_unit=options.items_per_unit * options.masks_per_unit, masks_per_unit=1)
        ablate(folder, self.model, task, options, origin=self.origin, ranks=self.ranks, progress=progress)
        store = open_finished(folder.scores, SCORES)
        return Scores(store.read("scores").astype(np.float64), read_design(store))


def _write_masks(folder: RunFolder, off: NDArray[np.bool_]) -> None:
    folder.masks.parent.mkdir(parents=True, exist_ok=True)
    coordinates = {
        "kind": np.array([NO_MASK, *["check"] * len(off)], object),
        "attribute": np.full(len(off) + 1, "", object),
        "k": np.array([0, *off.sum(axis=1)], np.int32),
        "draw": np.array([0, *range(len(off))], np.int32),
    }
    bits = np.packbits(np.concatenate([np.zeros((1, off.shape[1]), np.bool_), off]), axis=1)
    origin = {"neurons": off.shape[1]}
    store = create_store(folder.masks, MASKS, coordinates, {}, sizes={"neuron_byte": bits.shape[1]}, attributes=origin)
    store.write("bits", bits)
    store.mark_complete()


def is_finished(path: Path, schema: StoreSchema, origin: Mapping[str, Any]) -> bool:
    """Whether a process that was killed at the end of the stage has finished a store of this origin."""
    try:
        store = open_store(path, schema)
    except InputError:
        return False
    return store.complete and store.attributes["origin"] == origin
