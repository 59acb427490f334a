"""What masks are made from, and what they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Request:
    """What the masks are made from.

    Parameters
    ----------
    rank : ndarray of float64, shape (N, A)
        Rank of each neuron within each attribute, from 1, the most selective.
    has_rank : ndarray of bool, shape (N, A)
        False where a neuron has no selectivity for the attribute (it is constant): it must not be in a selective mask,
        but may be in a control.
    layer : ndarray of int, shape (N,)
        Layer of each neuron.
    activation_level : callable
        Returns each neuron's mean absolute activation, float64 of shape (N,). It reads all activations, so it is called
        only where it is needed.
    effects : callable
        Returns each neuron's mean estimated effect over either half of the items, float64 of shape (2, N), NaN where it
        was always absent.
    attributes : list of str
        A names.
    k : list of int
        Numbers of neurons to edit, ascending.
    draws : int
        Controls of each kind and k, and of each attribute where they belong to one.
    disjoint : bool
        Whether controls must hold none of the neurons that are selective for their attribute.
    seed : int
    """

    rank: NDArray[np.float64]
    has_rank: NDArray[np.bool_]
    layer: NDArray[np.integer]
    activation_level: Callable[[], NDArray[np.float64]]
    effects: Callable[[], NDArray[np.float64]]
    attributes: list[str]
    k: list[int]
    draws: int
    disjoint: bool
    seed: int

    def of_attribute(self, attribute: str) -> Request:
        """Return the same for a single attribute."""
        column = [self.attributes.index(attribute)]
        return replace(self, rank=self.rank[:, column], has_rank=self.has_rank[:, column], attributes=[attribute])

    @cached_property
    def best_first(self) -> NDArray[np.intp]:
        """Neurons by rank within each attribute, of equal ranks the lower index first, those without a rank last."""
        return np.argsort(np.where(self.has_rank, self.rank, np.inf), axis=0, kind="stable")


@dataclass(frozen=True)
class Mask:
    """One mask: the indices of the neurons to edit, and its coordinates (see `emoscale.schema.MASKS`)."""

    neurons: NDArray[np.intp]
    attribute: str = ""
    draw: int = 0
