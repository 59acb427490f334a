"""Outcomes after the masks of attributes as they are and of permuted ones, exact and estimated."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.analysis.drop_estimates import Covariate
from emoscale.analysis.item_outcomes import ItemSample, item_outcomes
from emoscale.analysis.options import AnalysisOptions
from emoscale.effect_schema import RELATION
from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_finished
from emoscale.schema import HALF, PERMUTED, SCORES, SELECTIVE
from emoscale.statistics import Floats
from emoscale.tasks.item_scores import count_asked
from emoscale.tasks.outcomes import ATTRIBUTED, OUTCOMES, Design, read_design


def mask_numbers(masks: pd.DataFrame, attributes: list[str]) -> dict[int, NDArray[np.int64]]:
    """Find the masks of each attribute, as it is and permuted.

    Parameters
    ----------
    masks : DataFrame
        ``mask`` (number), ``kind``, ``attribute``, ``k``, ``draw``.
    attributes : list of str

    Returns
    -------
    dict of int to ndarray of int64, shape (1 + D, A)
        By size k: first the selective masks, then the permuted ones by draw.
    """
    found: dict[int, NDArray[np.int64]] = {}
    for k in sorted({int(k) for k in masks.loc[masks["kind"] == SELECTIVE, "k"]}):
        found[k] = np.concatenate([numbers_of_kind(masks, kind, k, attributes) for kind in (SELECTIVE, PERMUTED)])
    return found


def numbers_of_kind(masks: pd.DataFrame, kind: str, k: int, attributes: list[str]) -> NDArray[np.int64]:
    """Find the masks of one kind and size: a row each draw that every attribute has, a column each attribute."""
    own = masks[(masks["kind"] == kind) & (masks["k"] == k)]
    table = own.pivot_table("mask", "draw", "attribute", aggfunc="first").reindex(columns=attributes)
    return table.dropna().to_numpy(np.int64)


@dataclass(frozen=True, eq=False)
class PermutedMasks:
    """Outcomes after the masks of the attributes as they are, and of permuted ones.

    Attributes
    ----------
    folder : RunFolder
        Holds the finished scores and, if effects were estimated, their relation to selectivity.
    attributes : list of str
    options : AnalysisOptions
    estimated : DataFrame, optional
        From `emoscale.analysis.mask_effects.mask_effects`.
    """

    folder: RunFolder
    attributes: list[str]
    options: AnalysisOptions
    estimated: pd.DataFrame | None = None

    @cached_property
    def sample(self) -> ItemSample:
        """The items."""
        return ItemSample.of(self._design.items)

    @cached_property
    def _design(self) -> Design:
        return read_design(open_finished(self.folder.scores, SCORES))

    @cached_property
    def numbers(self) -> dict[int, NDArray[np.int64]]:
        """Number of each mask, by size: (1 + D, A), the true attributes first."""
        return mask_numbers(self._design.masks, self.attributes)

    def draws(self, k: int) -> int:
        """Return the number D of permuted draws of one size."""
        return len(self.numbers[k]) - 1

    def items(self, k: int) -> NDArray[np.int64]:
        """Return how many items were asked under the masks of one size: (A,)."""
        first = self.numbers[k][0]
        return np.array([self._asked[number] for number in first], np.int64)

    @cached_property
    def _asked(self) -> NDArray[np.int64]:
        return count_asked(open_finished(self.folder.scores, SCORES))

    @cached_property
    def _measured(self) -> tuple[Floats, Floats]:
        return self._item_outcomes(self.options.outcome)

    @cached_property
    def _accuracies(self) -> Floats:
        return self._item_outcomes("accuracy")[1]

    def _item_outcomes(self, outcome: str) -> tuple[Floats, Floats]:
        store = open_finished(self.folder.scores, SCORES)
        return item_outcomes(store, self.sample, OUTCOMES[outcome], self.options.normalization)

    def values(self, k: int) -> Floats:
        """Return what items contribute to the mean outcome: (items, 1 + D, A)."""
        return self._measured[1][:, self.numbers[k]]

    def halves(self, k: int) -> NDArray[np.int64]:
        """Return the numbers of the masks that either half of the replicates chose: (2, A), or (0, A) without any."""
        return numbers_of_kind(self._design.masks, HALF, k, self.attributes)

    def values_of_half(self, k: int, half: int) -> Floats:
        """Return the same as `values`, with what one half of the replicates chose in place of the selective masks."""
        chosen = np.concatenate([self.halves(k)[[half]], self.numbers[k][1:]])
        return self._measured[1][:, chosen]

    def accuracies(self, k: int) -> Floats:
        """Return what items contribute to the accuracy: (items, 1 + D, A)."""
        return self._accuracies[:, self.numbers[k]]

    def outcomes(self, k: int) -> Floats:
        """Return mean outcomes: (1 + D, A)."""
        return self.sample.means(self.values(k))

    def by_concept(self, k: int) -> Floats:
        """Return mean outcomes of each concept: (1 + D, C, A)."""
        own = self.sample.weights[:, None, None] * self._measured[0][:, self.numbers[k]]
        return np.moveaxis(self.sample.by_concept(own), 0, 1)

    @cached_property
    def _relation(self) -> tuple[list[int], Floats] | None:
        if not self.folder.relation.exists():
            return None
        store = open_finished(self.folder.relation, RELATION)
        return [int(k) for k in store.read("k")], store.read("effect")

    def estimates(self, k: int) -> Floats | None:
        """Return estimated effects of masks of one size, (1 + B, A), true attributes first; None if there are none."""
        if self._relation is None or k not in self._relation[0]:
            return None
        sizes, effects = self._relation
        return None if len(effects) < 2 else np.asarray(effects[:, :, sizes.index(k)])

    def covariate(self, k: int) -> Covariate | None:
        """Return estimated effects of permuted masks of one size; None if the outcome is not what was estimated."""
        expected, masks = self.estimates(k), self.estimated
        if expected is None or masks is None or self.options.outcome != ATTRIBUTED.name:
            return None
        own = masks[(masks["kind"] == PERMUTED) & (masks["k"] == k)]
        drawn = own.pivot_table("estimated", "draw", "attribute", aggfunc="first").reindex(columns=self.attributes)
        return Covariate(drawn.to_numpy(np.float64), expected[1:])
