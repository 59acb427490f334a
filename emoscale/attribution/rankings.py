"""What neurons can be ranked by, to see how much of the outcome the first ones carry alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from emoscale.run.effects import mean_effects
from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_finished
from emoscale.schema import RANDOM_RANKING, SELECTIVITY
from emoscale.statistics import Floats, average_ranks

Order = NDArray[np.intp]
"""Every neuron once, the first ones first: (neurons,)."""


@dataclass(frozen=True)
class RankedBy:
    """What rankings are made from; what a run need not have is read where a ranking asks for it.

    Attributes
    ----------
    folder : RunFolder
    neurons : int
    draws : int
        Orders of a ranking by chance.
    seed : int
    """

    folder: RunFolder
    neurons: int
    draws: int
    seed: int

    @cached_property
    def effects(self) -> Floats:
        """Mean estimated effect of each neuron, NaN where it was always absent: (neurons,)."""
        return mean_effects(self.folder).overall

    @cached_property
    def tau(self) -> Floats:
        """Largest selectivity of each neuron for any attribute, NaN where it has none: (neurons,)."""
        values = np.nan_to_num(open_finished(self.folder.selectivity, SELECTIVITY).read("tau"), nan=-np.inf)
        largest = values.max(axis=1)
        return np.where(np.isneginf(largest), np.nan, largest)


@dataclass(frozen=True)
class Ranking:
    """A ranking that ``faithfulness.rankings`` can name.

    Attributes
    ----------
    name, meaning : str
        The meaning completes "the first neurons are".
    label : str
        Its first neurons in a legend or a sentence.
    orders : callable
        Yields one order of all neurons; several where chance makes it.
    needs_effects, needs_selectivity : bool
        Whether it is made from the neurons' estimated effects, and from their selectivity.
    is_drawn : bool
        Whether chance makes it, ``faithfulness.draws`` times.
    """

    name: str
    meaning: str
    label: str
    orders: Callable[[RankedBy], Iterator[Order]]
    needs_effects: bool = False
    needs_selectivity: bool = False
    is_drawn: bool = False


def _largest_loss(by: RankedBy) -> Iterator[Order]:
    yield np.argsort(by.effects, kind="stable")  # NaN come last


def _most_selective(by: RankedBy) -> Iterator[Order]:
    yield np.argsort(-by.tau, kind="stable")


def _mean_rank(by: RankedBy) -> Iterator[Order]:
    ranks = average_ranks(np.stack([-by.effects, by.tau], axis=1))
    yield np.argsort(ranks.sum(axis=1), kind="stable")


def _random(by: RankedBy) -> Iterator[Order]:
    rng = np.random.default_rng(by.seed)
    yield from (rng.permutation(by.neurons) for _ in range(by.draws))


RANKINGS: dict[str, Ranking] = {
    ranking.name: ranking
    for ranking in (
        Ranking(
            "effect",
            "those without which the outcome would fall most, by their estimated effects",
            "largest estimated loss",
            _largest_loss,
            needs_effects=True,
        ),
        Ranking(
            "tau",
            "those with the largest selectivity for any attribute",
            "most selective",
            _most_selective,
            needs_selectivity=True,
        ),
        Ranking(
            "both",
            "those whose ranks by estimated loss and by selectivity are the highest on average",
            "largest loss and most selective",
            _mean_rank,
            needs_effects=True,
            needs_selectivity=True,
        ),
        Ranking(RANDOM_RANKING, "drawn at random", "random", _random, is_drawn=True),
    )
}
"""What ``faithfulness.rankings`` can name."""
