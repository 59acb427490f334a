"""Scores of a run's items under some masks, and outcomes computed of them, some from a share of the items."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from emoscale.statistics import Floats
from emoscale.store import Store
from emoscale.tasks.outcomes import NORMALIZATIONS, Design
from emoscale.tasks.partly_known import corrected


@dataclass(frozen=True, eq=False)
class ItemScores:
    """Scores of all items under some masks.

    Attributes
    ----------
    scores : ndarray of float64, shape (items, masks, options)
        In the type that all were computed in; under masks that were not put to all items, those without a mask.
    exact : ndarray of float64, shape (items, masks, options), optional
        The same in the weights' own type, or under the masks; NaN of the items of which it was not computed.
    design : Design
    """

    scores: Floats
    exact: Floats | None
    design: Design

    @cached_property
    def best(self) -> Floats:
        """The scores, corrected by the exact ones: (items, masks, options). Only what is linear in them may use it."""
        return self.scores if self.exact is None else corrected(self.scores, self.exact, self.design.group)

    def levels(self, normalization: str) -> list[Floats]:
        """Normalize the scores of each precision: one or two arrays (items, masks, options).

        Where a normalization relates items, the exact scores are related to the corrected ones of all items, as if
        these were known: what an item's others add to its own score is linear in theirs. In the second array items
        without exact scores have those of the first, so that outcomes can be computed of all; `combined` ignores them.
        """
        entry, design = NORMALIZATIONS[normalization], self.design
        first = entry.apply(self.scores, design)
        if self.exact is None:
            return [first]
        if entry.needs_several:
            second = self.exact + (entry.apply(self.best, design) - self.best)
        else:
            second = entry.apply(self.exact, design)
        return [first, np.where(np.isnan(self.exact), first, second)]

    def combined(self, outcomes: list[Floats]) -> Floats:
        """Correct what was computed of the first of the `levels` by what was of the second: (items, masks, x)."""
        if self.exact is None:
            return outcomes[0]
        first, second = outcomes
        is_known = ~np.isnan(self.exact[:, :, :1])
        return corrected(first, np.where(is_known, second, np.nan), self.design.group)

    def outcome(self, compute: Callable[[Floats, NDArray[np.int64]], Floats], normalization: str) -> Floats:
        """Compute an outcome of every item, (items, masks, x), by a function of `emoscale.tasks.outcomes.Outcome`."""
        right = self.design.items["right"].to_numpy(np.int64)[:, None, None]
        return self.combined([compute(values, right) for values in self.levels(normalization)])


def read_scores(store: Store, design: Design, masks: slice = slice(None)) -> ItemScores:
    """Read the scores under some consecutive masks.

    Parameters
    ----------
    store : Store
        Finished scores.
    design : Design
        From `emoscale.tasks.outcomes.read_design`.
    masks : slice
    """
    scores = store.read("scores", mask=masks).astype(np.float64)
    if store.sizes["exact_item"]:
        return ItemScores(scores, store.read("exact_scores", mask=masks).astype(np.float64), design)
    if not np.isnan(scores).any():
        return ItemScores(scores, None, design)
    first = design.without_mask
    without = store.read("scores", mask=slice(first, first + 1)).astype(np.float64)
    return ItemScores(np.broadcast_to(without, scores.shape), scores, design)


def count_asked(store: Store) -> NDArray[np.int64]:
    """Count the items that were asked under each mask: (masks,)."""
    width = store.chunks("scores")[1]
    parts = (store.read("scores", mask=slice(start, start + width)) for start in range(0, store.sizes["mask"], width))
    return np.concatenate([np.count_nonzero(~np.isnan(scores[:, :, 0]), axis=0) for scores in parts])
