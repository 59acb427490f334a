"""What neurons can be ranked by, to see how much of the outcome the first ones carry alone.

The command line reads this table to know which stages a run needs, so that only numpy is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emoscale.effect_schema import RANDOM_RANKING

Order = NDArray[np.intp]
"""Every neuron once, the first ones first: (neurons,)."""


@dataclass(frozen=True)
class RankedBy:
    """What rankings are made from.

    Attributes
    ----------
    effects : callable
        Returns each neuron's mean estimated effect, float64 of shape (neurons,), NaN where it was always absent.
    tau : callable
        Returns its selectivity for each attribute, float64 of shape (neurons, attributes), NaN where it has none.
    neurons : int
    draws : int
        Orders of a ranking by chance.
    seed : int
    """

    effects: Callable[[], NDArray[np.float64]]
    tau: Callable[[], NDArray[np.float64]]
    neurons: int
    draws: int
    seed: int


@dataclass(frozen=True)
class Ranking:
    """A ranking that ``faithfulness.rankings`` can name.

    Attributes
    ----------
    name, meaning : str
        The meaning completes "the first neurons are".
    label : str
        Completes "ranked by".
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


def _by_loss(by: RankedBy) -> Order:
    return np.argsort(by.effects(), kind="stable")  # NaN come last


def _by_selectivity(by: RankedBy) -> Order:
    return np.argsort(-np.nan_to_num(by.tau(), nan=-np.inf).max(axis=1), kind="stable")


def _largest_loss(by: RankedBy) -> Iterator[Order]:
    yield _by_loss(by)


def _most_selective(by: RankedBy) -> Iterator[Order]:
    yield _by_selectivity(by)


def _mean_rank(by: RankedBy) -> Iterator[Order]:
    ranks = [np.argsort(order) for order in (_by_loss(by), _by_selectivity(by))]
    yield np.argsort(ranks[0] + ranks[1], kind="stable")


def _random(by: RankedBy) -> Iterator[Order]:
    rng = np.random.default_rng(by.seed)
    yield from (rng.permutation(by.neurons) for _ in range(by.draws))


RANKINGS: dict[str, Ranking] = {
    ranking.name: ranking
    for ranking in (
        Ranking(
            "effect",
            "those without which the outcome would fall most, by their estimated effects",
            "estimated loss",
            _largest_loss,
            needs_effects=True,
        ),
        Ranking(
            "tau",
            "those with the largest selectivity for any attribute",
            "selectivity",
            _most_selective,
            needs_selectivity=True,
        ),
        Ranking(
            "both",
            "those whose ranks by estimated loss and by selectivity are the highest on average",
            "estimated loss and selectivity",
            _mean_rank,
            needs_effects=True,
            needs_selectivity=True,
        ),
        Ranking(RANDOM_RANKING, "drawn at random", "chance", _random, is_drawn=True),
    )
}
"""What ``faithfulness.rankings`` can name."""
