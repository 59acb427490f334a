"""Estimated effects of some items: one forward and one backward pass each, many items at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emoscale.extraction.writing import HostCopies
from emoscale.models.gradients import Estimated, estimating
from emoscale.models.loading import LanguageModel
from emoscale.models.masking import Edit
from emoscale.models.packing import pack
from emoscale.system.option_types import Precision
from emoscale.system.ranks import precision
from emoscale.tasks.task import Task


@dataclass(frozen=True, eq=False)
class Estimator:
    """What effects are estimated of, and how.

    Attributes
    ----------
    model : LanguageModel
    task : Task
    weights : ndarray of float64, shape (items, options)
        Gradient of the outcome by the scores.
    edit : Edit
    steps : int
        Points on the way to the edited values; with 1 the gradient is taken at the actual ones.
    precision : {"auto", "exact", "bfloat16"}
    """

    model: LanguageModel
    task: Task
    weights: NDArray[np.float64]
    edit: Edit
    steps: int
    precision: Precision

    def block(self, items: NDArray[np.int64], tokens_per_pass: int, values: Tensor) -> None:
        """Estimate the effects of consecutive items.

        Which items share a pass depends on these items alone.

        Parameters
        ----------
        items : ndarray of int64, shape (items,)
        tokens_per_pass : int
        values : Tensor
            Its first rows, (items, own neurons), are filled.
        """
        sites = self.model.outline.sites
        # Padding would be routed to experts that no token of the item's own goes to.
        one_length = self.model.outline.padding_leaks or any(site.experts for site in sites)
        lengths, copies = self.task.items["tokens"].to_numpy()[items], HostCopies()
        with estimating(self.model.module, sites, self.model.tp_rank, self.model.tp_size, edit=self.edit) as estimated:
            for rows in pack(lengths, tokens_per_pass, one_length=one_length):
                copies.put(self._effects(items[rows], estimated), values, torch.from_numpy(rows))
            copies.finish(values)

    def _effects(self, items: NDArray[np.int64], estimated: Estimated) -> Tensor:
        if self.steps == 1:
            estimated.expect(len(items))
            return estimated.take(self._outcome(items))
        found = []
        for number in range(len(self.model.outline.sites)):
            total: Tensor | None = None
            for step in range(self.steps):
                estimated.expect(len(items), (number, (step + 0.5) / self.steps))
                effects = estimated.take(self._outcome(items))
                total = effects if total is None else total + effects
            if total is not None:
                found.append(total / self.steps)
        return torch.cat([effects.to(found[0].device) for effects in found], dim=1)

    def _outcome(self, items: NDArray[np.int64]) -> Tensor:
        with precision(self.precision, self.model.device):
            scores = self.task.scores(items)
        weights = torch.from_numpy(self.weights[items]).to(scores.device, scores.dtype)
        return (scores * weights).sum()


def one_pass(estimator: Estimator) -> Callable[[int], None]:
    """Return a function that makes passes of a number of tokens, over the longest and over the shortest item."""
    lengths = estimator.task.items["tokens"].to_numpy()
    width = sum(site.width for site in estimator.model.outline.sites) // estimator.model.tp_size

    def run(budget: int) -> None:
        for item in dict.fromkeys((int(lengths.argmax()), int(lengths.argmin()))):
            items = np.full(max(budget // int(lengths[item]), 1), item)
            estimator.block(items, budget, torch.empty(len(items), width))

    return run
