"""What masks are made from, and what they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


def no_permuted_values() -> Iterator[NDArray[np.float64]]:
    """Say that nobody computes selectivity for permuted concepts."""
    raise ValueError("masks from permuted concepts need permuted_values: selectivity under every permutation")


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
    permuted_values : callable
        Returns an iterator over permutations of the concepts: every neuron's selectivity for the attributes of the
        permuted concepts, float64 of shape (A, N), NaN where there is none. It computes a searchlight for each, so it
        is called only where it is needed.
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
    permuted_values: Callable[[], Iterator[NDArray[np.float64]]] = no_permuted_values

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
